//! The class behind the facade's `DockerService`.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::answers::{in_runtime, json, known_or_awaitable, none, plain};
use super::arguments::{self, moment, preview_id, preview_id_of, routes, seconds, wait_options};
use super::client::{PythonClient, chunks};
use super::engines;
use super::errors::raise;
use super::hooks::HookCall;
use super::json::Json;
use super::runtime::{Alive, handle};
use super::settings;
use super::streams::{Events, Logs};
use crate::compat::CompatService;
use crate::containment::Limits;
use crate::database::{Databases, PostgresServer};
use crate::engine::EngineAddress;
use crate::error::Error;
use crate::id::PreviewId;
use crate::preview::Preview;
use crate::probe::HttpProber;
use crate::service::{
    CheckRequest, Heartbeat, PreviewService, Previews, StartRequest, VerifyRequest, orphan_databases,
    remove_orphan_databases,
};
use crate::settings::Settings;

/// A service: the settings, an engine, its databases. Shared by all facade objects with equal settings.
#[pyclass(frozen, module = "kosuke_docker._core")]
pub(super) struct Core {
    service: Arc<dyn Previews>,
    alive: Alive,
}

impl Core {
    /// Checks a project's id, and takes in the name of its container.
    fn id(&self, project_id: &Bound<'_, PyAny>, container_name: &str) -> PyResult<PreviewId> {
        let id = preview_id(project_id)?;
        self.service.common().set_container_name(&id, container_name);
        Ok(id)
    }
}

impl Core {
    /// What is told of a preview, as Python takes it.
    fn known<'py, T>(
        &self,
        py: Python<'py>,
        project_id: &Bound<'py, PyAny>,
        name: &str,
        call: Option<&HookCall>,
        told: fn(Option<Preview>) -> T,
    ) -> PyResult<Bound<'py, PyAny>>
    where
        T: for<'a> IntoPyObject<'a> + Send + 'static,
    {
        let (id, service) = (self.id(project_id, name)?, Arc::clone(&self.service));
        let hooks = call.and_then(HookCall::hooks);
        let asked = hooks.is_some();
        let found = async move { service.get(&id, hooks).await.map(told) };
        // A hook is asked through an awaitable of its own: its caller waits for both.
        if asked { plain(py, found) } else { known_or_awaitable(py, found) }
    }
}

fn service(py: Python<'_>, settings: Settings, client: Option<Py<PyAny>>) -> PyResult<Arc<dyn Previews>> {
    let databases: Option<Arc<dyn Databases>> = match &settings.postgres {
        Some(postgres) => Some(Arc::new(PostgresServer::new(postgres).map_err(|error| raise(&error.into()))?)),
        None => None,
    };
    let prober = py.detach(HttpProber::new).map_err(pyo3::exceptions::PyRuntimeError::new_err)?;
    let prober = Arc::new(prober);
    if let Some(client) = client {
        return Ok(Arc::new(CompatService::new(settings, Arc::new(PythonClient::new(client)), databases, prober)));
    }
    let (interval, timeout) = (settings.engine_heartbeat_interval, settings.engine_heartbeat_timeout);
    let heartbeat = Heartbeat { interval, timeout };
    let events = engines::shared(EngineAddress::from_env(), settings.engine_timeout, heartbeat);
    Ok(Arc::new(PreviewService::new(settings, events, databases, prober)))
}

#[pymethods]
impl Core {
    /// `settings`: every field, secrets plain. `client`: the adapter of a docker-py-compatible client, None for an engine.
    #[new]
    #[pyo3(signature = (settings, client=None))]
    fn new(py: Python<'_>, settings: &Bound<'_, PyDict>, client: Option<Py<PyAny>>) -> PyResult<Self> {
        let settings = settings::settings(settings)?;
        settings.validate().map_err(|error| raise(&error.into()))?;
        Ok(Self { service: service(py, settings, client)?, alive: Alive::new() })
    }

