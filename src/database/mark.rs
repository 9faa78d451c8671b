//! The mark: a comment on a role and on its database that says whose they are. What another deployment marked is never used
//! or removed.
//!
//! An app owns its database and may write that comment. It does not own its role, so the role's comment decides wherever a
//! database belongs to its own role.

use serde_json::{Map, Value, json};

use super::error::DatabaseError;
use super::target::{Deployment, Target};
use crate::id::PreviewId;

/// How many characters of a comment are read: an app may write 100 MB.
pub(super) const MAX_COMMENT: usize = 4096;
/// How many characters of an older comment are kept: with all of them escaped the mark stays below [`MAX_COMMENT`].
const MAX_NOTE: usize = 400;
const KEY: &str = "kosuke";
const PREVIEW: &str = "preview";
/// The name of a database under construction, or of one that was replaced, begins with this.
const PASSING: &str = "kosuke_passing_";

/// A mark as it stands in a comment: one line of JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) id: PreviewId,
    pub(super) owner: String,
    /// None: an earlier version wrote it.
    pub(super) deployment: Option<String>,
    /// A drop was begun: the next call about it finishes it.
    pub(super) dropping: bool,
    /// When a temporary database was marked, in seconds since 1970: its builder may still be at work.
    pub(super) temporary: Option<u64>,
    /// The comment that stood there before.
    pub(super) note: Option<String>,
}

impl Mark {
    pub(super) fn of(target: &Target) -> Self {
        let Deployment { owner, id: deployment } = target.deployment.clone();
        let (id, deployment) = (target.id.clone(), Some(deployment));
        Self { id, owner, deployment, dropping: false, temporary: None, note: None }
    }

    pub(super) fn dropping(target: &Target) -> Self {
        Self { dropping: true, ..Self::of(target) }
    }

    /// For a database under a temporary name.
    pub(super) fn temporary(target: &Target) -> Self {
        Self { temporary: Some(now()), ..Self::dropping(target) }
    }

    /// None: the comment is not a mark.
    pub(super) fn parse(comment: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(comment).ok()?;
        let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
        if text(KEY)? != PREVIEW {
            return None;
        }
        let project_id = value.get("project_id")?.as_u64()?;
        let id = match text("session") {
            Some(session) => PreviewId::session(project_id, &session),
            None => PreviewId::project(project_id),
        };
        Some(Self {
            id,
            owner: text("owner")?,
            deployment: text("deployment"),
            dropping: value.get("dropping").and_then(Value::as_bool).unwrap_or_default(),
            temporary: value.get("temporary").and_then(Value::as_u64),
            note: text("note"),
        })
    }

    /// The mark of the database `name`. `owner`: the role that owns it, with that role's comment.
    pub(super) fn of_database(
        name: &str,
        comment: Option<&str>,
        owner: &str,
        owner_comment: Option<&str>,
    ) -> Option<Self> {
        let written = comment.and_then(Self::parse);
        let Some(role) = owner_comment.and_then(Self::parse) else { return written };
        if owner == name {
            return Some(role);
        }
        // Another one that this role owns is ours if we named it so; else somebody gave it to the role by hand.
        let temporary = passing_since(name.strip_prefix(PASSING)?).or(written.and_then(|mark| mark.temporary));
        Some(Self { dropping: true, temporary, ..role })
    }

    /// Whether it says that this is the target's, neither more nor less.
    pub(super) fn is_of(&self, target: &Target) -> bool {
        let Deployment { owner, id } = &target.deployment;
        self.id == target.id && self.owner == *owner && self.deployment.as_ref() == Some(id)
    }

    /// Whether the deployment may list and remove it unasked. What an earlier version marked may be that of any deployment
    /// with this owner, unless the operator said that there is but one.
    pub(super) fn is_listed_for(&self, deployment: &Deployment) -> bool {
        self.owner == deployment.owner
            && self.deployment.as_ref().map_or(deployment.is_named(), |id| *id == deployment.id)
    }

    /// Fails for the mark of another deployment: every start sets the password anew, so two that shared a database would
    /// lock each other out. What an earlier version marked goes to the first of its owner that asks for it.
    pub(super) fn check(&self, target: &Target) -> Result<(), DatabaseError> {
        let Deployment { owner, id } = &target.deployment;
        if self.owner == *owner && self.deployment.as_ref().is_none_or(|deployment| deployment == id) {
            return Ok(());
        }
        Err(another_deployments(&target.name, &self.owner, self.deployment.as_deref()))
    }

    /// The comment.
    pub(super) fn text(&self) -> String {
        let mut fields = Map::from_iter([
            (KEY.to_owned(), json!(PREVIEW)),
            ("project_id".to_owned(), json!(self.id.project_id())),
            ("session".to_owned(), json!(self.id.session_id())),
            ("owner".to_owned(), json!(self.owner)),
        ]);
        if let Some(deployment) = &self.deployment {
            fields.insert("deployment".to_owned(), json!(deployment));
        }
        if self.dropping {
            fields.insert("dropping".to_owned(), json!(true));
        }
        if let Some(since) = self.temporary {
            fields.insert("temporary".to_owned(), json!(since));
        }
        if let Some(note) = &self.note {
            fields.insert("note".to_owned(), json!(note.chars().take(MAX_NOTE).collect::<String>()));
        }
        Value::Object(fields).to_string()
    }
}

