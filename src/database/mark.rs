//! The mark: a comment on a database or role that says whose it is. Without one, or with another owner's, it is never removed.

use serde_json::{Map, Value, json};

use super::target::Target;
use crate::id::PreviewId;

const KEY: &str = "kosuke";
const PREVIEW: &str = "preview";

/// A mark as it stands in `COMMENT ON DATABASE`: one line of JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) target: Target,
    /// A drop was begun: the next call about it finishes it.
    pub(super) dropping: bool,
    /// When a temporary database was marked, in seconds since 1970: its builder may still be at work.
    pub(super) temporary: Option<u64>,
    /// The comment that stood there before.
    pub(super) note: Option<String>,
}

impl Mark {
    pub(super) fn of(target: &Target) -> Self {
        Self { target: target.clone(), dropping: false, temporary: None, note: None }
    }

    pub(super) fn dropping(target: &Target) -> Self {
        Self { dropping: true, ..Self::of(target) }
    }

    /// For a database under a temporary name.
    pub(super) fn temporary(target: &Target) -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self { temporary: Some(now.as_secs()), ..Self::dropping(target) }
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
            target: Target { id, owner: text("owner")? },
            dropping: value.get("dropping").and_then(Value::as_bool).unwrap_or_default(),
            temporary: value.get("temporary").and_then(Value::as_u64),
            note: text("note"),
        })
    }

    /// The comment.
    pub(super) fn text(&self) -> String {
        let Target { id, owner } = &self.target;
        let mut fields = Map::from_iter([
            (KEY.to_owned(), json!(PREVIEW)),
            ("project_id".to_owned(), json!(id.project_id())),
            ("session".to_owned(), json!(id.session_id())),
            ("owner".to_owned(), json!(owner)),
        ]);
        if self.dropping {
            fields.insert("dropping".to_owned(), json!(true));
        }
        if let Some(since) = self.temporary {
            fields.insert("temporary".to_owned(), json!(since));
        }
        if let Some(note) = &self.note {
            fields.insert("note".to_owned(), json!(note));
        }
        Value::Object(fields).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_round_trip_whatever_a_session_is_called() {
        for session in [None, Some(""), Some("a'b\"c\\d\n"), Some("a\0b"), Some("日本🦀"), Some("$kosuke$ '' --")] {
            let id = session.map_or(PreviewId::project(u64::MAX), |session| PreviewId::session(u64::MAX, session));
            let target = Target { id, owner: "o'wner".into() };
            for mark in [Mark::of(&target), Mark::dropping(&target), Mark::temporary(&target)] {
                assert_eq!(Mark::parse(&mark.text()), Some(mark.clone()));
                assert!(!mark.text().contains('\0'), "Postgres has no NUL in a text");
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
}
