//! Quoting, and long statements.

/// An SQL name, quoted unless it is plain and begins as ours do: words of the language (`user`, `order`) must be quoted.
pub(super) fn quote_name(name: &str) -> String {
    let plain =
        name.starts_with("kosuke_") && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// An SQL text that means the same with and without `standard_conforming_strings`.
pub(super) fn quote_text(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') { format!(" E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

/// Gives all that the admin owns in the user schemas of the connected database to `role`, but for what belongs to an
/// extension, and the schemas that hold some.
pub(super) fn take_over(role: &str) -> String {
    format!(
        r"DO $kosuke$
DECLARE item record;
BEGIN
  FOR item IN
    SELECT format('ALTER SCHEMA %I OWNER TO %I', n.nspname, {role}) AS sql, 0 AS rank
      FROM pg_namespace n
     WHERE n.nspowner = current_user::regrole AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
       AND (n.nspname = 'public' OR NOT EXISTS (SELECT FROM pg_extension e WHERE e.extnamespace = n.oid))
    UNION ALL
    SELECT format('ALTER TABLE %s OWNER TO %I', c.oid::regclass, {role}), 1
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relowner = current_user::regrole AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
       AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
       AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.classid = 'pg_class'::regclass AND d.deptype IN ('e', 'a', 'i'))
    UNION ALL
    SELECT format('ALTER ROUTINE %s OWNER TO %I', p.oid::regprocedure, {role}), 2
      FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
     WHERE p.proowner = current_user::regrole AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
       AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e')
    UNION ALL
    SELECT format('ALTER TYPE %s OWNER TO %I', t.oid::regtype, {role}), 3
      FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
     WHERE t.typowner = current_user::regrole AND t.typtype IN ('e', 'd', 'r')
       AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
       AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = t.oid AND d.classid = 'pg_type'::regclass AND d.deptype = 'e')
    ORDER BY rank
  LOOP
    EXECUTE item.sql;
  END LOOP;
END $kosuke$",
        role = quote_text(role)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_unless_they_are_ours() {
        assert_eq!(quote_name("kosuke_project_123"), "kosuke_project_123");
        assert_eq!(quote_name("order"), "\"order\"");
        assert_eq!(quote_name("kosuke_Project"), "\"kosuke_Project\"");
        assert_eq!(quote_name("a\"B-c"), "\"a\"\"B-c\"");
    }

    #[test]
    fn texts_are_quoted() {
        assert_eq!(quote_text("a'b"), "'a''b'");
        assert_eq!(quote_text("a\\'b"), " E'a\\\\''b'");
    }
}
