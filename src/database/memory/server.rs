//! [`MemoryDatabases`].

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};

use super::calls::{Call, Calls, Held};
use crate::database::databases::{DatabaseInfo, Databases, Ensured, Login, TableInfo};
use crate::database::error::DatabaseError;
use crate::database::mark::another_deployments;
use crate::database::target::{Deployment, Owned, Target};
use crate::database::url::url;
use crate::lock::lock;
use crate::preview::Isolation;

const ADMIN: &str = "postgres";
const HOST: &str = "postgres";
const CONNECTION_LIMIT: u32 = 10;

/// A database server in memory. It keeps the rules of the Postgres server: a database has one deployment, a drop that failed
/// can be finished, a reset or copy keeps role and password, and a role has the password that was set last.
///
/// ```
/// use kosuke_docker::database::memory::{Call, MemoryDatabases};
/// use kosuke_docker::database::{DatabaseError, Databases, Deployment, Target};
/// use kosuke_docker::id::PreviewId;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), DatabaseError> {
/// let databases = MemoryDatabases::new();
/// let (id, deployment) = (PreviewId::project(7), Deployment::named("me"));
/// let target = Target { id, name: "kosuke_project_7".into(), deployment };
/// databases.fail_next(Call::Ensure, DatabaseError::new("connect", "connection refused"));
/// assert!(databases.ensure(&target).await.is_err());
/// assert!(databases.ensure(&target).await?.created);
/// assert_eq!(databases.count(Call::Ensure), 2);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct MemoryDatabases {
    isolation: Isolation,
    detail: Option<String>,
    calls: Calls,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    entries: BTreeMap<String, Entry>,
    /// With the names of their roles, oldest first.
    passwords: Vec<(String, SecretString)>,
}

/// A database with its role, or a role alone.
#[derive(Debug)]
struct Entry {
    target: Target,
    role_only: bool,
    dropping: bool,
    password: Option<SecretString>,
    tables: Vec<TableInfo>,
}

impl Entry {
    fn new(target: &Target) -> Self {
        Self { target: target.clone(), role_only: false, dropping: false, password: None, tables: Vec::new() }
    }

    fn size_bytes(&self) -> u64 {
        self.tables.iter().filter_map(|table| table.size_bytes).sum()
    }
}

impl Default for MemoryDatabases {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryDatabases {
    /// An empty server that isolates each database by a role.
    #[must_use]
    pub fn new() -> Self {
        Self::with_isolation(Isolation::Role, None)
    }

    /// An empty server whose databases have this isolation; `detail` says why it is not better.
    #[must_use]
    pub fn with_isolation(isolation: Isolation, detail: Option<&str>) -> Self {
        Self { isolation, detail: detail.map(str::to_owned), calls: Calls::default(), state: Mutex::default() }
    }

    /// Makes the next call of this kind fail. Several for one kind apply in their order. The call changes nothing, except
    /// that a removal that fails in another step than `connect` leaves the database marked as dropping.
    pub fn fail_next(&self, call: Call, error: DatabaseError) {
        self.calls.fail_next(call, error);
    }

    /// Makes the next call of this kind wait, before it changes anything, until [`Held::release`] or the drop of [`Held`].
    #[must_use = "a call is held only as long as this lives"]
    pub fn hold(&self, call: Call) -> Held {
        self.calls.hold(call)
    }

    /// All calls in their order, each with the database's name, or with the owner for [`Call::Owned`], and nothing for [`Call::Missing`]. A call is listed
    /// when it begins, so failed and held ones are in the list.
    #[must_use]
    pub fn history(&self) -> Vec<(Call, String)> {
        self.calls.history()
    }

    /// How often each kind of call was made.
    #[must_use]
    pub fn calls(&self) -> BTreeMap<Call, usize> {
        let mut counts = BTreeMap::new();
        for (call, _) in self.history() {
            *counts.entry(call).or_default() += 1;
        }
        counts
    }

    /// How often this kind of call was made.
    #[must_use]
    pub fn count(&self, call: Call) -> usize {
        self.calls().get(&call).copied().unwrap_or_default()
    }

