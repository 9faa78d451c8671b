//! The class behind the facade's `DockerService`.

use std::sync::Arc;
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use super::engine::{self, PythonEngine};
use super::errors::raise;
use super::hooks::HookCall;
use super::runtime::{Alive, Nothing, awaitable, handle};
use super::streams::{Events, Logs};
use super::{convert, errors, feeds};
use crate::database::{DatabaseInfo, Databases, Owned, PostgresServer};
use crate::engine::EngineAddress;
use crate::preview::Preview;
use crate::probe::Probe;
use crate::service::{Feed, Heartbeat, PreviewService, StartRequest, Swept};
use crate::settings::Settings;

/// A service: the settings, an engine, its databases. Shared by all facade objects with equal settings.
#[pyclass(frozen, module = "kosuke_docker._core")]
pub(super) struct Core {
    service: PreviewService,
    alive: Alive,
}

fn heartbeat(settings: &Settings) -> Heartbeat {
    Heartbeat { interval: settings.engine_heartbeat_interval, deadline: settings.engine_heartbeat_timeout }
}

struct Dict(Option<Preview>);

impl<'py> IntoPyObject<'py> for Dict {
    type Target = PyAny;
    type Output = Bound<'py, PyAny>;
    type Error = PyErr;

    fn into_pyobject(self, py: Python<'py>) -> Result<Self::Output, Self::Error> {
        match &self.0 {
            Some(preview) => Ok(convert::preview_dict(py, preview)?.into_any()),
            None => Ok(py.None().into_bound(py)),
        }
    }
}

struct Sweep(Swept);

impl<'py> IntoPyObject<'py> for Sweep {
    type Target = PyDict;
    type Output = Bound<'py, PyDict>;
    type Error = PyErr;

    fn into_pyobject(self, py: Python<'py>) -> Result<Self::Output, Self::Error> {
        convert::swept_dict(py, &self.0)
    }
}

struct Info(DatabaseInfo);

impl<'py> IntoPyObject<'py> for Info {
    type Target = PyDict;
    type Output = Bound<'py, PyDict>;
    type Error = PyErr;

    fn into_pyobject(self, py: Python<'py>) -> Result<Self::Output, Self::Error> {
        convert::database_dict(py, &self.0)
    }
}

struct Orphans(Vec<Owned>);

impl<'py> IntoPyObject<'py> for Orphans {
    type Target = PyList;
    type Output = Bound<'py, PyList>;
    type Error = PyErr;

    fn into_pyobject(self, py: Python<'py>) -> Result<Self::Output, Self::Error> {
        let list = PyList::empty(py);
        for owned in &self.0 {
            list.append(convert::orphan_dict(py, owned)?)?;
        }
        Ok(list)
    }
}

#[pymethods]
impl Core {
    /// `settings`: every field, secrets plain. `adapter`: an engine that Python supplies, None for Docker's own.
    #[new]
    #[pyo3(signature = (settings, adapter=None))]
    fn new(py: Python<'_>, settings: &Bound<'_, PyDict>, adapter: Option<Py<PyAny>>) -> PyResult<Self> {
        let settings = convert::settings(settings)?;
        settings.validate().map_err(|error| raise(&error.into()))?;
        let databases: Option<Arc<dyn Databases>> = match &settings.postgres {
            Some(postgres) => Some(Arc::new(PostgresServer::new(postgres).map_err(|error| raise(&error.into()))?)),
            None => None,
        };
        let feed = match adapter {
            Some(adapter) => Feed::new(Arc::new(PythonEngine::new(adapter)), heartbeat(&settings)),
            None => feeds::shared(EngineAddress::from_env(), settings.engine_timeout, heartbeat(&settings)),
        };
        let probe = py.detach(Probe::new).map_err(pyo3::exceptions::PyRuntimeError::new_err)?;
        let service = PreviewService::new(settings, feed, databases, probe);
        Ok(Self { service, alive: Alive::new() })
    }

