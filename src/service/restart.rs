//! Restart: the same container once more, or a start where there is none. A container without a database is replaced by one
//! that has it, as soon as there can be one.

use std::sync::Arc;

use super::api::StartRequest;
use super::attempt::started;
use super::context::Context;
use super::drift::given_names;
use super::ports::start_on_free_port;
use super::prepare::Preparation;
use super::start::{Restarted, Start};
use crate::engine::{EngineError, Secrets, State, Workload};
use crate::environment::Variables;
use crate::error::Error;
use crate::id::{LABEL_DATABASE, LABEL_DATABASE_NAME, LABEL_NETWORK_ISOLATION, PreviewId};
use crate::preview::{DatabaseState, Started};

/// Ours, which a start makes anew.
const DATABASE_VARIABLES: [&str; 2] = ["POSTGRES_URL", "DATABASE_URL"];

/// See the module.
pub(super) struct Restart {
    context: Arc<Context>,
    start: Arc<Start>,
    preparation: Arc<Preparation>,
}

impl Restart {
    pub(super) fn new(context: Arc<Context>, start: Arc<Start>, preparation: Arc<Preparation>) -> Self {
        Self { context, start, preparation }
    }

    pub(super) fn call(
        self: &Arc<Self>,
        request: StartRequest,
    ) -> impl Future<Output = Result<Started, Error>> + Send + 'static {
        self.context.reconciler.listen();
        let (this, asked) = (Arc::clone(self), request.clone());
        self.start.restart(request, async move { this.run(&asked).await })
    }

    async fn run(&self, request: &StartRequest) -> Result<Restarted, Error> {
        let (context, id) = (&self.context, &request.id);
        let (engine, settings) = (context.engine.as_ref(), context.settings());
        let failed = |source| Error::engine("restart", Some(id), source);
        let gone = || Ok(Restarted::Gone(request.variables.clone()));
        let Some(workload) = engine.inspect(&context.store().name(id)).await.map_err(failed)? else { return gone() };
        context.ownership.check(id, &workload)?;
        if workload.state == State::Created {
            // Another process is about to start it: the start waits for that.
            return gone();
        }
        let variables = self.variables_of_a_replacement(request, &workload).await?;
        if workload.labels.contains_key(LABEL_NETWORK_ISOLATION) {
            // It gets an address anew, maybe one that was trusted: the rules have to be those of now.
            self.preparation.network(id).await?;
        }
        if workload.is_running() {
            engine.stop(&workload.id, settings.preview_stop_timeout).await.map_err(failed)?;
        }
        if let Some(variables) = variables {
            log::info!(target: "kosuke_docker::service", "{id}: container {} is replaced by one with a database", workload.name);
            return Ok(Restarted::Gone(variables));
        }
        // Its environment was made by another call, maybe of another process: what it holds is not known here.
        let (ports, bound) = (context.port_range(), settings.preview_bind_address);
        match start_on_free_port(engine, &workload.id, &Secrets::default(), bound, ports).await {
            // Removed meanwhile, by another process.
            Err(EngineError::NotFound(_) | EngineError::Conflict(_)) => return gone(),
            Err(source) => return Err(Error::start(id, "restart", &settings.preview_default_image, ports, source)),
            Ok(()) => {}
        }
        // The engine chose a port anew.
        let Some(workload) = engine.inspect(&workload.id).await.map_err(failed)? else { return gone() };
        match started(context, id, &workload).await {
            Some(started) => Ok(Restarted::Running(started)),
            None if context.reconciler.was_stopped(&workload) => gone(),
            None => Err(context.reconciler.ended(id, &workload).await),
        }
    }

    /// What the caller of the start gave, where the container has no database and there can be one now: its labels and its
    /// password cannot be changed, so that another one takes its place. None: it can stay.
    async fn variables_of_a_replacement(
        &self,
        request: &StartRequest,
        workload: &Workload,
    ) -> Result<Option<Variables>, Error> {
        let (context, id) = (&self.context, &request.id);
        if !self.lacks_database(id, workload).await {
            return Ok(None);
        }
        // Before anything is done to the container: without one, the app goes on as before.
        if !self.preparation.can_have_database(request).await? {
            return Ok(None);
        }
        let environment = context.engine.environment(&workload.id).await;
        let environment = environment.map_err(|source| Error::engine("restart", Some(id), source))?;
        Ok(environment.map(|environment| given(workload, environment)))
    }

    async fn lacks_database(&self, id: &PreviewId, workload: &Workload) -> bool {
        let store = self.context.store();
        let label = workload.labels.get(LABEL_DATABASE).and_then(|label| DatabaseState::parse(label));
        if label == Some(DatabaseState::Unavailable) || store.has_lost_database(id, workload) {
            return true;
        }
        // Another process may have dropped it.
        let Some(name) = ready_database(workload) else { return false };
        match self.context.common.databases.missing(&[name.to_owned()]).await {
            Ok(missing) => !missing.is_empty(),
            Err(error) => {
                log::warn!(target: "kosuke_docker::database", "{id}: whether its database is there is not known: {error}");
                false
            }
        }
    }
}

/// The name of the database that a container was given.
pub(super) fn ready_database(workload: &Workload) -> Option<&str> {
    let label = |name: &str| workload.labels.get(name).map(String::as_str);
    let state = label(LABEL_DATABASE).and_then(DatabaseState::parse);
    label(LABEL_DATABASE_NAME).filter(|_| state == Some(DatabaseState::Ready))
}

/// What the caller of the start gave, of the environment of its container.
fn given(workload: &Workload, environment: Variables) -> Variables {
    let names = given_names(workload);
    let is_given = |name: &String| match &names {
        Some(names) => names.contains(name),
        // An earlier version made it: it may be any but these.
        None => !DATABASE_VARIABLES.contains(&name.as_str()),
    };
    environment.into_iter().filter(|(name, _)| is_given(name)).collect()
}
