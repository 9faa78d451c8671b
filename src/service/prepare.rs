//! What a start needs before a container is made: image, network, database and environment, side by side.

use std::sync::Arc;

use super::hooks::{HookAnswer, HookRequest, Hooks, ask};
use super::registry::Doing;
use super::{Inner, StartRequest};
use crate::database::DatabaseError;
use crate::environment::{self, Variables};
use crate::error::{EngineError, Error};
use crate::id::PreviewId;
use crate::preview::{DatabaseState, Isolation, Phase};

/// A label is for people: no more of the server's words than fit into a line or two.
const MAX_DETAIL: usize = 300;

/// What became of the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Database {
    pub(super) state: DatabaseState,
    pub(super) isolation: Option<Isolation>,
    /// Why it is unavailable, or not kept apart in full.
    pub(super) detail: Option<String>,
}

impl Database {
    pub(super) fn unavailable(error: &DatabaseError) -> Self {
        let words = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        let detail = Some(words.chars().take(MAX_DETAIL).collect());
        Self { state: DatabaseState::Unavailable, isolation: None, detail }
    }
}

pub(super) struct Prepared {
    /// What the container is attached by.
    pub(super) network: String,
    pub(super) database: Database,
    pub(super) environment: Variables,
}

impl Inner {
    pub(super) async fn prepare(
        self: &Arc<Self>,
        request: &StartRequest,
        doing: &Doing<'_>,
    ) -> Result<Prepared, Error> {
        let (key, hooks) = (&request.key, request.hooks.as_deref());
        let (network, (database, environment)) = tokio::try_join!(
            async {
                if self.engine.traits().supplied {
                    return Ok::<_, Error>(self.settings.preview_network.clone());
                }
                let (network, ()) = tokio::try_join!(self.network(key), self.image(key, hooks, doing))?;
                Ok(network)
            },
            async {
                // In this order: whose credentials the environment holds depends on what the server allows.
                let database = self.database(key, hooks).await?;
                Ok((database, self.environment(request).await?))
            },
        )?;
        Ok(Prepared { network, database, environment })
    }

    async fn image(
        self: &Arc<Self>,
        key: &PreviewId,
        hooks: Option<&dyn Hooks>,
        doing: &Doing<'_>,
    ) -> Result<(), Error> {
        self.ensure_image(Some(key), hooks, || doing.phase(Phase::Pulling)).await?;
        doing.phase(Phase::Creating);
        Ok(())
    }

    async fn network(&self, key: &PreviewId) -> Result<String, Error> {
        self.engine.ensure_network(&self.settings.preview_network).await.map_err(|source| match source {
            EngineError::Unreachable(_) | EngineError::Timeout(_) => Error::engine("network", Some(key), source),
            _ => Error::ContainerStart { preview: key.clone(), step: "network", source },
        })
    }

    /// A failure is logged and told on the preview, unless the settings require a database.
    async fn database(&self, key: &PreviewId, hooks: Option<&dyn Hooks>) -> Result<Database, Error> {
        if ask(hooks, key, HookRequest::Database).await?.is_some() {
            return Ok(Database { state: DatabaseState::Ready, isolation: Some(Isolation::Admin), detail: None });
        }
        match self.ensure_database(&self.target(key)).await {
            Ok(None) => Ok(Database { state: DatabaseState::Disabled, isolation: None, detail: None }),
            Ok(Some(made)) => {
                Ok(Database { state: DatabaseState::Ready, isolation: Some(made.isolation), detail: made.detail })
            }
            Err(source) if self.settings.postgres_required => Err(Error::database(key, source)),
            Err(logged) => Ok(Database::unavailable(&logged)),
        }
    }

    async fn environment(&self, request: &StartRequest) -> Result<Variables, Error> {
        let (key, hooks) = (&request.key, request.hooks.as_deref());
        let mut overlay = match ask(hooks, key, HookRequest::ProjectEnvironment).await? {
            Some(HookAnswer::Variables(variables)) => variables,
            _ => Variables::new(),
        };
        environment::merge(&mut overlay, &request.variables);
        let admin = hooks.is_some_and(|hooks| hooks.replaces(super::Hook::Database));
        let variables = match ask(hooks, key, HookRequest::PrepareEnvironment(overlay.clone())).await? {
            Some(HookAnswer::Variables(variables)) => variables,
            _ => self.prepare_environment(key, &overlay, admin),
        };
        environment::validate(&variables)?;
        Ok(variables)
    }
}
