//! What can be asked about and done to a preview's database. What changes one waits for its place in the preview's queue.

use std::sync::{Arc, Mutex};

use secrecy::ExposeSecret;

use super::deployment::Identity;
use super::operations::Operations;
use super::passwords::Passwords;
use crate::database::{DatabaseError, DatabaseInfo, Databases, Ensured, Login, Owned, Target};
use crate::environment::{self, Variables};
use crate::error::Error;
use crate::id::PreviewId;
use crate::lock::lock;
use crate::settings::Settings;

const NO_SERVER: &str = "no database server is configured: POSTGRES_HOST is empty, and PREVIEW_POSTGRES_URL is not set";
/// Where the settings tell of no server, and there is one all the same.
const DEFAULT_PREFIX: &str = "kosuke_project_";

/// The databases of the previews. Cheap to clone, all clones are one.
#[derive(Clone)]
pub struct ProjectDatabases {
    databases: Option<Arc<dyn Databases>>,
    operations: Operations,
    identity: Arc<Identity>,
    /// Of the databases' names.
    prefix: String,
    port: u16,
    passwords: Arc<Passwords>,
    /// Where containers find the server, once that was found out.
    host: Arc<Mutex<Option<String>>>,
    /// Held while places in two queues are taken: two copies must not wait for each other.
    pairs: Arc<Mutex<()>>,
}

impl ProjectDatabases {
    pub(crate) fn new(databases: Option<Arc<dyn Databases>>, operations: Operations, settings: &Settings) -> Self {
        Self {
            databases,
            operations,
            identity: Arc::new(Identity::new(settings)),
            prefix: settings.postgres.as_ref().map_or(DEFAULT_PREFIX, |postgres| &postgres.database_prefix).to_owned(),
            port: settings.preview_port,
            passwords: Arc::default(),
            host: Arc::default(),
            pairs: Arc::default(),
        }
    }

    /// Where containers find the server, as the settings have it. None: there is none.
    pub(super) fn endpoint(&self) -> Option<(String, u16)> {
        self.databases.as_ref().map(|databases| databases.endpoint())
    }

    /// Containers find the server at this host.
    pub(super) fn set_host(&self, host: Option<&str>) {
        *lock(&self.host) = host.map(str::to_owned);
    }

    /// Fails where the server takes no connections on this address of its machine. A failure is logged.
    ///
    /// # Errors
    /// The words of the connection, and what to change.
    pub(super) async fn check_listens(&self, host: &str) -> Result<(), DatabaseError> {
        let Some(databases) = &self.databases else { return Ok(()) };
        databases.check_listens(host).await.inspect_err(|error| {
            log::error!(target: "kosuke_docker::database", "{error}");
        })
    }

