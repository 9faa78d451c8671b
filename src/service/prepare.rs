//! What a start needs before a container is made: image, network, database and environment, side by side.

use std::collections::HashMap;
use std::sync::Arc;

use super::api::StartRequest;
use super::common::Common;
use super::context::Context;
use super::hooks::{Hook, HookAnswer, HookRequest, ask};
use super::image::Images;
use super::network::PreviewNetwork;
use super::vite;
use crate::database::DatabaseError;
use crate::engine::{Attachment, EngineError};
use crate::environment::{self, Variables};
use crate::error::Error;
use crate::id::{
    LABEL_DATABASE, LABEL_DATABASE_DETAIL, LABEL_DATABASE_NAME, LABEL_ISOLATION, LABEL_NETWORK_DETAIL,
    LABEL_NETWORK_ISOLATION, LABEL_START, LABEL_VARIABLES, PreviewId,
};
use crate::preview::{DatabaseState, Isolation, Phase};
use crate::state::OperationGuard;

/// Where the server's host means this process's machine, and the engine is another one.
const ELSEWHERE: &str = "is this machine, and containers run on another one: set POSTGRES_CONTAINER_HOST";
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

fn one_line(words: &str) -> String {
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    words.chars().take(MAX_DETAIL).collect()
}

impl DatabaseOutcome {
    pub(crate) fn unavailable(error: &DatabaseError) -> Self {
        let words = one_line(&error.to_string());
        let detail = Some(format!("{words}. Once that is mended, restart_preview() gives it a database."));
        Self { state: DatabaseState::Unavailable, isolation: None, detail }
    }

    /// Whether the container logs in with a role whose password the start sets.
    pub(crate) fn has_role(&self) -> bool {
        self.state == DatabaseState::Ready && self.isolation != Some(Isolation::Admin)
    }

