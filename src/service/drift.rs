//! What a caller asked for, and the container that runs does not have: its environment cannot be changed.

use crate::engine::Workload;
use crate::environment::Variables;
use crate::id::LABEL_VARIABLES;

/// The names of the variables that the caller of the container's start gave. None: an earlier version made it.
pub(super) fn given_names(workload: &Workload) -> Option<Vec<String>> {
    workload.labels.get(LABEL_VARIABLES).and_then(|names| serde_json::from_str(names).ok())
}

/// The names of the caller's variables that the container has with another value, or not at all, or that an earlier caller
/// gave and this one does not. Their values may be secrets.
pub(super) fn drift(workload: &Workload, environment: &Variables, wanted: &Variables) -> Vec<String> {
    let value = |name: &String| environment.iter().find(|(known, _)| known == name).map(|(_, value)| value);
    let differs = wanted.iter().filter(|(name, wanted)| value(name) != Some(wanted)).map(|(name, _)| name.clone());
    let is_wanted = |name: &String| wanted.iter().any(|(known, _)| known == name);
    let left = given_names(workload).unwrap_or_default().into_iter().filter(|name| !is_wanted(name));
    let mut names: Vec<String> = differs.chain(left).collect();
    names.sort_unstable();
    names.dedup();
    names
}
