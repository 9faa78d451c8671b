//! The only place that knows Python: arguments in, one await, results out. The Python facade is the public interface.

mod answers;
mod arguments;
mod awaitable;
mod client;
mod core;
mod engines;
mod errors;
mod hooks;
mod inbox;
mod json;
mod runtime;
mod settings;
mod streams;

use pyo3::prelude::*;

/// The native half of `kosuke_docker`.
#[pymodule(gil_used = false)]
mod _core {
    use std::time::Duration;

    use pyo3::prelude::*;
    use pyo3::types::PyDict;

    #[pymodule_export]
    use super::core::Core;
    #[pymodule_export]
    use super::hooks::{HookCall, HookReply};
    #[pymodule_export]
    use super::runtime::Ending;
    #[pymodule_export]
    use super::streams::{Events, Logs};
    use super::{arguments, errors, runtime};
    use crate::database::PostgresServer;
    use crate::engine::EngineAddress;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        // Only our own records reach Python: bollard's hold request bodies, with every secret in them.
        let filter = log::LevelFilter::Debug;
        let logger = pyo3_log::Logger::new(module.py(), pyo3_log::Caching::Nothing)?
            .filter(log::LevelFilter::Off)
            .filter_target("kosuke_docker".to_owned(), filter);
        drop(logger.install());
        // Err: somebody else in this library's copy of rustls was first, with the same provider.
        drop(rustls::crypto::ring::default_provider().install_default());
        Ok(())
    }

    /// Checks a settings mapping; raises `SettingsError` naming the first field that cannot be used.
    #[pyfunction]
    fn check_settings(settings: &Bound<'_, PyDict>) -> PyResult<()> {
        let settings = super::settings::settings(settings)?;
        let checked =
            settings.validate().and_then(|()| settings.postgres.as_ref().map_or(Ok(()), PostgresServer::check));
        checked.map_err(|error| errors::raise(&error.into()))
    }

    /// The rule for a number among the settings, in words; None: it is no number.
    #[pyfunction]
    fn setting_rule(field: &str) -> Option<&'static str> {
        super::settings::rule(field)
    }

    /// The engine that the environment names now, as one string for comparison.
    #[pyfunction]
    fn engine_address() -> String {
        match EngineAddress::from_env() {
            EngineAddress::Tls(authority, folder) => format!("https://{authority} {}", folder.display()),
            other => other.to_string(),
        }
    }

    /// A random port, both ends included.
    #[pyfunction]
    fn random_port(first: u16, last: u16) -> PyResult<u16> {
        if first > last {
            return Err(errors::invalid("max_port", "is below min_port"));
        }
        Ok(fastrand::u16(first..=last))
    }

    /// Checks an id and gives the container's name for it.
    #[pyfunction]
    fn container_name(prefix: &str, project_id: &Bound<'_, PyAny>) -> PyResult<String> {
        Ok(arguments::preview_id(project_id)?.container_name(prefix))
    }

    /// The names of the hooks that Python may replace.
    #[pyfunction]
    fn hook_names() -> Vec<&'static str> {
        crate::service::Hook::METHODS.iter().map(|hook| hook.name()).collect()
    }

    /// The names of the phases.
    #[pyfunction]
    fn phase_names() -> Vec<&'static str> {
        crate::preview::Phase::ALL.iter().map(|phase| phase.as_str()).collect()
    }

    /// The runtime of this process, if no service and no call keeps it any more: None while a service does.
    /// Raises `BlockingIOError` while calls are being answered.
    #[pyfunction]
    fn release_runtime() -> PyResult<Option<Ending>> {
        runtime::release().map_err(|()| pyo3::exceptions::PyBlockingIOError::new_err("calls are being answered"))
    }

    /// How many calls have an answer that their loop has not taken in.
    #[pyfunction]
    fn pending_calls() -> usize {
        runtime::pending_calls()
    }

    /// Called before Python forks.
    #[pyfunction]
    fn before_fork(py: Python<'_>) {
        py.detach(crate::readiness::prepare);
    }

    /// Where lines of output come from.
    #[pyfunction]
    fn log_streams() -> Vec<&'static str> {
        crate::preview::LogSource::ALL.iter().map(|stream| stream.as_str()).collect()
    }

    /// The kinds of events.
    #[pyfunction]
    fn event_kinds() -> Vec<&'static str> {
        crate::preview::EventKind::ALL.iter().map(|kind| kind.as_str()).collect()
    }

    /// Ends the runtime of this process, waiting at most `timeout` seconds for what runs in it.
    #[pyfunction]
    fn shutdown(py: Python<'_>, timeout: f64) {
        runtime::shutdown(py, Duration::try_from_secs_f64(timeout).unwrap_or_default());
    }
}
