//! Which database, and whose it is.

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use crate::id::PreviewId;

/// Whose databases these are: one deployment's. Others never use, reset, copy or remove them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    /// As containers have it in their labels: `PREVIEW_OWNER`, else what the names' prefix says.
    pub owner: String,
    /// What tells it from others with this owner: 32 hex digits, or the owner again where the operator named it.
    pub id: String,
}

impl Deployment {
    /// One that the operator named: this name alone tells it from others.
    #[must_use]
    pub fn named(owner: &str) -> Self {
        Self { owner: owner.to_owned(), id: owner.to_owned() }
    }

    /// Whether the operator named it.
    #[must_use]
    pub fn is_named(&self) -> bool {
        self.owner == self.id
    }
}

/// A preview's database, and the deployment that owns it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The preview.
    pub id: PreviewId,
    /// The name of the database and of its role.
    pub name: String,
    /// Whose it is.
    pub deployment: Deployment,
}

impl Serialize for Target {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Target", 2)?;
        fields.serialize_field("project_id", &self.id.project_id())?;
        fields.serialize_field("session", &self.id.session_id())?;
        fields.end()
    }
}

/// A database with our mark, or a role with our mark whose database is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Owned {
    /// Its name on the server.
    pub name: String,
    /// The preview and the deployment that the mark names.
    #[serde(flatten)]
    pub target: Target,
    /// Size on disk; None for a role without a database, and where the admin may not read it.
    pub size_bytes: Option<u64>,
    /// Whether only the role is left.
    pub role_only: bool,
    /// A drop was begun and did not end.
    pub dropping: bool,
}