    /// The labels of a container with this database, which has this `name`. `token`: of the start that makes it.
    pub(crate) fn labels(&self, id: &PreviewId, owner: &str, name: &str, token: &str) -> HashMap<String, String> {
        let mut labels = id.labels(owner);
        labels.insert(LABEL_START.to_owned(), token.to_owned());
        labels.insert(LABEL_DATABASE.to_owned(), self.state.as_str().to_owned());
        if self.state != DatabaseState::Disabled {
            labels.insert(LABEL_DATABASE_NAME.to_owned(), name.to_owned());
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
    pub(super) network: Attachment,
    pub(super) database: DatabaseOutcome,
    pub(super) environment: Variables,
    /// The names of the variables that the image sets.
    pub(super) of_image: Vec<String>,
    /// The names of the caller's variables.
    pub(super) given: Vec<String>,
}

impl Prepared {
    /// The labels of a container that is made of this and `database`, which has this `name`. `token`: of the start that makes
    /// it.
    pub(super) fn labels(
        &self,
        database: &DatabaseOutcome,
        id: &PreviewId,
        owner: &str,
        name: &str,
        token: &str,
    ) -> HashMap<String, String> {
        let mut labels = database.labels(id, owner, name, token);
        labels.insert(LABEL_NETWORK_ISOLATION.to_owned(), self.network.isolation.as_str().to_owned());
        if let Some(detail) = &self.network.detail {
            labels.insert(LABEL_NETWORK_DETAIL.to_owned(), one_line(detail));
        }
        labels.insert(LABEL_VARIABLES.to_owned(), serde_json::json!(self.given).to_string());
        labels
    }
}

/// See the module.
pub(super) struct Preparation {
    context: Arc<Context>,
    images: Images,
    network: PreviewNetwork,
}

impl Preparation {
    pub(super) fn new(context: Arc<Context>, images: Images, network: PreviewNetwork) -> Self {
        Self { context, images, network }
    }

    pub(super) async fn prepare(
        &self,
        request: &StartRequest,
        operation: &OperationGuard<'_>,
    ) -> Result<Prepared, Error> {
        let common = &self.context.common;
        let ((of_image, network), database) = tokio::try_join!(
            async {
                let pulling = || operation.phase(Phase::Pulling);
                let variables = self.images.ensure(Some(&request.id), request.hooks(), pulling).await?;
                operation.phase(Phase::Creating);
                // After the image: the container that sets the network's rules is made of it.
                let network = self.network.attach_for_start().await;
                Ok((variables, network.map_err(|source| network_error(&request.id, source))?))
            },
            ensure_database(common, request),
        )?;
        let database = self.reachable(&request.id, database, &network).await?;
        // Last: whose credentials it holds, and where the server is, depends on both.
        common.databases.set_host(network.peer_host.as_deref());
        let environment = container_environment(common, request).await?;
        let given = request.variables.iter().map(|(name, _)| name.clone()).collect();
        Ok(Prepared { network, database, environment, of_image, given })
    }

    /// Makes the preview's database, and tells whether a container made now would have it. Why not is logged.
    ///
    /// # Errors
    /// That of a replaced step.
    pub(super) async fn can_have_database(&self, request: &StartRequest) -> Result<bool, Error> {
        let made = async {
            let database = ensure_database(&self.context.common, request).await?;
            if database.state != DatabaseState::Ready {
                return Ok(database);
            }
            let network = self.network(&request.id).await?;
            self.reachable(&request.id, database, &network).await
        };
        match made.await {
            Ok(database) => Ok(database.state == DatabaseState::Ready),
            Err(error @ (Error::Hook { .. } | Error::Abandoned { .. })) => Err(error),
            Err(error) => {
                log::warn!(target: "kosuke_docker::service", "{}: it cannot have a database now: {error}", request.id);
                Ok(false)
            }
        }
    }

    /// Whether the container will reach the server that the database is on. This machine's own server has to listen where
    /// containers find it.
    async fn reachable(
        &self,
        id: &PreviewId,
        database: DatabaseOutcome,
        network: &Attachment,
    ) -> Result<DatabaseOutcome, Error> {
        let databases = &self.context.common.databases;
        let Some((configured, _)) = databases.endpoint().filter(|_| database.state == DatabaseState::Ready) else {
            return Ok(database);
        };
        let checked = match &network.peer_host {
            Some(host) if *host == configured => Ok(()),
            Some(host) => databases.check_listens(host).await,
            None => Err(DatabaseError::new("reach from a container", format!("{configured} {ELSEWHERE}"))),
        };
        match checked {
            Ok(()) => Ok(database),
            Err(source) if self.context.settings().postgres_required => Err(Error::database(id, source)),
            Err(error) => Ok(DatabaseOutcome::unavailable(&error)),
        }
    }

    /// Makes sure of the network, and of the rules that keep what is on it apart.
    pub(super) async fn network(&self, id: &PreviewId) -> Result<Attachment, Error> {
        self.network.attach().await.map_err(|source| network_error(id, source))
    }

    /// Between these two a start needs the network; one that failed leaves none that was made for it.
    pub(super) fn begin_start(&self) {
        self.network.begin_start();
    }

    pub(super) async fn end_start(&self, succeeded: bool) {
        self.network.end_start(succeeded).await;
    }
}

fn network_error(id: &PreviewId, source: EngineError) -> Error {
    if source.is_no_answer() {
        Error::engine("network", Some(id), source)
    } else {
        Error::ContainerStart { preview: id.clone(), step: "network", source }
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
    Ok(with_mark(common, request, variables).await)
}

/// With the mark that makes Vite tell what goes wrong in the browser, unless somebody set it.
async fn with_mark(common: &Common, request: &StartRequest, mut variables: Variables) -> Variables {
    let folder = common.settings.projects_dir.join(request.id.folder());
    let given = variables.iter().any(|(name, _)| name == vite::MARK);
    if common.settings.preview_browser_errors && !given && vite::is_vite(&folder).await {
        variables.push((vite::MARK.into(), vite::NAME.into()));
    }
    variables
}
