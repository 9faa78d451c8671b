//! What a start needs before a container is made: image, network, database and environment, side by side.

use std::collections::HashMap;
use std::sync::Arc;

use super::api::StartRequest;
use super::common::Common;
use super::context::Context;
use super::hooks::{Hook, HookAnswer, HookRequest, ask};
use super::image::Images;
use crate::database::DatabaseError;
use crate::environment::{self, Variables};
use crate::error::Error;
use crate::id::{LABEL_DATABASE, LABEL_DATABASE_DETAIL, LABEL_DATABASE_NAME, LABEL_ISOLATION, LABEL_START, PreviewId};
use crate::preview::{DatabaseState, Isolation, Phase};
use crate::state::OperationGuard;

/// A label is for people: no more of the server's words than fit into a line or two.
const MAX_DETAIL: usize = 300;

/// What became of the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DatabaseOutcome {
    state: DatabaseState,
    isolation: Option<Isolation>,
    /// Why it is unavailable, or not kept apart in full.
    detail: Option<String>,
}

impl DatabaseOutcome {
    pub(crate) fn unavailable(error: &DatabaseError) -> Self {
        let words = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        let detail = Some(words.chars().take(MAX_DETAIL).collect());
        Self { state: DatabaseState::Unavailable, isolation: None, detail }
    }

    /// Whether the container logs in with a role whose password the start sets.
    pub(crate) fn has_role(&self) -> bool {
        self.state == DatabaseState::Ready && self.isolation != Some(Isolation::Admin)
    }

    /// The labels of a container with this database. `token`: of the start that makes it.
    pub(crate) fn labels(&self, id: &PreviewId, owner: &str, token: &str) -> HashMap<String, String> {
        let mut labels = id.labels(owner);
        labels.insert(LABEL_START.to_owned(), token.to_owned());
        labels.insert(LABEL_DATABASE.to_owned(), self.state.as_str().to_owned());
        if self.state != DatabaseState::Disabled {
            labels.insert(LABEL_DATABASE_NAME.to_owned(), id.database_name());
        }
        if let Some(isolation) = self.isolation {
            labels.insert(LABEL_ISOLATION.to_owned(), isolation.as_str().to_owned());
        }
        if let Some(detail) = &self.detail {
            labels.insert(LABEL_DATABASE_DETAIL.to_owned(), detail.clone());
        }
        labels
    }
}

/// What was prepared.
pub(super) struct Prepared {
    /// What the container is attached by.
    pub(super) network: String,
    pub(super) database: DatabaseOutcome,
    pub(super) environment: Variables,
}

/// See the module.
pub(super) struct Preparation {
    context: Arc<Context>,
    images: Images,
}

impl Preparation {
    pub(super) fn new(context: Arc<Context>, images: Images) -> Self {
        Self { context, images }
    }

    pub(super) async fn prepare(
        &self,
        request: &StartRequest,
        operation: &OperationGuard<'_>,
    ) -> Result<Prepared, Error> {
        let common = &self.context.common;
        let (network, (), (database, environment)) = tokio::try_join!(
            self.network(&request.id),
            async {
                let pulling = || operation.phase(Phase::Pulling);
                self.images.ensure(Some(&request.id), request.hooks(), pulling).await?;
                operation.phase(Phase::Creating);
                Ok(())
            },
            async {
                // In this order: whose credentials the environment holds depends on what the server allows.
                let database = ensure_database(common, request).await?;
                Ok((database, container_environment(common, request).await?))
            },
        )?;
        Ok(Prepared { network, database, environment })
    }

    async fn network(&self, id: &PreviewId) -> Result<String, Error> {
        let network = &self.context.settings().preview_network;
        self.context.engine.ensure_network(network).await.map_err(|source| {
            if source.is_no_answer() {
                Error::engine("network", Some(id), source)
            } else {
                Error::ContainerStart { preview: id.clone(), step: "network", source }
            }
        })
    }
}

/// Makes the preview's database. A failure is logged and told on the preview, unless the settings require a database.
pub(crate) async fn ensure_database(common: &Common, request: &StartRequest) -> Result<DatabaseOutcome, Error> {
    let (id, hooks) = (&request.id, request.hooks());
    if ask(hooks, Some(id), HookRequest::Database).await?.is_some() {
        return Ok(DatabaseOutcome { state: DatabaseState::Ready, isolation: Some(Isolation::Admin), detail: None });
    }
    match common.databases.ensure(id).await {
        Ok(None) => Ok(DatabaseOutcome { state: DatabaseState::Disabled, isolation: None, detail: None }),
        Ok(Some(made)) => {
            Ok(DatabaseOutcome { state: DatabaseState::Ready, isolation: Some(made.isolation), detail: made.detail })
        }
        Err(source) if common.settings.postgres_required => Err(Error::database(id, source)),
        Err(logged) => Ok(DatabaseOutcome::unavailable(&logged)),
    }
}

/// The whole environment of the preview's container.
pub(crate) async fn container_environment(common: &Common, request: &StartRequest) -> Result<Variables, Error> {
    let (id, hooks) = (&request.id, request.hooks());
    let mut overlay = match ask(hooks, Some(id), HookRequest::ProjectEnvironment).await? {
        Some(HookAnswer::Variables(variables)) => variables,
        _ => Variables::new(),
    };
    environment::merge(&mut overlay, &request.variables);
    let admin = hooks.is_some_and(|hooks| hooks.replaces(Hook::Database));
    let variables = match ask(hooks, Some(id), HookRequest::PrepareEnvironment(overlay.clone())).await? {
        Some(HookAnswer::Variables(variables)) => variables,
        _ => common.databases.environment(id, &overlay, admin),
    };
    environment::validate(&variables)?;
    Ok(variables)
}
