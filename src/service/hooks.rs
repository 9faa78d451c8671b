//! The steps of a call that Python may replace. They run on the caller's side, within the call.

use async_trait::async_trait;

use crate::engine::PullProgress;
use crate::environment::Variables;
use crate::error::Error;
use crate::id::PreviewId;

/// A step that can be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// `_get_random_port`
    Port,
    /// `_get_project_environment`
    ProjectEnvironment,
    /// `_prepare_container_environment`
    PrepareEnvironment,
    /// `_ensure_project_database`
    Database,
    /// `_check_container_health`
    Health,
    /// `_monitor_compilation`
    Monitor,
    /// The caller's `on_progress`
    Progress,
}

impl Hook {
    /// The name of the Python method.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Port => "_get_random_port",
            Self::ProjectEnvironment => "_get_project_environment",
            Self::PrepareEnvironment => "_prepare_container_environment",
            Self::Database => "_ensure_project_database",
            Self::Health => "_check_container_health",
            Self::Monitor => "_monitor_compilation",
            Self::Progress => "on_progress",
        }
    }

    /// Every hook that is a method of the facade.
    pub const METHODS: [Self; 6] =
        [Self::Port, Self::ProjectEnvironment, Self::PrepareEnvironment, Self::Database, Self::Health, Self::Monitor];
}

/// What a hook is asked.
#[derive(Debug, Clone)]
pub enum HookRequest {
    /// Which one host port to ask for.
    Port,
    /// The project's variables.
    ProjectEnvironment,
    /// The whole environment, from the project's and the caller's variables.
    PrepareEnvironment(Variables),
    /// Make the database.
    Database,
    /// Does this URL answer?
    Health(String),
    /// Follow this container.
    Monitor(String),
    /// Hear of a pull's progress.
    Progress(PullProgress),
}

impl HookRequest {
    /// Which hook is asked.
    #[must_use]
    pub fn hook(&self) -> Hook {
        match self {
            Self::Port => Hook::Port,
            Self::ProjectEnvironment => Hook::ProjectEnvironment,
            Self::PrepareEnvironment(_) => Hook::PrepareEnvironment,
            Self::Database => Hook::Database,
            Self::Health(_) => Hook::Health,
            Self::Monitor(_) => Hook::Monitor,
            Self::Progress(_) => Hook::Progress,
        }
    }
}

/// What a hook answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HookAnswer {
    /// To [`HookRequest::Port`].
    Port(u16),
    /// To the environment hooks.
    Variables(Variables),
    /// To [`HookRequest::Health`].
    Healthy(bool),
    /// To the others.
    Done,
}

/// Why a hook gave no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HookFailure {
    /// The caller that brought the hook has left.
    Gone,
    /// It raised, or answered with something that cannot be used.
    Raised(String),
}

/// The replaced steps of one call.
#[async_trait]
pub trait Hooks: Send + Sync + 'static {
    /// Whether this step is replaced.
    fn replaces(&self, hook: Hook) -> bool;

    /// Whether the caller that brought them has left.
    fn left(&self) -> bool;

    /// Runs the replaced step.
    async fn call(&self, request: HookRequest) -> Result<HookAnswer, HookFailure>;
}

/// Asks `hooks` if they replace the step; None: the native step is to run. `id`: for which preview, where it is for one.
pub(crate) async fn ask(
    hooks: Option<&dyn Hooks>,
    id: Option<&PreviewId>,
    request: HookRequest,
) -> Result<Option<HookAnswer>, Error> {
    let hook = request.hook();
    let Some(hooks) = hooks.filter(|hooks| hooks.replaces(hook)) else {
        return Ok(None);
    };
    match hooks.call(request).await {
        Ok(answer) => Ok(Some(answer)),
        Err(HookFailure::Gone) => Err(Error::Abandoned { preview: id.cloned() }),
        Err(HookFailure::Raised(message)) => Err(Error::Hook { preview: id.cloned(), hook: hook.name(), message }),
    }
}
