//! What to do about an error that no change of code mends.

use std::ffi::OsStr;
use std::path::Path;

use super::words::quoted;
use crate::preview::{CompileError, ErrorKind};

/// What Node.js has built in: no package of such a name is missing.
const BUILTINS: &[&str] = &[
    "assert",
    "async_hooks",
    "buffer",
    "child_process",
    "cluster",
    "console",
    "constants",
    "crypto",
    "dgram",
    "diagnostics_channel",
    "dns",
    "domain",
    "events",
    "fs",
    "http",
    "http2",
    "https",
    "inspector",
    "module",
    "net",
    "os",
    "path",
    "perf_hooks",
    "process",
    "punycode",
    "querystring",
    "readline",
    "repl",
    "stream",
    "string_decoder",
    "sys",
    "timers",
    "tls",
    "trace_events",
    "tty",
    "url",
    "util",
    "v8",
    "vm",
    "wasi",
    "worker_threads",
    "zlib",
];

/// Names that lead into a project, whatever its configuration says: an agent would install a stranger's package.
const FOLDERS: &[&str] =
    &["src", "app", "lib", "components", "pages", "utils", "hooks", "server", "public", "assets", "styles"];

/// A sentence, or None. `project` has what the project itself has by name.
pub(super) fn advice(error: &CompileError, project: &[String]) -> Option<String> {
    if error.kind == ErrorKind::Environment {
        return Some(format!("Give the preview the environment variable that it misses: {}.", error.message));
    }
    let missing = error.kind == ErrorKind::ModuleNotFound
        || error.kind == ErrorKind::Config && error.message.starts_with("Cannot find package '");
    if !missing {
        return None;
    }
    let name = package(quoted(&error.message)?)?;
    let first = name.split('/').next().unwrap_or(name);
    let own = |name: &str| project.iter().any(|known| known == name);
    let known = own(name) || own(first) || BUILTINS.contains(&first) || FOLDERS.contains(&first);
    (!known).then(|| format!("The package \"{name}\" is not installed: add it with `npm install {name}`."))
}

/// The package that an import names. None: it names a file, a scheme or an alias.
/// <https://docs.npmjs.com/cli/v11/configuring-npm/package-json#name>
fn package(import: &str) -> Option<&str> {
    let parts = if import.starts_with('@') { 2 } else { 1 };
    let end = import.match_indices('/').nth(parts - 1).map_or(import.len(), |(at, _)| at);
    let name = &import[..end];
    let plain = name.strip_prefix('@').map_or(name, |rest| rest);
    let mut words = plain.split('/');
    let valid = |word: &str| {
        word.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit())
            && word
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_' | b'.'))
    };
    (words.clone().count() == parts && words.all(valid) && Path::new(name).extension() != Some(OsStr::new("js")))
        .then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_a_package_is_told_to_be_installed() {
        let told = |import: &str| {
            let message = format!("Cannot find module '{import}'");
            let error = CompileError {
                file: None,
                line: None,
                column: None,
                raw: message.clone(),
                message,
                kind: ErrorKind::ModuleNotFound,
            };
            advice(&error, &["modules".to_owned(), "@components".to_owned()])
        };
        for (import, name) in [
            ("left-pad", "left-pad"),
            ("lodash/fp", "lodash"),
            ("@tanstack/react-query/x", "@tanstack/react-query"),
            ("socket.io", "socket.io"),
        ] {
            assert!(told(import).is_some_and(|told| told.ends_with(&format!("`npm install {name}`."))), "{import}");
        }
        for import in [
            "./gone",
            "/abs",
            "@/lib/a",
            "~/a",
            "#imports",
            "$lib/a",
            "src/lib/env",
            "fs",
            "node:fs",
            "fs/promises",
            "virtual:routes",
            "astro:content",
            "modules/a",
            "@components/Button",
            "Components/Button",
            "@alias",
            "gone.js",
            "",
        ] {
            assert_eq!(told(import), None, "{import}");
        }
    }
}