    /// Forgets which calls were made.
    pub fn reset_calls(&self) {
        self.calls.forget_history();
    }

    /// The passwords that were set for the role `name`, oldest first. A drop of the role does not shorten the list.
    #[must_use]
    pub fn passwords(&self, name: &str) -> Vec<SecretString> {
        lock(&self.state).passwords.iter().filter(|(of, _)| of == name).map(|(_, password)| password.clone()).collect()
    }

    /// Whether a client with the URL `candidate` could log in now.
    #[must_use]
    pub fn accepts(&self, candidate: &str) -> bool {
        lock(&self.state).entries.iter().filter(|(_, entry)| !entry.role_only && !entry.dropping).any(
            |(name, entry)| {
                let own = entry.password.clone().map(|password| self.url(name, &Login::Role(password), HOST));
                let urls = own.into_iter().chain([self.url(name, &Login::Admin, HOST)]);
                urls.into_iter().any(|url| url.expose_secret() == candidate)
            },
        )
    }

    /// Puts the target's database there, as a process that died left it. `role_only`: its role alone. `dropping`: a drop of
    /// it was begun.
    pub fn insert(&self, target: &Target, role_only: bool, dropping: bool) {
        lock(&self.state).entries.insert(target.name.clone(), Entry { role_only, dropping, ..Entry::new(target) });
    }

    /// Replaces the tables of the database `name`. False: there is no such database.
    pub fn set_tables(&self, name: &str, tables: Vec<TableInfo>) -> bool {
        lock(&self.state).entries.get_mut(name).map(|entry| entry.tables = tables).is_some()
    }
}

impl State {
    /// The target's database or role, whatever its state. An error for another deployment's.
    fn find(&mut self, target: &Target) -> Result<Option<&mut Entry>, DatabaseError> {
        match self.entries.get_mut(&target.name) {
            Some(entry) if entry.target.deployment != target.deployment => {
                let Deployment { owner, id } = &entry.target.deployment;
                Err(another_deployments(&target.name, owner, Some(id)))
            }
            entry => Ok(entry),
        }
    }

    /// The target's database. An error where there is none.
    fn database(&mut self, target: &Target, step: &'static str) -> Result<&mut Entry, DatabaseError> {
        let missing = || DatabaseError::new(step, format!("there is no database {}", target.name));
        self.find(target)?.filter(|entry| !entry.role_only).ok_or_else(missing)
    }

    /// Puts `tables` in the place of what the target's database holds. It is created where it is missing.
    fn replace(&mut self, target: &Target, tables: Vec<TableInfo>) -> Result<(), DatabaseError> {
        self.find(target)?;
        let entry = self.entries.entry(target.name.clone()).or_insert_with(|| Entry::new(target));
        (entry.role_only, entry.dropping, entry.tables) = (false, false, tables);
        Ok(())
    }
}

#[async_trait]
impl Databases for MemoryDatabases {
    async fn ensure(&self, target: &Target) -> Result<Ensured, DatabaseError> {
        self.calls.begin(Call::Ensure, &target.name).await?;
        let mut state = lock(&self.state);
        if state.find(target)?.is_some_and(|entry| entry.dropping) {
            state.entries.remove(&target.name);
        }
        let created = state.entries.get(&target.name).is_none_or(|entry| entry.role_only);
        state.entries.entry(target.name.clone()).or_insert_with(|| Entry::new(target)).role_only = false;
        Ok(Ensured { created, isolation: self.isolation, detail: self.detail.clone() })
    }

    async fn set_password(&self, name: &str, password: &SecretString) -> Result<(), DatabaseError> {
        self.calls.begin(Call::SetPassword, name).await?;
        let mut state = lock(&self.state);
        let Some(entry) = state.entries.get_mut(name) else {
            let message = format!("role \"{name}\" does not exist (SQLSTATE 42704)");
            return Err(DatabaseError { step: "set password", message, sqlstate: Some("42704".to_owned()) });
        };
        entry.password = Some(password.clone());
        state.passwords.push((name.to_owned(), password.clone()));
        Ok(())
    }