    /// The server.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn required(&self) -> Result<&Arc<dyn Databases>, DatabaseError> {
        self.databases.as_ref().ok_or_else(|| DatabaseError::new("connect", NO_SERVER))
    }

    /// Whose database it is.
    async fn target(&self, id: &PreviewId) -> Result<Target, DatabaseError> {
        let deployment = self.identity.deployment().await?.clone();
        Ok(Target { id: id.clone(), name: self.name(id), deployment })
    }

    /// The name of a preview's database.
    pub(crate) fn name(&self, id: &PreviewId) -> String {
        id.database_name(&self.prefix)
    }

    /// Everything on the server that this deployment marked.
    ///
    /// # Errors
    /// The server's own words, or why it is not known which deployment this is.
    pub(super) async fn owned(&self, databases: &dyn Databases) -> Result<Vec<Owned>, DatabaseError> {
        databases.owned(self.identity.deployment().await?).await
    }

    /// The variables for a container: the base, then `overlay`. The URL's password is the one that the next start of this
    /// preview will set; with `admin`, and where previews get no roles, it is the admin's.
    #[must_use]
    pub fn environment(&self, id: &PreviewId, overlay: &[(String, String)], admin: bool) -> Variables {
        let url = self.databases.as_ref().map(|databases| {
            let login =
                if admin || databases.admin_only() { Login::Admin } else { Login::Role(self.passwords.next(id)) };
            let host = lock(&self.host).clone().unwrap_or_else(|| databases.endpoint().0);
            databases.url(&self.name(id), &login, &host)
        });
        environment::prepare(id, self.port, url.as_ref().map(ExposeSecret::expose_secret), overlay)
    }

    /// Makes the database and role of a preview where they are missing; touches no password. None: no server configured.
    /// A failure is logged.
    ///
    /// # Errors
    /// The server's own words.
    pub async fn ensure(&self, id: &PreviewId) -> Result<Option<Ensured>, DatabaseError> {
        let Some(databases) = &self.databases else { return Ok(None) };
        let project = id.project_id();
        let ensured = async { databases.ensure(&self.target(id).await?).await };
        match ensured.await {
            Ok(ensured) => {
                if ensured.created {
                    log::info!(target: "kosuke_docker::database", "Created database for project {project}");
                }
                self.made_again(id);
                Ok(Some(ensured))
            }
            Err(error) => {
                log::error!(target: "kosuke_docker::database", "Error creating database for project {project}: {error}");
                Err(error)
            }
        }
    }

    /// Sets the password that the environment of this start holds. A failure is logged.
    ///
    /// # Errors
    /// The server's own words.
    pub(crate) async fn set_password(&self, id: &PreviewId) -> Result<(), DatabaseError> {
        let Some(databases) = &self.databases else { return Ok(()) };
        let set = databases.set_password(&self.name(id), &self.passwords.take(id)).await;
        if let Err(error) = &set {
            let project = id.project_id();
            log::error!(target: "kosuke_docker::database", "Error creating database for project {project}: {error}");
        }
        set
    }

    /// Removes the preview's database with whoever is connected, and its role. None is no error.
    ///
    /// # Errors
    /// [`Error::Database`]: the drop is marked, and tried again by the next sweep; or there is no server.
    pub fn drop(&self, id: &PreviewId) -> impl Future<Output = Result<(), Error>> + Send + 'static {
        let (this, of) = (self.clone(), id.clone());
        self.operations.run(id, "database", async move {
            this.drop_now(&of).await?;
            this.operations.store().lose_database(&of, None);
            Ok(())
        })
    }

    /// The same within an operation on the preview, whose container is gone.
    pub(crate) async fn drop_now(&self, id: &PreviewId) -> Result<(), Error> {
        let dropped = async { self.required()?.remove(&self.target(id).await?).await };
        let dropped = dropped.await.map_err(|source| Error::database(id, source)).inspect_err(|error| {
            log::warn!(target: "kosuke_docker::database", "its database was not removed: {error}");
        })?;
        if dropped {
            log::info!(target: "kosuke_docker::database", "{id}: dropped its database");
        }
        Ok(())
    }

    /// Puts an empty database in the place of the preview's. Role and password stay: a running container reconnects.
    ///
    /// # Errors
    /// [`Error::Database`]: then the old one is as it was.
    pub fn reset(&self, id: &PreviewId) -> impl Future<Output = Result<(), Error>> + Send + 'static {
        let (this, of) = (self.clone(), id.clone());
        self.operations.run(id, "database", async move {
            let reset = async { this.required()?.reset(&this.target(&of).await?).await };
            reset.await.map_err(|source| Error::database(&of, source))?;
            this.made_again(&of);
            Ok(())
        })
    }

    /// Puts a copy of `from`'s database in the place of the preview's. `from`'s clients are disconnected for it.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] for a preview and itself; [`Error::Database`]: then both are as they were.
    pub fn copy(&self, id: &PreviewId, from: &PreviewId) -> impl Future<Output = Result<(), Error>> + Send + 'static {
        let copying = if id == from {
            Err(Error::InvalidInput { field: "from_project_id".into(), problem: "is the project itself".into() })
        } else {
            let (this, of, source) = (self.clone(), id.clone(), from.clone());
            let _both_places_at_once = lock(&self.pairs);
            let source_permit = self.operations.enter(from);
            Ok(self.operations.run(id, "database", async move {
                source_permit.turn().await;
                let copy = async {
                    let (target, source) = (this.target(&of).await?, this.target(&source).await?);
                    this.required()?.copy(&target, &source).await
                };
                let copied = copy.await.map_err(|error| Error::database(&of, error)).map(|()| this.made_again(&of));
                this.operations.finish(&source, source_permit);
                copied
            }))
        };
        async move { copying?.await }
    }

    /// Those of these databases that do not exist. None are missing where no server is configured.
    ///
    /// # Errors
    /// The server's own words.
    pub(super) async fn missing(&self, names: &[String]) -> Result<Vec<String>, DatabaseError> {
        match &self.databases {
            Some(databases) if !names.is_empty() => databases.missing(names).await,
            _ => Ok(Vec::new()),
        }
    }

    /// Containers with the admin's credentials log in to whatever database has the name.
    fn made_again(&self, id: &PreviewId) {
        if self.databases.as_ref().is_some_and(|databases| databases.admin_only()) {
            self.operations.store().regain_database(id);
        }
    }

    /// What the server says about the preview's database.
    ///
    /// # Errors
    /// [`Error::Database`], also when there is none.
    pub async fn info(&self, id: &PreviewId) -> Result<DatabaseInfo, Error> {
        let info = async { self.required()?.info(&self.target(id).await?).await };
        info.await.map_err(|source| Error::database(id, source))
    }
}