    /// Raises unless the engine answers.
    fn ping<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let service = self.service.clone();
        awaitable(py, async move { service.ping().await.map(|()| Nothing).map_err(|error| raise(&error)) })
    }

    /// The URL of the preview, started or found running. `ready`: wait until it is ready, for so many seconds (None for
    /// ever), and whether a compile error ends that.
    #[pyo3(signature = (project_id, name, variables, ready=None, call=None))]
    fn start<'py>(
        &self,
        py: Python<'py>,
        project_id: &Bound<'py, PyAny>,
        name: String,
        variables: Option<&Bound<'py, PyAny>>,
        ready: Option<(Option<f64>, bool)>,
        call: Option<&HookCall>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (key, variables) = (convert::key(project_id)?, convert::variables(variables)?);
        let until_ready = ready.map(|(timeout, fail)| convert::patience(timeout, fail)).transpose()?;
        let request = StartRequest { key, name, variables, hooks: call.and_then(HookCall::hooks), until_ready };
        let runtime = handle()?;
        let _entered = runtime.enter();
        let started = self.service.start(request);
        awaitable(py, async move { started.await.map(|started| started.url).map_err(|error| raise(&error)) })
    }

    /// The preview as a dict, once it is ready.
    fn wait_until_ready<'py>(
        &self,
        py: Python<'py>,
        project_id: &Bound<'py, PyAny>,
        name: String,
        timeout: Option<f64>,
        fail_on_compile_error: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (key, service) = (convert::key(project_id)?, self.service.clone());
        let patience = convert::patience(timeout, fail_on_compile_error)?;
        awaitable(py, async move {
            let ready = service.wait_until_ready(&key, &name, patience).await;
            ready.map(|preview| Dict(Some(preview))).map_err(|error| raise(&error))
        })
    }

    /// The preview's output.
    fn logs(&self, project_id: &Bound<'_, PyAny>, name: &str, follow: bool, tail: Option<u32>) -> PyResult<Logs> {
        let key = convert::key(project_id)?;
        let runtime = handle()?;
        let _entered = runtime.enter();
        Ok(Logs::new(self.service.logs(&key, name, follow, tail)))
    }

    /// What happens from now on: to one preview, or to all of the owner's.
    fn events<'py>(
        &self,
        py: Python<'py>,
        project_id: Option<&Bound<'py, PyAny>>,
        name: String,
    ) -> PyResult<Bound<'py, PyAny>> {
        let only = project_id.map(convert::key).transpose()?.map(|key| (key, name));
        let service = self.service.clone();
        awaitable(py, async move { service.events(only).await.map(Events::new).map_err(|error| raise(&error)) })
    }

    /// Stops and removes the preview and, where asked to, its database.
    #[pyo3(signature = (project_id, name, remove_database=false))]
    fn stop<'py>(
        &self,
        py: Python<'py>,
        project_id: &Bound<'py, PyAny>,
        name: &str,
        remove_database: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let key = convert::key(project_id)?;
        let runtime = handle()?;
        let _entered = runtime.enter();
        let stopped = self.service.stop(&key, name, remove_database);
        awaitable(py, async move { stopped.await.map(|()| Nothing).map_err(|error| raise(&error)) })
    }

    /// The URL of the preview, restarted or started.
    fn restart<'py>(
        &self,
        py: Python<'py>,
        project_id: &Bound<'py, PyAny>,
        name: String,
        call: Option<&HookCall>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (key, hooks) = (convert::key(project_id)?, call.and_then(HookCall::hooks));
        let request = StartRequest { key, name, variables: Vec::new(), hooks, until_ready: None };
        let runtime = handle()?;
        let _entered = runtime.enter();
        let restarted = self.service.restart(request);
        awaitable(py, async move { restarted.await.map(|started| started.url).map_err(|error| raise(&error)) })
    }

    /// Whether the preview's container runs.
    fn is_running<'py>(
        &self,
        py: Python<'py>,
        project_id: &Bound<'py, PyAny>,
        name: String,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (key, service) = (convert::key(project_id)?, self.service.clone());
        awaitable(py, async move { service.is_running(&key, &name).await.map_err(|error| raise(&error)) })
    }

    /// Makes sure that the image is here.
    fn ensure_image<'py>(&self, py: Python<'py>, call: Option<&HookCall>) -> PyResult<Bound<'py, PyAny>> {
        let (service, hooks) = (self.service.clone(), call.and_then(HookCall::hooks));
        awaitable(py, async move { service.ensure_image(hooks).await.map(|()| Nothing).map_err(|error| raise(&error)) })
    }

    /// Removes what killed processes left behind, as a dict.
    fn sweep<'py>(&self, py: Python<'py>, remove_orphan_databases: bool) -> PyResult<Bound<'py, PyAny>> {
        let service = self.service.clone();
        awaitable(
            py,
            async move { service.sweep(remove_orphan_databases).await.map(Sweep).map_err(|error| raise(&error)) },
        )
    }

    /// Stops every preview of the owner.
    fn stop_all<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let service = self.service.clone();
        awaitable(py, async move { service.stop_all().await.map(|()| Nothing).map_err(|error| raise(&error)) })
    }

    /// The preview as a dict, None when there is none.
    #[pyo3(signature = (project_id, name, call=None))]
    fn get<'py>(
        &self,
        py: Python<'py>,
        project_id: &Bound<'py, PyAny>,
        name: String,
        call: Option<&HookCall>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (key, service) = (convert::key(project_id)?, self.service.clone());
        let hooks = call.and_then(HookCall::hooks);
        awaitable(py, async move { service.get(&key, &name, hooks).await.map(Dict).map_err(|error| raise(&error)) })
    }

    /// The owner's previews as dicts.
    fn previews<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let service = self.service.clone();
        awaitable(py, async move {
            let previews = service.list().await.map_err(|error| raise(&error))?;
            Ok(previews.into_iter().map(|preview| Dict(Some(preview))).collect::<Vec<_>>())
        })
    }

    /// Makes the database of a preview or of a session. A failure is logged, not raised.
    #[pyo3(signature = (project_id, session=None))]
    fn ensure_database<'py>(
        &self,
        py: Python<'py>,
        project_id: &Bound<'py, PyAny>,
        session: Option<String>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (key, service) = (convert::key(project_id)?, self.service.clone());
        awaitable(py, async move {
            drop(service.ensure_database(&key, session).await);
            Ok(Nothing)
        })
    }

    /// Removes the preview's database and role.
    fn drop_database<'py>(
        &self,
        py: Python<'py>,
        project_id: &Bound<'py, PyAny>,
        name: &str,
    ) -> PyResult<Bound<'py, PyAny>> {
        let key = convert::key(project_id)?;
        let runtime = handle()?;
        let _entered = runtime.enter();
        let done = self.service.drop_database(&key, name);
        awaitable(py, async move { done.await.map(|()| Nothing).map_err(|error| raise(&error)) })
    }

    /// Empties the preview's database.
    fn reset_database<'py>(
        &self,
        py: Python<'py>,
        project_id: &Bound<'py, PyAny>,
        name: &str,
    ) -> PyResult<Bound<'py, PyAny>> {
        let key = convert::key(project_id)?;
        let runtime = handle()?;
        let _entered = runtime.enter();
        let done = self.service.reset_database(&key, name);
        awaitable(py, async move { done.await.map(|()| Nothing).map_err(|error| raise(&error)) })
    }

    /// Puts a copy of another preview's database in the place of this one's.
    fn clone_database<'py>(
        &self,
        py: Python<'py>,
        project_id: &Bound<'py, PyAny>,
        name: &str,
        from_project_id: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let key = convert::key(project_id)?;
        let from = convert::key_of(from_project_id, "from_project_id")?;
        let runtime = handle()?;
        let _entered = runtime.enter();
        let done = self.service.clone_database(&key, name, &from);
        awaitable(py, async move { done.await.map(|()| Nothing).map_err(|error| raise(&error)) })
    }

    /// What the server says about the preview's database, as a dict.
    fn database_info<'py>(&self, py: Python<'py>, project_id: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let (key, service) = (convert::key(project_id)?, self.service.clone());
        awaitable(py, async move { service.database_info(&key).await.map(Info).map_err(|error| raise(&error)) })
    }

    /// The databases and roles whose project's folder is gone, as dicts.
    fn orphan_databases<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let service = self.service.clone();
        awaitable(py, async move { service.orphan_databases().await.map(Orphans).map_err(|error| raise(&error)) })
    }

    /// Removes them; gives the names of those that are gone.
    fn remove_orphan_databases<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let service = self.service.clone();
        awaitable(py, async move { service.remove_orphan_databases().await.map_err(|error| raise(&error)) })
    }

    /// Whether this URL answers with 2xx.
    fn check_health<'py>(&self, py: Python<'py>, url: String) -> PyResult<Bound<'py, PyAny>> {
        let service = self.service.clone();
        awaitable(py, async move { Ok(service.check_health(&url).await) })
    }

    /// Follows the container of this name or id until it compiled or ended.
    fn monitor<'py>(
        &self,
        py: Python<'py>,
        project_id: &Bound<'py, PyAny>,
        container: String,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (key, service) = (convert::key(project_id)?, self.service.clone());
        awaitable(py, async move {
            service.monitor(&key, &container).await.map(|()| Nothing).map_err(|error| raise(&error))
        })
    }

    /// Reads what `opener()` gives, chunk by chunk and off the loop, until a phrase of the ticket stands in one.
    fn monitor_chunks<'py>(
        &self,
        py: Python<'py>,
        project_id: &Bound<'py, PyAny>,
        opener: Py<PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (key, service) = (convert::key(project_id)?, self.service.clone());
        let chunks = engine::chunks(opener);
        awaitable(py, async move {
            service.monitor_chunks(&key, chunks).await;
            Ok(Nothing)
        })
    }

    /// The variables for a container.
    fn prepare_environment<'py>(
        &self,
        py: Python<'py>,
        project_id: &Bound<'py, PyAny>,
        variables: Option<&Bound<'py, PyAny>>,
        admin: bool,
    ) -> PyResult<Bound<'py, PyDict>> {
        let (key, overlay) = (convert::key(project_id)?, convert::variables(variables)?);
        crate::environment::validate(&overlay).map_err(|error| raise(&error))?;
        convert::variables_dict(py, &self.service.prepare_environment(&key, &overlay, admin))
    }

    /// The cache's entries as dicts.
    fn containers<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let list = PyList::empty(py);
        for info in self.service.containers() {
            list.append(convert::info_dict(py, &info)?)?;
        }
        Ok(list)
    }

    /// Puts an entry into the cache.
    fn put(&self, info: &Bound<'_, PyDict>) -> PyResult<()> {
        self.service.put(convert::info(info)?);
        Ok(())
    }

    /// Takes an entry out of the cache.
    fn forget(&self, project_id: &Bound<'_, PyAny>) -> PyResult<()> {
        self.service.forget(&convert::key(project_id)?);
        Ok(())
    }

    /// Whether it was closed.
    #[getter]
    fn closed(&self) -> bool {
        self.service.is_closed()
    }

    /// Ends the service's tasks.
    fn close<'py>(&self, py: Python<'py>, patience: f64) -> PyResult<Bound<'py, PyAny>> {
        let (service, patience) = (self.service.clone(), seconds(patience)?);
        self.alive.end();
        awaitable(py, async move {
            let left = service.close(patience).await;
            if left > 0 {
                log::warn!(target: "kosuke_docker::service", "closed with {left} tasks still ending");
            }
            Ok(Nothing)
        })
    }

    /// Tells every task of the service to end.
    fn abandon(&self) {
        self.service.abandon();
    }

    /// Ends the service's tasks at exit, where no loop runs.
    fn close_now(&self, py: Python<'_>, patience: f64) -> PyResult<()> {
        let (handle, patience) = (handle()?, seconds(patience)?);
        // What is still ending then is ended with the runtime.
        py.detach(|| _ = handle.block_on(self.service.close(patience)));
        Ok(())
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        self.alive.end();
        if self.alive.is_of_this_process() {
            // Nobody can call it any more: what it follows in the background has no owner left.
            self.service.abandon();
        } else {
            // A forked child's copy is never taken apart: its locks may be held by threads that stayed in the parent.
            std::mem::forget(self.service.clone());
        }
    }
}

fn seconds(value: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(value).map_err(|_| errors::invalid("patience", "must be a number of seconds from 0"))
}