    fn endpoint(&self) -> (String, u16) {
        (HOST.to_owned(), 5432)
    }

    async fn check_listens(&self, _: &str) -> Result<(), DatabaseError> {
        Ok(())
    }

    fn url(&self, name: &str, login: &Login, host: &str) -> SecretString {
        match login {
            Login::Role(password) => url(name, password.expose_secret().as_bytes(), host, 5432, name),
            Login::Admin => url(ADMIN, ADMIN.as_bytes(), host, 5432, name),
        }
    }

    fn admin_only(&self) -> bool {
        self.isolation == Isolation::Admin
    }

    async fn remove(&self, target: &Target) -> Result<bool, DatabaseError> {
        let begun = self.calls.begin(Call::Remove, &target.name).await;
        let mut state = lock(&self.state);
        if let Err(error) = begun {
            if error.step != "connect"
                && let Ok(Some(entry)) = state.find(target)
            {
                entry.dropping = true;
            }
            return Err(error);
        }
        state.find(target)?;
        Ok(state.entries.remove(&target.name).is_some())
    }

    async fn remove_again(&self, owned: &Owned) -> Result<bool, DatabaseError> {
        self.calls.begin(Call::RemoveAgain, &owned.name).await?;
        let mut state = lock(&self.state);
        let is_same = |entry: &Entry| entry.dropping && entry.target == owned.target;
        if !state.entries.get(&owned.name).is_some_and(is_same) {
            return Ok(false);
        }
        Ok(state.entries.remove(&owned.name).is_some())
    }

    async fn owned(&self, deployment: &Deployment) -> Result<Vec<Owned>, DatabaseError> {
        self.calls.begin(Call::Owned, &deployment.owner).await?;
        let state = lock(&self.state);
        let (roles, databases): (Vec<_>, Vec<_>) = state
            .entries
            .iter()
            .filter(|(_, entry)| entry.target.deployment == *deployment)
            .partition(|(_, entry)| entry.role_only);
        let describe = |(name, entry): (&String, &Entry)| Owned {
            name: name.clone(),
            target: entry.target.clone(),
            size_bytes: (!entry.role_only).then(|| entry.size_bytes()),
            role_only: entry.role_only,
            dropping: entry.dropping,
        };
        Ok(databases.into_iter().chain(roles).map(describe).collect())
    }

    async fn missing(&self, names: &[String]) -> Result<Vec<String>, DatabaseError> {
        self.calls.begin(Call::Missing, "").await?;
        let state = lock(&self.state);
        let is_there = |name: &String| state.entries.get(name).is_some_and(|entry| !entry.role_only);
        Ok(names.iter().filter(|name| !is_there(name)).cloned().collect())
    }

    async fn info(&self, target: &Target) -> Result<DatabaseInfo, DatabaseError> {
        let name = target.name.clone();
        self.calls.begin(Call::Info, &name).await?;
        let mut state = lock(&self.state);
        let entry = state.database(target, "find database")?;
        let owner = if self.admin_only() { ADMIN.to_owned() } else { name.clone() };
        Ok(DatabaseInfo {
            owner,
            isolation: self.isolation,
            size_bytes: entry.size_bytes(),
            connections: 0,
            connection_limit: (!self.admin_only()).then_some(CONNECTION_LIMIT),
            tables: entry.tables.clone(),
            table_count: u64::try_from(entry.tables.len()).unwrap_or(u64::MAX),
            name,
        })
    }

    async fn reset(&self, target: &Target) -> Result<(), DatabaseError> {
        self.calls.begin(Call::Reset, &target.name).await?;
        lock(&self.state).replace(target, Vec::new())
    }

    async fn copy(&self, target: &Target, source: &Target) -> Result<(), DatabaseError> {
        self.calls.begin(Call::Copy, &target.name).await?;
        let mut state = lock(&self.state);
        state.find(target)?;
        let tables = state.database(source, "find source")?.tables.clone();
        state.replace(target, tables)
    }
}
