//! Replace (reset and copy): builds a new database, empty or a copy, beside the old one and then renames it, in one
//! transaction. What fails before that changes nothing. Role and password stay, so clients can reconnect.

use tokio_postgres::error::SqlState;

use super::catalog::{DatabaseEntry, find_own_database};
use super::connection::Connection;
use super::create::create_statement;
use super::drop_database::drop_database;
use super::error::DatabaseError;
use super::extensions;
use super::mark::{Mark, passing_name};
use super::policy::Policy;
use super::server::Server;
use super::sessions::run_alone;
use super::setup::Setup;
use super::sql::{quote_name, quote_text, take_over};
use super::target::Target;

/// As `server_version_num` has it: the first that can be told how to copy files.
const CLONE_VERSION: i32 = 180_000;

/// `source`: the database to copy; None: begin empty.
pub(super) async fn replace(
    server: &Server,
    connection: &Connection,
    policy: &Policy,
    target: &Target,
    source: Option<&Target>,
) -> Result<(), DatabaseError> {
    let name = target.name.clone();
    let source_name = source.map(|source| source.name.clone());
    let setup = Setup::new(server, connection, policy, target).await?;
    let names: Vec<&str> = [Some(name.as_str()), source_name.as_deref()].into_iter().flatten().collect();
    connection.lock(&names).await?;
    let old = find_own_database(connection, target).await?;
    let source = match (source, &source_name) {
        (Some(source), Some(name)) => {
            let Some(entry) = find_own_database(connection, source).await? else {
                return Err(DatabaseError::new("find source", format!("there is no database {name}")));
            };
            Some((name.as_str(), entry))
        }
        _ => None,
    };
    build_aside(&setup, source, old.is_some()).await
}

/// Makes the target's database, with all that the settings ask for, where there is none. False: somebody else was first.
pub(super) async fn create(setup: &Setup<'_>) -> Result<bool, DatabaseError> {
    match build_aside(setup, None, false).await {
        Ok(()) => Ok(true),
        Err(error) if error.sqlstate.as_deref() == Some(SqlState::DUPLICATE_DATABASE.code()) => Ok(false),
        Err(error) => Err(error),
    }
}

/// `exists`: there is one of the target's name, which is dropped.
async fn build_aside(
    setup: &Setup<'_>,
    source: Option<(&str, DatabaseEntry)>,
    exists: bool,
) -> Result<(), DatabaseError> {
    let new = passing_name(true);
    let done = match build(setup, &new, source).await {
        Ok(()) => swap(setup, &new, exists).await,
        Err(error) => Err(error),
    };
    if done.is_err()
        && let Err(error) = drop_database(setup.server, setup.connection, &new).await
    {
        log::warn!(target: "kosuke_docker::database", "database {new} is left until the next sweep: {error}");
    }
    done
}

async fn build(setup: &Setup<'_>, new: &str, source: Option<(&str, DatabaseEntry)>) -> Result<(), DatabaseError> {
    let (server, connection) = (setup.server, setup.connection);
    let quoted = quote_name(new);
    match &source {
        None => connection.retry_while_busy("create database", &create_statement(connection, new).await?).await?,
        Some((name, _)) => {
            let strategy = if clones(setup).await? { " STRATEGY file_copy" } else { "" };
            let copy =
                format!("CREATE DATABASE {quoted} TEMPLATE {} ALLOW_CONNECTIONS false{strategy}", quote_name(name));
            run_alone(server, connection, name, "copy database", &copy).await?;
        }
    }
    let mark = quote_text(&Mark::temporary(setup.target).text());
    connection.retry_while_busy("mark database", &format!("COMMENT ON DATABASE {quoted} IS {mark}")).await?;
    let Some((name, entry)) = source else {
        extensions::fill(setup, new).await?;
        return setup.apply(new).await.map(drop);
    };
    setup.apply(new).await?;
    let role = if setup.with_role { setup.target.name.clone() } else { server.admin_user().to_owned() };
    if entry.owner == name {
        reassign(setup, new, name, &role).await?;
    } else if setup.with_role {
        let inside = server.open_inside(Some(new)).await?;
        let taken = inside.retry_while_busy("take over", &take_over(&role)).await;
        inside.close().await;
        taken?;
    }
    extensions::ensure(setup, new).await
}

/// Whether this session copies file by file from now on, as clones where the file system has them: an eighth of the time for
/// a database of 400 MB.
/// <https://www.postgresql.org/docs/18/runtime-config-resource.html#GUC-FILE-COPY-METHOD>
async fn clones(setup: &Setup<'_>) -> Result<bool, DatabaseError> {
    if setup.admin.server_version < CLONE_VERSION {
        return Ok(false);
    }
    // Not every build of a server can.
    let sql = "SELECT FROM pg_settings WHERE name = 'file_copy_method' AND 'clone' = ANY(enumvals)";
    let offered = setup.connection.row("look for clones", sql, &[]).await?.is_some();
    if offered {
        setup.connection.run("choose clones", "SET file_copy_method = clone").await?;
    }
    Ok(offered)
}

/// Gives all that the role `from` owns in database `new` to the role `to`.
async fn reassign(setup: &Setup<'_>, new: &str, from: &str, to: &str) -> Result<(), DatabaseError> {
    let connection = setup.connection;
    let (from_role, to_role) = (quote_name(from), quote_name(to));
    if !setup.admin.superuser {
        connection.run_if_allowed(new, "join role", &format!("GRANT {from_role} TO CURRENT_USER")).await?;
    }
    let sql = "SELECT datname::text FROM pg_database WHERE pg_get_userbyid(datdba) = $1";
    let owned = connection.rows("find databases", sql, &[&from]).await?;
    // REASSIGN OWNED gives whole databases away, too: the same transaction gives them back.
    let mut steps = vec![format!("REASSIGN OWNED BY {from_role} TO {to_role}")];
    steps.extend(owned.iter().map(|row| format!("ALTER DATABASE {} OWNER TO {from_role}", quote_name(row.get(0)))));
    let inside = setup.server.open_inside(Some(new)).await?;
    let done = inside.retry_while_busy("hand over", &steps.join("; ")).await;
    inside.close().await;
    Ok(done?)
}

/// Gives the database `new` the target's name. `exists`: another one has it, which is renamed and dropped.
async fn swap(setup: &Setup<'_>, new: &str, exists: bool) -> Result<(), DatabaseError> {
    let (server, connection, target) = (setup.server, setup.connection, setup.target);
    let (name, old) = (&target.name, passing_name(false));
    let (quoted, quoted_old) = (quote_name(name), quote_name(&old));
    let mut steps = Vec::new();
    if exists {
        let mark = quote_text(&Mark::dropping(target).text());
        steps.push(format!("ALTER DATABASE {quoted} RENAME TO {quoted_old}"));
        steps.push(format!("COMMENT ON DATABASE {quoted_old} IS {mark}"));
    }
    steps.push(format!("ALTER DATABASE {} RENAME TO {quoted}", quote_name(new)));
    steps.push(format!("COMMENT ON DATABASE {quoted} IS {}", quote_text(&Mark::of(target).text())));
    let emptied = if exists { name } else { new };
    run_alone(server, connection, emptied, "swap databases", &steps.join("; ")).await?;
    if exists && let Err(error) = drop_database(server, connection, &old).await {
        log::warn!(target: "kosuke_docker::database", "database {old} is left until the next sweep: {error}");
    }
    Ok(())
}
