//! The extensions of the settings, made by the admin. Their scripts run as a superuser and call much by its name alone, so
//! they must never run with a schema on their search path that an app may write to:
//! <https://www.postgresql.org/docs/current/sql-createextension.html>

use tokio_postgres::error::SqlState;

use super::connection::Connection;
use super::error::DatabaseError;
use super::setup::Setup;
use super::sql::quote_name;

const STEP: &str = "create extension";
/// The schema of the admin's for extensions that are made in a database where an app could write.
const SCHEMA: &str = "extensions";
/// Somebody else may make the same extension or schema between a look and a statement.
const TRIES: u32 = 3;

/// Makes them in `public` of a database that nobody could connect to yet, and closes it again.
pub(super) async fn fill(setup: &Setup<'_>, name: &str) -> Result<(), DatabaseError> {
    if setup.policy.extensions.is_empty() {
        return Ok(());
    }
    let quoted = quote_name(name);
    let open = format!("ALTER DATABASE {quoted} ALLOW_CONNECTIONS true");
    // In one transaction: nobody gets in between.
    let open = if setup.with_role {
        format!("REVOKE CONNECT, TEMPORARY ON DATABASE {quoted} FROM PUBLIC; {open}")
    } else {
        open
    };
    setup.connection.retry_while_busy(STEP, &open).await?;
    let inside = setup.server.open_inside(Some(name)).await?;
    let mut done = Ok(());
    for extension in &setup.policy.extensions {
        let create = format!("SET search_path = public; CREATE EXTENSION IF NOT EXISTS {}", quote_name(extension));
        done = inside.retry_while_busy(STEP, &create).await;
        if done.is_err() {
            break;
        }
    }
    inside.close().await;
    done?;
    let close = format!("ALTER DATABASE {quoted} ALLOW_CONNECTIONS false");
    Ok(setup.connection.retry_while_busy(STEP, &close).await?)
}

/// Makes those that are missing in a database that an app could write to: in [`SCHEMA`], where only the admin may.
pub(super) async fn ensure(setup: &Setup<'_>, name: &str) -> Result<(), DatabaseError> {
    if setup.policy.extensions.is_empty() {
        return Ok(());
    }
    let inside = setup.server.open_inside(Some(name)).await?;
    let done = ensure_inside(setup, &inside, name).await;
    inside.close().await;
    done
}

async fn ensure_inside(setup: &Setup<'_>, inside: &Connection, name: &str) -> Result<(), DatabaseError> {
    for extension in &setup.policy.extensions {
        make(inside, extension).await?;
    }
    // For apps that set no search path of their own. In a copy the setting of the source is missing.
    let sql = "SELECT FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace \
               JOIN pg_database d ON d.datname = current_database() WHERE n.nspname = $1 AND n.nspowner <> d.datdba \
               AND NOT EXISTS (SELECT FROM pg_db_role_setting s, unnest(s.setconfig) AS line(text) \
               WHERE s.setdatabase = d.oid AND s.setrole = 0 AND line.text LIKE 'search_path=%') LIMIT 1";
    if inside.row("find extensions", sql, &[&SCHEMA]).await?.is_some() {
        let find = format!("ALTER DATABASE {} SET search_path = \"$user\", public, {SCHEMA}", quote_name(name));
        inside.run_if_allowed(name, "set search path", &find).await?;
    }
    Ok(())
}

async fn make(inside: &Connection, extension: &str) -> Result<(), DatabaseError> {
    let mut tries = 1;
    loop {
        let sql = "SELECT FROM pg_extension WHERE extname = $1";
        if inside.row("find extension", sql, &[&extension]).await?.is_some() {
            return Ok(());
        }
        let create = create_statement(inside, extension).await?;
        match inside.retry_while_busy(STEP, &create).await {
            Err(error) if tries < TRIES && error.is(&[SqlState::DUPLICATE_SCHEMA, SqlState::DUPLICATE_OBJECT]) => {
                tries += 1;
            }
            done => return Ok(done?),
        }
    }
}