/// The error about what another deployment marked, with the way out.
pub(in crate::database) fn another_deployments(name: &str, owner: &str, deployment: Option<&str>) -> DatabaseError {
    let short = |text: &str| text.chars().take(40).collect::<String>();
    let which = match deployment {
        Some(id) if id != owner => format!("id {}, owner {}", short(id), short(owner)),
        _ => format!("owner {}", short(owner)),
    };
    DatabaseError::new(
        "find database",
        format!(
            "{name} belongs to another deployment ({which}): give this one databases of its own with \
             POSTGRES_DATABASE_PREFIX or on another server (POSTGRES_HOST), or, if both are one, the same PREVIEW_OWNER"
        ),
    )
}

/// A name that no preview's database has. It tells since when, because the app cannot change it: the role that it is for
/// owns the database, and may write its comment. `building`: somebody is at work on it; else it may go at once.
pub(super) fn passing_name(building: bool) -> String {
    let since = if building { now() } else { 0 };
    format!("{PASSING}{since:x}_{:016x}", fastrand::u64(..))
}

/// The time in such a name, of which this is the rest. None: an earlier version gave it, without one.
fn passing_since(rest: &str) -> Option<u64> {
    u64::from_str_radix(rest.split_once('_')?.0, 16).ok()
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(id: PreviewId) -> Target {
        let deployment = Deployment { owner: "o'wner".into(), id: "0123".into() };
        Target { name: id.database_name("kosuke_project_"), id, deployment }
    }

    #[test]
    fn marks_round_trip_whatever_a_session_is_called() {
        for session in [None, Some(""), Some("a'b\"c\\d\n"), Some("a\0b"), Some("日本🦀"), Some("$kosuke$ '' --")] {
            let id = session.map_or(PreviewId::project(u64::MAX), |session| PreviewId::session(u64::MAX, session));
            let target = target(id);
            for mark in [Mark::of(&target), Mark::dropping(&target), Mark::temporary(&target)] {
                assert_eq!(Mark::parse(&mark.text()), Some(mark.clone()));
                assert!(!mark.text().contains('\0'), "Postgres has no NUL in a text");
                assert!(mark.is_of(&target) && mark.check(&target).is_ok());
            }
        }
    }

    #[test]
    fn other_comments_are_no_marks() {
        for comment in ["", "my database", "{}", "[]", r#"{"kosuke": "x", "project_id": 7, "owner": "o"}"#, "null", "7"]
        {
            assert_eq!(Mark::parse(comment), None, "{comment}");
        }
    }

    #[test]
    fn a_note_never_makes_a_mark_longer_than_what_is_read() {
        let note = Some("\u{1}".repeat(5000));
        let text = Mark { note, ..Mark::of(&target(PreviewId::project(u64::MAX))) }.text();
        assert!(text.chars().count() <= MAX_COMMENT && Mark::parse(&text).is_some());
    }

    #[test]
    fn the_role_says_whose_a_database_is() {
        let (own, name) = (target(PreviewId::project(7)), "kosuke_project_7");
        let (role, forged) = (Mark::of(&own).text(), Mark::dropping(&target(PreviewId::project(8))).text());
        let of = |name, owner, role: Option<&str>| Mark::of_database(name, Some(&forged), owner, role);
        assert_eq!(of(name, name, Some(&role)), Some(Mark::of(&own)));
        // Without a role of its own there is nothing else to go by.
        assert_eq!(of(name, "postgres", None), Mark::parse(&forged));
        // Given to the role by hand.
        assert_eq!(of("shop", name, Some(&role)), None);
        for (passing, since) in [("kosuke_passing_ff_0", Some(255)), ("kosuke_passing_0123", None)] {
            let expected = Mark { temporary: since, ..Mark::dropping(&own) };
            assert_eq!(of(passing, name, Some(&role)), Some(expected), "{passing}");
        }
        let since = |building| passing_name(building).strip_prefix(PASSING).and_then(passing_since);
        assert!(since(true).is_some_and(|since| now() - since < 60));
        assert_eq!(since(false), Some(0));
    }

    #[test]
    fn what_an_earlier_version_marked_is_taken_over_and_never_listed() {
        let made = target(PreviewId::project(7));
        let named = Target { deployment: Deployment::named("o'wner"), ..made.clone() };
        let old = Mark { deployment: None, ..Mark::of(&made) };
        for target in [&made, &named] {
            assert!(old.check(target).is_ok() && !old.is_of(target));
        }
        assert!(!old.is_listed_for(&made.deployment) && old.is_listed_for(&named.deployment));
        assert!(Mark::of(&made).check(&named).is_err() && Mark::of(&named).check(&made).is_err());
        assert!(!Mark::of(&made).is_listed_for(&named.deployment));
    }
}
