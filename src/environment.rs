//! The environment that a preview's container gets.

use crate::error::Error;
use crate::id::PreviewId;
use crate::rules::MAX_STRING;

/// Variables in the order in which they were given.
pub type Variables = Vec<(String, String)>;

/// Checks that a container can have these names and values.
///
/// ```
/// use kosuke_docker::environment::validate;
///
/// assert!(validate(&[("A".into(), "b=c".into())]).is_ok());
/// assert!(validate(&[("A=B".into(), "c".into())]).is_err());
/// ```
///
/// # Errors
/// [`Error::InvalidInput`] naming the variable; the error never holds its value.
pub fn validate(variables: &[(String, String)]) -> Result<(), Error> {
    for (name, value) in variables {
        let problem = if name.is_empty() {
            "the name is empty"
        } else if name.contains('=') {
            "the name holds '='"
        } else if name.contains('\0') {
            "the name holds a NUL"
        } else if value.contains('\0') {
            "the value holds a NUL"
        } else if name.len() + value.len() + "=\0".len() > MAX_STRING {
            "name and value together are too long: Linux takes less than 128 KiB; put it into a file of the project"
        } else {
            continue;
        };
        // A name may be what is too long.
        let shown: String = name.chars().take(80).collect();
        return Err(Error::InvalidInput { field: format!("env_vars[{shown:?}]"), problem: problem.into() });
    }
    Ok(())
}

/// The variables that every preview gets, with `overlay` over them.
#[must_use]
pub fn prepare(key: &PreviewId, port: u16, database_url: Option<&str>, overlay: &[(String, String)]) -> Variables {
    let mut variables: Variables = vec![
        ("PROJECT_ID".into(), key.project_id().to_string()),
        ("NODE_ENV".into(), "development".into()),
        ("PORT".into(), port.to_string()),
        ("NEXT_TELEMETRY_DISABLED".into(), "1".into()),
    ];
    if let Some(url) = database_url {
        variables.push(("POSTGRES_URL".into(), url.into()));
        variables.push(("DATABASE_URL".into(), url.into()));
    }
    merge(&mut variables, overlay);
    variables
}

/// Puts `overlay` over `variables`: a name that exists keeps its place and gets the new value; a new name goes to the end.
///
/// ```
/// use kosuke_docker::environment::{Variables, merge};
///
/// let mut variables: Variables = vec![("PORT".into(), "3000".into()), ("NODE_ENV".into(), "development".into())];
/// merge(&mut variables, &[("PORT".into(), "8080".into()), ("API_KEY".into(), "secret".into())]);
///
/// let names: Vec<_> = variables.iter().map(|(name, _)| name.as_str()).collect();
/// assert_eq!(names, ["PORT", "NODE_ENV", "API_KEY"]);
/// assert_eq!(variables[0].1, "8080");
/// ```
pub fn merge(variables: &mut Variables, overlay: &[(String, String)]) {
    for (name, value) in overlay {
        match variables.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => old.clone_from(value),
            None => variables.push((name.clone(), value.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(list: &[(&str, &str)]) -> Variables {
        list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_caller_wins_and_keeps_the_order() {
        let variables =
            prepare(&PreviewId::project(7), 3000, Some("postgresql://x"), &pairs(&[("PORT", "1"), ("A", "b")]));
        let expected = pairs(&[
            ("PROJECT_ID", "7"),
            ("NODE_ENV", "development"),
            ("PORT", "1"),
            ("NEXT_TELEMETRY_DISABLED", "1"),
            ("POSTGRES_URL", "postgresql://x"),
            ("DATABASE_URL", "postgresql://x"),
            ("A", "b"),
        ]);
        assert_eq!(variables, expected);
    }

    #[test]
    fn no_database_no_url() {
        let variables = prepare(&PreviewId::project(7), 3000, None, &[]);
        assert!(variables.iter().all(|(name, _)| !name.ends_with("_URL")));
    }

    #[test]
    fn bad_names_and_values_are_named_without_the_value() {
        for (name, value) in [("", "secret"), ("A=B", "secret"), ("A\0", "secret"), ("A", "sec\0ret")] {
            let error = validate(&pairs(&[("OK", "1"), (name, value)])).err().map(|error| error.to_string());
            assert!(
                error.as_deref().is_some_and(|text| text.contains("env_vars[") && !text.contains("ret")),
                "{error:?}"
            );
        }
        assert!(validate(&pairs(&[("OK", "a=b"), ("LOWER_1", "")])).is_ok());
    }

    #[test]
    fn what_no_program_can_be_started_with_is_refused() {
        let longest = "x".repeat(MAX_STRING - "A=\0".len());
        assert!(validate(&pairs(&[("A", &longest)])).is_ok());
        let error = validate(&pairs(&[("AB", &longest)])).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains("env_vars[\"AB\"]") && error.contains("128 KiB") && error.len() < 300, "{error}");
    }
}