/// The statements that make one that is missing, once it is sure that no app may write where its script looks for names.
async fn create_statement(inside: &Connection, extension: &str) -> Result<String, DatabaseError> {
    let sql = "SELECT v.schema::text, v.requires::text[] FROM pg_available_extensions a \
               JOIN pg_available_extension_versions v ON v.name = a.name AND v.version = a.default_version \
               WHERE a.name = $1";
    let found = inside.row("find extension", sql, &[&extension]).await?;
    // One that is not there is told in the server's words.
    let (fixed, requires): (Option<String>, Option<Vec<String>>) =
        found.map_or((None, None), |row| (row.get(0), row.get(1)));
    for required in requires.unwrap_or_default() {
        check_required(inside, extension, &required).await?;
    }
    let create = format!("CREATE EXTENSION {}", quote_name(extension));
    let schema = fixed.as_deref().unwrap_or(SCHEMA);
    let create = if fixed.is_some() { create } else { format!("{create} SCHEMA {}", quote_name(schema)) };
    if schema == "pg_catalog" {
        return Ok(create);
    }
    let exists = inside.row("find schema", "SELECT FROM pg_namespace WHERE nspname = $1", &[&schema]).await?.is_some();
    if exists {
        check_schema(inside, extension, schema, "").await?;
        return Ok(create);
    }
    // One message is one transaction. A schema that the app makes meanwhile lets it fail.
    let quoted = quote_name(schema);
    Ok(format!("CREATE SCHEMA {quoted}; GRANT USAGE ON SCHEMA {quoted} TO PUBLIC; {create}"))
}

/// What an extension requires must be the admin's, in a schema of the admin's: its schema is on the script's search path.
async fn check_required(inside: &Connection, extension: &str, required: &str) -> Result<(), DatabaseError> {
    let sql = "SELECT n.nspname::text, pg_get_userbyid(e.extowner)::text, o.rolsuper OR o.rolname = current_user \
               FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace JOIN pg_roles o ON o.oid = e.extowner \
               WHERE e.extname = $1";
    let Some(row) = inside.row("find extension", sql, &[&required]).await? else {
        return Err(refused(extension, &format!("it requires {required}, which is not there: list it before")));
    };
    let (schema, owner, trusted): (String, String, bool) = (row.get(0), row.get(1), row.get(2));
    check_schema(inside, extension, &schema, &format!("it requires {required}: ")).await?;
    if trusted {
        return Ok(());
    }
    // The owner may move it to another schema between this look and the script.
    Err(refused(extension, &format!("it requires {required}, which belongs to {owner}")))
}

/// Fails for a schema that others than superusers and the admin may write to.
async fn check_schema(inside: &Connection, extension: &str, schema: &str, why: &str) -> Result<(), DatabaseError> {
    let sql = "SELECT coalesce(r.rolname::text, 'everybody') FROM pg_namespace n \
               CROSS JOIN LATERAL (SELECT n.nspowner AS oid UNION ALL \
               SELECT a.grantee FROM aclexplode(n.nspacl) a WHERE a.privilege_type = 'CREATE') w \
               LEFT JOIN pg_roles r ON r.oid = w.oid \
               WHERE n.nspname = $1 AND n.nspname <> 'pg_catalog' \
               AND NOT coalesce(r.rolsuper OR r.rolname = current_user, false) ORDER BY 1 LIMIT 1";
    match inside.row("find schema", sql, &[&schema]).await? {
        Some(row) => {
            Err(refused(extension, &format!("{why}{} may write to the schema {schema}", row.get::<_, String>(0))))
        }
        None => Ok(()),
    }
}

fn refused(extension: &str, why: &str) -> DatabaseError {
    DatabaseError::new(STEP, format!("{extension} would run its script as the admin among things of the app: {why}"))
}
