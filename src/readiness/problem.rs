//! What keeps a preview from being seen though its code may be fine, and the sentence that tells how to mend it.

/// A problem of the environment that the dev server runs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// The port that it wanted was taken, so it took another.
    PortMoved {
        /// The port that it wanted.
        wanted: u16,
        /// The port that it took, if the line says so.
        used: Option<u16>,
    },
    /// It listens inside the container only.
    LocalhostOnly,
    /// Its port was taken, so it ended.
    AddressInUse(Option<u16>),
    /// `package.json` has no script of this name.
    NoScript(String),
    /// The dev server is not installed: this command was not found.
    NoCommand(String),
    /// The project's folder has no `package.json`.
    NoPackageJson,
    /// The dev server does not know this option.
    UnknownOption(String),
    /// Another dev server holds the lock of this folder.
    AlreadyRunning,
    /// The host's limit of watched files is reached.
    NoWatchers,
    /// It refuses requests for this host name.
    RefusedHost(String),
    /// Next.js serves the page to this host, and refuses it the rest: the page never comes to life.
    NeverHydrates(String),
    /// The image's Node.js is too old, in the server's own words.
    OldNode(String),
    /// The container's user may not write here.
    NotWritable(String),
    /// V8 used all the memory that it allows itself.
    HeapLimit,
    /// A tool was started by an agent's mark into the background.
    InBackground,
}

impl Problem {
    /// Which of two problems is told: the one that nothing else follows from.
    pub(super) fn weight(&self) -> u8 {
        match self {
            Self::RefusedHost(_) | Self::NeverHydrates(_) => 0,
            Self::PortMoved { .. } | Self::LocalhostOnly | Self::NotWritable(_) => 1,
            Self::NoWatchers => 2,
            _ => 3,
        }
    }

    /// Whether a server with this problem cannot come to serve or to compile.
    pub(super) fn keeps_from_starting(&self) -> bool {
        matches!(
            self,
            Self::NoScript(_) | Self::NoCommand(_) | Self::NoPackageJson | Self::UnknownOption(_) | Self::OldNode(_)
        )
    }

    /// Whether a server that starts anew shows it to be over.
    pub(super) fn ends_with_a_start(&self) -> bool {
        matches!(self, Self::NotWritable(_) | Self::NeverHydrates(_) | Self::HeapLimit)
    }

    /// What to do about it, in one sentence. `port` is the one that the server says it listens on.
    pub(super) fn hint(&self, port: Option<u16>) -> String {
        match self {
            Self::PortMoved { wanted, used } => {
                let now = used.or(port.filter(|port| port != wanted));
                let now = now.map_or_else(|| "another port".to_owned(), |port| format!("port {port}"));
                format!(
                    "Port {wanted} was taken inside the container, so the dev server moved to {now}: end the other \
                     process that listens on {wanted}, or restart the preview."
                )
            }
            Self::LocalhostOnly => "The dev server listens on localhost inside the container only: start it with \
                                    `--host 0.0.0.0`."
                .to_owned(),
            Self::AddressInUse(port) => {
                let port = port.map_or_else(|| "The dev server's port".to_owned(), |port| format!("Port {port}"));
                format!("{port} is taken inside the container: end the other process there, or restart the preview.")
            }
            Self::NoScript(name) => format!("package.json has no script \"{name}\": add it, or set another command."),
            Self::NoCommand(command) if matches!(command.as_str(), "npm" | "npx" | "node") => format!(
                "`{command}` was not found in the container: the image has no Node.js. Set PREVIEW_DEFAULT_IMAGE to one \
                 that has it, such as node:22."
            ),
            Self::NoCommand(command) if matches!(command.as_str(), "yarn" | "pnpm" | "bun" | "bunx" | "corepack") => {
                format!(
                    "`{command}` was not found in the container: the image does not have it. Set PREVIEW_DEFAULT_IMAGE to one \
                 that has it, or PREVIEW_COMMAND to one that needs it not."
                )
            }
            Self::NoCommand(command) => format!(
                "`{command}` was not found in the container: install the project's packages (`npm install`), or add \
                 the missing one to package.json."
            ),
            Self::NoPackageJson => "The project's folder has no package.json: put the app at its top, or set another \
                                    command."
                .to_owned(),
            Self::UnknownOption(option) => format!(
                "The dev server does not know the option `{option}`: take it out of the command (Next.js takes \
                 `-H 0.0.0.0`, Vite and its kin take `--host 0.0.0.0`)."
            ),
            Self::AlreadyRunning => "Another dev server runs in this folder or left its lock: end it, or delete \
                                     `.next/dev/lock`, and restart the preview."
                .to_owned(),
            Self::NoWatchers => "The host's limit of watched files is reached: raise `fs.inotify.max_user_watches` on \
                                 it, or set `CHOKIDAR_USEPOLLING=true`."
                .to_owned(),
            Self::NeverHydrates(host) => format!(
                "Opened as \"{host}\", the page is served and never comes to life: Next.js refuses that host its scripts' \
                 connection. Open it as localhost, or add \"{host}\" to `allowedDevOrigins` in next.config.js."
            ),
            Self::OldNode(words) => {
                format!("{words} The image's Node.js is too old: set PREVIEW_DEFAULT_IMAGE to one with a newer one.")
            }
            Self::NotWritable(path) => format!(
                "Permission denied (EACCES): the container's user may not write {path}. Give that user the folder on the \
                 host, or choose the user with PREVIEW_USER."
            ),
            Self::HeapLimit => {
                "The JavaScript heap is out of memory: V8 reached its own limit and ended the process. Raise \
                                it with `NODE_OPTIONS=--max-old-space-size=2048`, within PREVIEW_MEMORY."
                    .to_owned()
            }
            Self::InBackground => {
                "The dev server put itself into the background because a coding agent's mark is in its \
                                   environment: set `ASTRO_DEV_BACKGROUND=1` for the preview."
                    .to_owned()
            }
            Self::RefusedHost(host) => format!(
                "The dev server refuses the host name \"{host}\": add it to `server.allowedHosts` in its \
                 configuration."
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_image_lacks_is_told_apart_from_what_the_project_lacks() {
        let hint = |command: &str| Problem::NoCommand(command.to_owned()).hint(None);
        for (command, words) in [
            ("npm", "the image has no Node.js. Set PREVIEW_DEFAULT_IMAGE"),
            ("node", "the image has no Node.js. Set PREVIEW_DEFAULT_IMAGE"),
            ("pnpm", "PREVIEW_COMMAND"),
            ("next", "install the project's packages"),
        ] {
            let hint = hint(command);
            assert!(hint.starts_with(&format!("`{command}` was not found")) && hint.contains(words), "{hint}");
        }
    }
}