    /// Raises unless the engine answers.
    fn ping<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let service = Arc::clone(&self.service);
        none(py, async move { service.ping().await })
    }

    /// The URL of the preview, started or found running. `ready`: wait until it is ready, for so many seconds (None for
    /// ever), and whether a compile error ends that. `limits`: memory, CPUs and pids in place of the settings'. `recreate`:
    /// whether a container that runs with other variables is replaced.
    #[pyo3(signature = (project_id, name, variables, ready=None, limits=None, recreate=false, call=None))]
    #[expect(clippy::too_many_arguments, reason = "the facade's keywords, one each")]
    fn start<'py>(
        &self,
        py: Python<'py>,
        project_id: &Bound<'py, PyAny>,
        name: &str,
        variables: Option<&Bound<'py, PyAny>>,
        ready: Option<(Option<f64>, bool)>,
        limits: Option<arguments::LimitsTuple<'py>>,
        recreate: bool,
        call: Option<&HookCall>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (id, variables) = (self.id(project_id, name)?, arguments::variables(variables)?);
        let until_ready = ready.map(|(timeout, fail)| wait_options(timeout, fail)).transpose()?;
        let (limits, hooks) = (arguments::limits(limits)?, call.and_then(HookCall::hooks));
        let request = StartRequest { id, variables, limits, recreate, hooks, until_ready };
        let started = in_runtime(|| self.service.start(request))?;
        plain(py, async move { started.await.map(|started| started.url) })
    }

    /// The preview as JSON, once it is ready.
    fn wait_until_ready<'py>(
        &self,
        py: Python<'py>,
        project_id: &Bound<'py, PyAny>,
        name: &str,
        timeout: Option<f64>,
        fail_on_compile_error: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (id, service) = (self.id(project_id, name)?, Arc::clone(&self.service));
        let options = wait_options(timeout, fail_on_compile_error)?;
        json(py, async move { service.wait_until_ready(&id, options).await })
    }

    /// The preview's output.
    fn logs(&self, project_id: &Bound<'_, PyAny>, name: &str, follow: bool, tail: Option<u32>) -> PyResult<Logs> {
        let id = self.id(project_id, name)?;
        in_runtime(|| self.service.logs(&id, follow, tail)).map(Logs::new)
    }

    /// What happens from now on: to one preview, or to all of the owner's.
    fn events<'py>(
        &self,
        py: Python<'py>,
        project_id: Option<&Bound<'py, PyAny>>,
        name: &str,
        browser_errors: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let only = project_id.map(|project_id| self.id(project_id, name)).transpose()?;
        let service = Arc::clone(&self.service);
        plain(py, async move { service.events(only, browser_errors).await.map(Events::new) })
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
        let id = self.id(project_id, name)?;
        none(py, in_runtime(|| self.service.stop(&id, remove_database))?)
    }

    /// The URL of the preview, restarted or started.
    fn restart<'py>(
        &self,
        py: Python<'py>,
        project_id: &Bound<'py, PyAny>,
        name: &str,
        call: Option<&HookCall>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (id, hooks) = (self.id(project_id, name)?, call.and_then(HookCall::hooks));
        let request = StartRequest {
            id,
            variables: Vec::new(),
            limits: Limits::default(),
            recreate: false,
            hooks,
            until_ready: None,
        };
        let restarted = in_runtime(|| self.service.restart(request))?;
        plain(py, async move { restarted.await.map(|started| started.url) })
    }

    /// Whether the preview's container runs.
    fn is_running<'py>(
        &self,
        py: Python<'py>,
        project_id: &Bound<'py, PyAny>,
        name: &str,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (id, service) = (self.id(project_id, name)?, Arc::clone(&self.service));
        plain(py, async move { service.is_running(&id).await })
    }

    /// Makes sure that the image is here.
    fn ensure_image<'py>(&self, py: Python<'py>, call: Option<&HookCall>) -> PyResult<Bound<'py, PyAny>> {
        let (service, hooks) = (Arc::clone(&self.service), call.and_then(HookCall::hooks));
        none(py, async move { service.ensure_image(hooks).await })
    }

    /// Removes what killed processes left behind, as JSON.
    fn sweep<'py>(&self, py: Python<'py>, remove_orphan_databases: bool) -> PyResult<Bound<'py, PyAny>> {
        let service = Arc::clone(&self.service);
        json(py, async move { service.sweep(remove_orphan_databases).await })
    }

    /// Stops every preview of the owner.
    fn stop_all<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let service = Arc::clone(&self.service);
        none(py, async move { service.stop_all().await })
    }

    /// The preview as JSON, `null` when there is none: at once where it is known, else awaitable.
    #[pyo3(signature = (project_id, name, call=None))]
    fn get<'py>(
        &self,
        py: Python<'py>,
        project_id: &Bound<'py, PyAny>,
        name: &str,
        call: Option<&HookCall>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.known(py, project_id, name, call, |preview| Json::of(&preview))
    }

    /// Whether it runs, its URL, whether it is compiled, and whether it responds: as `get`.
    #[pyo3(signature = (project_id, name, call=None))]
    fn status<'py>(
        &self,
        py: Python<'py>,
        project_id: &Bound<'py, PyAny>,
        name: &str,
        call: Option<&HookCall>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.known(py, project_id, name, call, |preview| {
            let running = preview.filter(|preview| preview.running);
            running.map_or((false, None, false, false), |preview| {
                (true, preview.url, preview.compilation_complete, preview.is_responding)
            })
        })
    }

    /// The owner's previews as JSON.
    fn previews<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let service = Arc::clone(&self.service);
        json(py, async move { service.list().await })
    }

    /// What of the project compiles, as JSON. `asked`: the paths that are asked for; `known`: those of the project's files.
    #[expect(clippy::too_many_arguments, reason = "the facade's keywords, one each")]
    fn check<'py>(
        &self,
        py: Python<'py>,
        project_id: &Bound<'py, PyAny>,
        name: &str,
        known: bool,
        asked: Option<Vec<String>>,
        types: bool,
        timeout: f64,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (id, service) = (self.id(project_id, name)?, Arc::clone(&self.service));
        let request = CheckRequest { routes: routes(known, asked), types, timeout: seconds("timeout", timeout)? };
        json(py, async move { service.check(&id, request).await })
    }

    /// Whether the newest edit did well, as JSON. `since`: the edit was made after this, in seconds since 1970.
    fn verify<'py>(
        &self,
        py: Python<'py>,
        project_id: &Bound<'py, PyAny>,
        name: &str,
        since: Option<f64>,
        path: String,
        timeout: f64,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (id, service) = (self.id(project_id, name)?, Arc::clone(&self.service));
        let since = since.map(moment).transpose()?;
        let request = VerifyRequest { since, path, timeout: seconds("timeout", timeout)? };
        json(py, async move { service.verify(&id, request).await })
    }

    /// Where the page at this path can be reached, as JSON.
    fn page_address<'py>(
        &self,
        py: Python<'py>,
        project_id: &Bound<'py, PyAny>,
        name: &str,
        path: String,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (id, service) = (self.id(project_id, name)?, Arc::clone(&self.service));
        json(py, async move { service.page_address(&id, &path).await })
    }

    /// Makes the database of a preview or of a session. A failure is logged, not raised.
    #[pyo3(signature = (project_id, session=None))]
    fn ensure_database<'py>(
        &self,
        py: Python<'py>,
        project_id: &Bound<'py, PyAny>,
        session: Option<&str>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let project = preview_id(project_id)?;
        let id = session.map_or(project.clone(), |session| PreviewId::session(project.project_id(), session));
        let databases = self.service.common().databases().clone();
        none(py, async move {
            drop(databases.ensure(&id).await);
            Ok(())
        })
    }

    /// Removes the preview's database and role.
    fn drop_database<'py>(
        &self,
        py: Python<'py>,
        project_id: &Bound<'py, PyAny>,
        name: &str,
    ) -> PyResult<Bound<'py, PyAny>> {
        let id = self.id(project_id, name)?;
        none(py, in_runtime(|| self.service.common().databases().drop(&id))?)
    }

    /// Empties the preview's database.
    fn reset_database<'py>(
        &self,
        py: Python<'py>,
        project_id: &Bound<'py, PyAny>,
        name: &str,
    ) -> PyResult<Bound<'py, PyAny>> {
        let id = self.id(project_id, name)?;
        none(py, in_runtime(|| self.service.common().databases().reset(&id))?)
    }

    /// Puts a copy of another preview's database in the place of this one's.
    fn clone_database<'py>(
        &self,
        py: Python<'py>,
        project_id: &Bound<'py, PyAny>,
        name: &str,
        from_project_id: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let id = self.id(project_id, name)?;
        let from = preview_id_of(from_project_id, "from_project_id")?;
        none(py, in_runtime(|| self.service.common().databases().copy(&id, &from))?)
    }

    /// What the server says about the preview's database, as JSON.
    fn database_info<'py>(&self, py: Python<'py>, project_id: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let (id, databases) = (preview_id(project_id)?, self.service.common().databases().clone());
        json(py, async move { databases.info(&id).await })
    }

    /// The databases and roles whose project's folder is gone, as JSON.
    fn orphan_databases<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let service = Arc::clone(&self.service);
        json(py, async move { orphan_databases(service.common(), service.projects_in_use()).await })
    }

    /// Removes them; gives the names of those that are gone.
    fn remove_orphan_databases<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let service = Arc::clone(&self.service);
        plain(py, async move { remove_orphan_databases(service.common(), service.projects_in_use()).await })
    }

    /// Whether this URL answers with 2xx.
    fn check_health<'py>(&self, py: Python<'py>, url: String) -> PyResult<Bound<'py, PyAny>> {
        let service = Arc::clone(&self.service);
        plain(py, async move { Ok(service.common().check_health(&url).await) })
    }

    /// Follows the container of this name or id until it compiled or ended.
    fn monitor<'py>(
        &self,
        py: Python<'py>,
        project_id: &Bound<'py, PyAny>,
        container: String,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (id, service) = (preview_id(project_id)?, Arc::clone(&self.service));
        none(py, async move { service.monitor(&id, &container).await })
    }

    /// Reads what `opener()` gives, chunk by chunk and off the loop, until a phrase of the older service stands in one.
    fn monitor_chunks<'py>(
        &self,
        py: Python<'py>,
        project_id: &Bound<'py, PyAny>,
        opener: Py<PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (id, service) = (preview_id(project_id)?, Arc::clone(&self.service));
        let chunks = chunks(opener);
        none(py, async move {
            service.common().monitor_chunks(&id, chunks).await;
            Ok(())
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
        let (id, overlay) = (preview_id(project_id)?, arguments::variables(variables)?);
        crate::environment::validate(&overlay).map_err(|error| raise(&error))?;
        arguments::variables_dict(py, &self.service.common().databases().environment(&id, &overlay, admin))
    }

    /// The cache's entries as JSON.
    fn containers(&self) -> Json {
        Json::of(&self.service.common().containers())
    }

    /// Puts an entry into the cache.
    fn put(&self, info: &Bound<'_, PyDict>) -> PyResult<()> {
        self.service.common().put(arguments::info(info)?);
        Ok(())
    }

    /// Takes an entry out of the cache.
    fn forget(&self, project_id: &Bound<'_, PyAny>) -> PyResult<()> {
        self.service.common().forget(&preview_id(project_id)?);
        Ok(())
    }

    /// Whether it was closed.
    #[getter]
    fn closed(&self) -> bool {
        self.service.common().is_closed()
    }

    /// Ends the service's tasks.
    fn close<'py>(&self, py: Python<'py>, timeout: f64) -> PyResult<Bound<'py, PyAny>> {
        let (service, timeout) = (Arc::clone(&self.service), seconds("timeout", timeout)?);
        self.alive.end();
        none(py, async move {
            let left = service.common().close(timeout).await;
            if left > 0 {
                log::warn!(target: "kosuke_docker::service", "closed with {left} tasks still ending");
            }
            Ok::<(), Error>(())
        })
    }

    /// Tells every task of the service to end.
    fn abandon(&self) {
        self.service.common().abandon();
    }

    /// Ends the service's tasks at exit, where no loop runs.
    fn close_now(&self, py: Python<'_>, timeout: f64) -> PyResult<()> {
        let (handle, timeout) = (handle()?, seconds("timeout", timeout)?);
        // What is still ending then is ended with the runtime.
        py.detach(|| _ = handle.block_on(self.service.common().close(timeout)));
        Ok(())
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        self.alive.end();
        if self.alive.is_of_this_process() {
            // Nobody can call it any more: what it follows in the background has no owner left.
            self.service.common().abandon();
        } else {
            // A forked child's copy is never taken apart: its locks may be held by threads that stayed in the parent.
            std::mem::forget(Arc::clone(&self.service));
        }
    }
}
