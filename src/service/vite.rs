//! Whether a project is one of Vite's: Vite 8 tells what goes wrong in the browser only to a coding agent.

use std::path::Path;

use crate::sync::read_text;

/// The mark by which tools know a coding agent. Vite takes any value.
pub(super) const MARK: &str = "AI_AGENT";
/// Our own name: others mean particular agents, and change more.
pub(super) const NAME: &str = "kosuke-docker";
/// A larger package.json is no person's.
const MAX_BYTES: u64 = 256 * 1024;
/// What stands on Vite.
const VITE: [&str; 8] = [
    "vite",
    "@sveltejs/kit",
    "@react-router/dev",
    "@tanstack/react-start",
    "@tanstack/solid-start",
    "@solidjs/start",
    "@remix-run/dev",
    "vitepress",
];
/// Next.js answers the mark by writing into the project; Astro goes to the background for some agents.
const OTHERS: [&str; 2] = ["next", "astro"];
/// Files that say that a project is of several apps.
const WORKSPACES: [&str; 4] = ["pnpm-workspace.yaml", "turbo.json", "nx.json", "lerna.json"];

/// Whether the project's package.json names Vite and none that answers the mark otherwise. A file that cannot be read says no.
pub(super) async fn is_vite(folder: &Path) -> bool {
    let (file, folder) = (folder.join("package.json"), folder.to_owned());
    tokio::task::spawn_blocking(move || {
        // Of several apps any may answer the mark otherwise.
        let is_one_app = WORKSPACES.iter().all(|name| std::fs::symlink_metadata(folder.join(name)).is_err());
        is_one_app && read_text(&file, MAX_BYTES).is_some_and(|text| names_vite(&text))
    })
    .await
    .unwrap_or(false)
}

fn names_vite(package: &str) -> bool {
    let Ok(package) = serde_json::from_str::<serde_json::Value>(package) else { return false };
    let has = |name: &str| ["dependencies", "devDependencies"].iter().any(|list| package[list].get(name).is_some());
    VITE.iter().any(|name| has(name)) && package.get("workspaces").is_none() && !OTHERS.iter().any(|name| has(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_vite_gets_the_mark() {
        assert!(names_vite(r#"{"devDependencies": {"vite": "8"}}"#));
        assert!(names_vite(r#"{"dependencies": {"@sveltejs/kit": "3"}}"#));
        for package in [
            r#"{"dependencies": {"next": "16"}, "devDependencies": {"vite": "8"}}"#,
            r#"{"dependencies": {"astro": "7", "vite": "8"}}"#,
            r#"{"dependencies": {"express": "5"}}"#,
            r#"{"dependencies": ["vite"]}"#,
            "[]",
            "{",
        ] {
            assert!(!names_vite(package), "{package}");
        }
    }
}
