//! What holds a preview in, decided before its container is made: limits, rights, and the user it runs as.

use std::path::Path;
use std::sync::Arc;

use super::api::StartRequest;
use super::context::Context;
use crate::containment::{Containment, Limits, User};
use crate::engine::{Resources, Security};
use crate::environment::Variables;
use crate::error::Error;
use crate::folder;

/// Where programs find a home that they can write to: a user that the image does not know has none.
const HOME: &str = "/tmp";
/// What a read-only container keeps for files that nobody misses.
const SCRATCH: [&str; 3] = ["/tmp", "/run", "/var/tmp"];
/// Read by every Node.js process.
const NODE_OPTIONS: &str = "NODE_OPTIONS";
/// How much of the memory V8 may use for objects, in percent: the rest is for code, buffers and other processes.
const HEAP_PERCENT: u64 = 75;

/// What was decided.
pub(super) struct Contained {
    pub(super) resources: Resources,
    pub(super) security: Security,
    /// Whether the home of the image's user cannot be written to.
    homeless: bool,
}

impl Contained {
    /// `folder`: the project's, as this process sees it.
    pub(super) async fn decide(context: &Arc<Context>, request: &StartRequest, folder: &Path) -> Result<Self, Error> {
        let containment = &context.settings().containment;
        let user = user(context, request, folder).await?;
        let homeless = containment.read_only || user.as_deref().is_some_and(has_no_home);
        Ok(Self { resources: resources(containment, &request.limits), security: security(containment, user), homeless })
    }

    /// The variables that go with it; those that are given win, and those of the image.
    pub(super) fn complete(&self, of_image: &[String], variables: &mut Variables) {
        let lacks = |variables: &Variables, name: &str| variables.iter().all(|(known, _)| known != name);
        if self.homeless && lacks(variables, "HOME") {
            variables.push(("HOME".to_owned(), HOME.to_owned()));
        }
        if let Some(bytes) = self.resources.memory_bytes
            && lacks(variables, NODE_OPTIONS)
            && !of_image.iter().any(|name| name == NODE_OPTIONS)
        {
            let heap = (bytes >> 20) * HEAP_PERCENT / 100;
            variables.push((NODE_OPTIONS.to_owned(), format!("--max-old-space-size={heap}")));
        }
    }
}

/// The user to run as, None for the image's own.
async fn user(context: &Arc<Context>, request: &StartRequest, folder: &Path) -> Result<Option<String>, Error> {
    let id = &request.id;
    match &context.settings().containment.user {
        User::Image => return Ok(None),
        User::Named(user) => return Ok(Some(user.clone())),
        User::Owner => {}
    }
    let owner = folder::owner(folder).await.map_err(|error| Error::ProjectFolder {
        preview: id.clone(),
        path: folder.to_owned(),
        problem: error.to_string(),
    })?;
    if owner.uid == 0 {
        return Ok(None);
    }
    if let Some(entry) = owner.of_root {
        log::info!(
            target: "kosuke_docker::service",
            "{id}: runs as the image's user, since {entry:?} in its folder belongs to root: `chown -R {}:{}` changes that",
            owner.uid,
            owner.gid
        );
        return Ok(None);
    }
    let keeps = context.engine.keeps_user_ids().await;
    let keeps = keeps.map_err(|source| Error::engine("start", Some(id), source))?;
    Ok(keeps.then(|| format!("{}:{}", owner.uid, owner.gid)))
}

/// Root has a home in every image, and so has a user that the image has a name for.
fn has_no_home(user: &str) -> bool {
    let uid = user.split(':').next().unwrap_or_default();
    uid.parse::<u32>().is_ok_and(|uid| uid != 0)
}

fn resources(containment: &Containment, limits: &Limits) -> Resources {
    let limit = |number: u64| (number > 0).then_some(number);
    let small = |number: u32| (number > 0).then_some(number);
    Resources {
        memory_bytes: limit(limits.memory.unwrap_or(containment.memory)),
        cpu_shares: small(containment.cpu_shares),
        cpu_millis: small(limits.cpu_millis.unwrap_or(containment.cpu_millis)),
        pids: small(limits.pids.unwrap_or(containment.pids)),
        log_bytes: limit(containment.log_size),
        no_core_dumps: true,
    }
}

fn security(containment: &Containment, user: Option<String>) -> Security {
    let drop = containment.capabilities.is_some().then(|| "ALL".to_owned());
    let scratch = if containment.read_only { SCRATCH.map(str::to_owned).into() } else { Vec::new() };
    Security {
        no_new_privileges: containment.no_new_privileges,
        drop_capabilities: drop.into_iter().collect(),
        add_capabilities: containment.capabilities.clone().unwrap_or_default(),
        refuse_setuid: containment.refuse_setuid,
        read_only_root: containment.read_only,
        scratch,
        user,
    }
}
