//! What a start needs before a container is made: image, network, database and environment, side by side.

use std::sync::Arc;

use super::hooks::{HookAnswer, HookRequest, Hooks, ask};
use super::registry::Doing;
use super::{Inner, StartRequest};
use crate::environment::{self, Variables};
use crate::error::{EngineError, Error};
use crate::preview::{DatabaseState, Isolation, Phase, PreviewKey};

/// What became of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Database {
    pub(super) state: DatabaseState,
    pub(super) isolation: Option<Isolation>,
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
        let (network, database, environment) = tokio::try_join!(
            async {
                if self.engine.traits().supplied {
                    return Ok(self.settings.preview_network.clone());
                }
                let (network, ()) = tokio::try_join!(self.network(key), self.image(key, hooks, doing))?;
                Ok(network)
            },
            self.database(key, hooks),
            self.environment(request),
        )?;
        Ok(Prepared { network, database, environment })
    }

    async fn image(
        self: &Arc<Self>,
        key: &PreviewKey,
        hooks: Option<&dyn Hooks>,
        doing: &Doing<'_>,
    ) -> Result<(), Error> {
        self.ensure_image(Some(key), hooks, || doing.phase(Phase::Pulling)).await?;
        doing.phase(Phase::Creating);
        Ok(())
    }

    async fn network(&self, key: &PreviewKey) -> Result<String, Error> {
        self.engine.ensure_network(&self.settings.preview_network).await.map_err(|source| match source {
            EngineError::Unreachable(_) | EngineError::Timeout(_) => Error::engine("network", Some(key), source),
            _ => Error::ContainerStart { preview: key.clone(), step: "network", source },
        })
    }

    /// A failure is logged and told on the preview, unless the settings require a database.
    async fn database(&self, key: &PreviewKey, hooks: Option<&dyn Hooks>) -> Result<Database, Error> {
        if ask(hooks, key, HookRequest::Database).await?.is_some() {
            return Ok(Database { state: DatabaseState::Ready, isolation: Some(Isolation::Admin) });
        }
        match self.ensure_database(key).await {
            Ok(None) => Ok(Database { state: DatabaseState::Disabled, isolation: None }),
            Ok(Some(made)) => Ok(Database { state: DatabaseState::Ready, isolation: Some(made.isolation) }),
            Err(source) if self.settings.postgres_required => Err(Error::Database { preview: key.clone(), source }),
            Err(_logged) => Ok(Database { state: DatabaseState::Unavailable, isolation: None }),
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
