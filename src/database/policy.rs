//! What the settings ask for in previews' databases and roles.

use std::sync::atomic::{AtomicBool, Ordering};

use super::catalog::AdminRights;
use super::error::DatabaseError;
use crate::settings::{Postgres, PostgresIsolation};

/// The reason for an isolation of `admin` that nobody asked for.
pub(super) const NO_ROLES: &str = "the admin role may not create roles";

pub(super) struct Policy {
    pub(super) isolation: PostgresIsolation,
    pub(super) connection_limit: u16,
    pub(super) extensions: Vec<String>,
    pub(super) revoke_public: bool,
    /// The last answer of [`Self::with_role`], the other way round.
    admin_only: AtomicBool,
}

impl Policy {
    pub(super) fn new(settings: &Postgres) -> Self {
        Self {
            isolation: settings.isolation,
            connection_limit: settings.connection_limit,
            extensions: settings.extensions.clone(),
            revoke_public: settings.revoke_public,
            admin_only: AtomicBool::new(settings.isolation == PostgresIsolation::Admin),
        }
    }

    /// Whether containers get the admin's credentials, as last known.
    pub(super) fn admin_only(&self) -> bool {
        self.admin_only.load(Ordering::Relaxed)
    }

    /// Whether containers get a role of their own.
    pub(super) fn with_role(&self, admin: &AdminRights) -> Result<bool, DatabaseError> {
        match self.isolation {
            PostgresIsolation::Admin => return Ok(false),
            PostgresIsolation::Role if !admin.creates_roles => {
                return Err(DatabaseError::new("create role", format!("{NO_ROLES} (POSTGRES_ISOLATION=role)")));
            }
            _ => {}
        }
        let before = self.admin_only.swap(!admin.creates_roles, Ordering::Relaxed);
        if !admin.creates_roles && !before {
            log::warn!(target: "kosuke_docker::database", "{NO_ROLES}: previews get its own credentials");
        }
        Ok(admin.creates_roles)
    }
}
