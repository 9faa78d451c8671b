//! Which engine the docker CLI would use: `DOCKER_HOST`, its contexts, and the sockets where engines usually are.
//! <https://docs.docker.com/engine/manage-resources/contexts/>

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::address::{EngineAddress, Env, one_line};
use crate::engine::error::EngineError;
use crate::id::hex_hash;

/// The engine's own socket, where nothing names another.
const SOCKET: &str = "/var/run/docker.sock";
/// Bytes of a file of docker's that are read.
const MAX_FILE: u64 = 1 << 20;
/// Contexts that an error lists.
const MAX_LISTED: usize = 20;

/// An engine, and what chose it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) address: EngineAddress,
    /// For people: `DOCKER_HOST`, a context, or the places that were looked at.
    pub(super) chosen_by: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Context {
    name: String,
    #[serde(default)]
    endpoints: Endpoints,
}

#[derive(Deserialize, Default)]
struct Endpoints {
    docker: Option<Endpoint>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Endpoint {
    #[serde(default)]
    host: String,
    #[serde(default, rename = "SkipTLSVerify")]
    skip_tls_verify: bool,
}

impl EngineAddress {
    /// From `DOCKER_HOST`, with `DOCKER_TLS_VERIFY` (empty is off, unlike bollard's reading) and `DOCKER_CERT_PATH`; else the
    /// CLI's context; else the first usual socket that exists.
    #[must_use]
    pub fn from_env() -> Self {
        here().address
    }

    /// Why it cannot be used, and what chose it.
    pub(super) fn unusable(&self) -> EngineError {
        EngineError::Unreachable(match self.chosen_by() {
            Some(by) if by == "DOCKER_HOST" => format!("DOCKER_HOST: {self}"),
            _ => self.to_string(),
        })
    }

    /// Nothing answers there, in the system's words: what to do about it.
    pub(super) fn unreachable(&self, words: &str) -> EngineError {
        let by = self.chosen_by().map_or_else(String::new, |by| format!(" ({by})"));
        EngineError::Unreachable(match self {
            Self::Unix(path) if words.contains("ermission denied") => format!(
                "no permission for the socket {}{by}: add this user to the group docker (`sudo usermod -aG docker USER`) \
                 and log in again, or set DOCKER_HOST to an engine that it may use ({words})",
                path.display()
            ),
            _ => format!("no Docker Engine at {self}{by}: {words}. Is it running? DOCKER_HOST chooses another"),
        })
    }

    /// Something answers there, and not as an engine does.
    pub(super) fn no_engine(&self, words: &str) -> EngineError {
        let by = self.chosen_by().map_or_else(String::new, |by| format!(" ({by})"));
        let words = if words.trim().is_empty() { "nothing more" } else { words };
        EngineError::Refused(format!("what answers at {self}{by} is no Docker Engine: it says {}", one_line(words)))
    }

    /// What in the environment leads here; None: it leads elsewhere by now.
    fn chosen_by(&self) -> Option<String> {
        let place = here();
        (place.address == *self).then_some(place.chosen_by)
    }
}

/// What the environment says now.
fn here() -> Place {
    find(&|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
}

/// What the environment, and the files that it names, say now.
pub(super) fn find(env: Env<'_>) -> Place {
    if let Some(host) = env("DOCKER_HOST") {
        let address = EngineAddress::of_host(&host, env("DOCKER_TLS_VERIFY").is_some(), env("DOCKER_CERT_PATH"), env);
        return Place { address, chosen_by: "DOCKER_HOST".to_owned() };
    }
    let folder = env("DOCKER_CONFIG").map(PathBuf::from).or_else(|| home(env).map(|home| home.join(".docker")));
    if let Some(name) = env("DOCKER_CONTEXT") {
        return in_context(&name, "DOCKER_CONTEXT", folder.as_deref()).unwrap_or_else(|| usual(env));
    }
    // As the CLI does: a file that cannot be read names no context.
    let config = folder.as_deref().map(|folder| folder.join("config.json"));
    let config = config.and_then(|path| Some((read_json::<Value>(&path).ok()?, path)));
    match config.as_ref().and_then(|(config, path)| Some((config.get("currentContext")?.as_str()?, path))) {
        Some((name, path)) if !name.is_empty() => {
            let by = format!("currentContext in {}", path.display());
            in_context(name, &by, folder.as_deref()).unwrap_or_else(|| usual(env))
        }
        _ => usual(env),
    }
}

fn home(env: Env<'_>) -> Option<PathBuf> {
    env("HOME").map(PathBuf::from)
}

/// The engine of a context; None: the context is the one that has no file.
fn in_context(name: &str, by: &str, folder: Option<&Path>) -> Option<Place> {
    if name == "default" {
        return None;
    }
    let contexts = folder.unwrap_or(Path::new("/root/.docker")).join("contexts");
    let digest = hex_hash(name, 32);
    let file = contexts.join("meta").join(&digest).join("meta.json");
    let chosen_by = format!("the context {name} of {by}");
    let address = match read_json::<Context>(&file) {
        Ok(context) => of_context(&context, &contexts.join("tls").join(digest).join("docker"), &chosen_by),
        Err(_) if !file.exists() => {
            let known = names(&contexts.join("meta")).join(", ");
            EngineAddress::Unusable(format!("{chosen_by} does not exist; there are: {known}"))
        }
        Err(problem) => EngineAddress::Unusable(format!("{chosen_by} cannot be read: {}: {problem}", file.display())),
    };
    Some(Place { address, chosen_by })
}

fn of_context(context: &Context, tls: &Path, which: &str) -> EngineAddress {
    let Some(endpoint) = context.endpoints.docker.as_ref().filter(|endpoint| !endpoint.host.is_empty()) else {
        return EngineAddress::Unusable(format!("{which} names no Docker Engine"));
    };
    let secure = ["ca.pem", "cert.pem", "key.pem"].iter().any(|file| tls.join(file).exists());
    let address = EngineAddress::of_host(&endpoint.host, secure, Some(tls.display().to_string()), &|_| None);
    match address {
        EngineAddress::Unusable(problem) => EngineAddress::Unusable(format!("{which}: {problem}")),
        EngineAddress::Tls(..) | EngineAddress::Tcp(_) if endpoint.skip_tls_verify => EngineAddress::Unusable(format!(
            "{which} has SkipTLSVerify, and an engine whose certificate is not checked is not used: add its ca.pem to it"
        )),
        usable => usable,
    }
}

/// The contexts that exist.
fn names(meta: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(meta).into_iter().flatten().flatten().take(MAX_LISTED);
    let mut names: Vec<_> =
        entries.filter_map(|entry| Some(read_json::<Context>(&entry.path().join("meta.json")).ok()?.name)).collect();
    names.push("default".to_owned());
    names.sort();
    names
}

/// The engine's own socket; where it is missing, the first of the usual others that exists.
fn usual(env: Env<'_>) -> Place {
    first_of(&usual_sockets(env))
}

fn first_of(places: &[PathBuf]) -> Place {
    let is_socket = |path: &&PathBuf| path.metadata().is_ok_and(|found| found.file_type().is_socket());
    let found = places.iter().find(is_socket).or(places.first()).cloned().unwrap_or_else(|| SOCKET.into());
    let looked: Vec<_> = places.iter().map(|path| path.display().to_string()).collect();
    Place { address: EngineAddress::Unix(found), chosen_by: format!("looked at {}", looked.join(", ")) }
}

fn usual_sockets(env: Env<'_>) -> Vec<PathBuf> {
    let (home, runtime) = (home(env), env("XDG_RUNTIME_DIR").map(PathBuf::from));
    let config = env("XDG_CONFIG_HOME").map(PathBuf::from).or_else(|| Some(home.as_ref()?.join(".config")));
    let below = |folder: &Option<PathBuf>, path: &str| folder.as_ref().map(|folder| folder.join(path));
    let all = [
        Some(PathBuf::from(SOCKET)),
        // Rootless, Docker Desktop, colima, podman.
        below(&runtime, "docker.sock"),
        below(&home, ".docker/run/docker.sock"),
        below(&home, ".docker/desktop/docker.sock"),
        env("COLIMA_HOME").map(|folder| PathBuf::from(folder).join("default/docker.sock")),
        below(&home, ".colima/default/docker.sock"),
        below(&config, "colima/default/docker.sock"),
        below(&runtime, "podman/podman.sock"),
        Some(PathBuf::from("/run/podman/podman.sock")),
    ];
    all.into_iter().flatten().collect()
}

/// A file that is one, up to a size that docker's never have.
fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T, String> {
    let words = |error: std::io::Error| error.to_string();
    let metadata = std::fs::metadata(path).map_err(words)?;
    if !metadata.is_file() || metadata.len() > MAX_FILE {
        return Err(format!("it is no file of at most {MAX_FILE} bytes"));
    }
    let mut text = String::new();
    File::open(path).map_err(words)?.take(MAX_FILE).read_to_string(&mut text).map_err(words)?;
    serde_json::from_str(&text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    type Result = std::result::Result<(), Box<dyn std::error::Error>>;

    /// A folder of this test's own, and the environment in which it is home.
    struct World {
        home: PathBuf,
        variables: HashMap<&'static str, String>,
    }

    impl World {
        fn new(name: &str) -> std::io::Result<Self> {
            let home = std::env::temp_dir().join(format!("kosuke-places-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&home);
            std::fs::create_dir_all(home.join(".docker"))?;
            let variables = HashMap::from([("HOME", home.display().to_string())]);
            Ok(Self { home, variables })
        }

        fn set(&mut self, name: &'static str, value: &str) {
            self.variables.insert(name, value.to_owned());
        }

        fn find(&self) -> Place {
            find(&|name| self.variables.get(name).cloned().filter(|value| !value.is_empty()))
        }

        fn write(&self, path: &str, text: &str) -> std::io::Result<()> {
            let path = self.home.join(".docker").join(path);
            std::fs::create_dir_all(path.parent().unwrap_or(&path))?;
            std::fs::write(path, text)
        }

        fn context(&self, name: &str, endpoint: &str) -> std::io::Result<()> {
            let text = format!(r#"{{"Name": "{name}", "Metadata": {{}}, "Endpoints": {{"docker": {endpoint}}}}}"#);
            self.write(&format!("contexts/meta/{}/meta.json", hex_hash(name, 32)), &text)
        }

        fn problem(&self) -> String {
            match self.find().address {
                EngineAddress::Unusable(problem) => problem,
                other => format!("usable: {other}"),
            }
        }
    }

    impl Drop for World {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.home);
        }
    }

    fn unix(path: &str) -> EngineAddress {
        EngineAddress::Unix(path.into())
    }

    #[test]
    fn the_host_wins_over_the_context_and_that_over_the_file() -> Result {
        let mut world = World::new("order")?;
        world.context("one", r#"{"Host": "unix:///one.sock"}"#)?;
        world.context("two", r#"{"Host": "unix:///two.sock", "SkipTLSVerify": false}"#)?;
        world.write("config.json", r#"{"auths": {}, "currentContext": "one"}"#)?;
        let found = world.find();
        assert_eq!(found.address, unix("/one.sock"));
        assert!(found.chosen_by.contains("currentContext in ") && found.chosen_by.contains("context one"));
        world.set("DOCKER_CONTEXT", "two");
        assert_eq!(world.find().address, unix("/two.sock"));
        world.set("DOCKER_HOST", "unix:///three.sock");
        assert_eq!(world.find(), Place { address: unix("/three.sock"), chosen_by: "DOCKER_HOST".into() });
        world.set("DOCKER_HOST", "");
        world.set("DOCKER_CONTEXT", "default");
        assert!(world.find().chosen_by.starts_with("looked at /var/run/docker.sock, "));
        Ok(())
    }

    #[test]
    fn the_folder_of_docker_is_where_it_is_told_to_be() -> Result {
        let mut world = World::new("folder")?;
        world.write("other/config.json", r#"{"currentContext": "far"}"#)?;
        let text = r#"{"Name": "far", "Endpoints": {"docker": {"Host": "tcp://far:2376"}}}"#;
        world.write(&format!("other/contexts/meta/{}/meta.json", hex_hash("far", 32)), text)?;
        world.set("DOCKER_CONFIG", &world.home.join(".docker/other").display().to_string());
        assert_eq!(world.find().address, EngineAddress::Tcp("far:2376".into()));
        let tls = format!("other/contexts/tls/{}/docker", hex_hash("far", 32));
        world.write(&format!("{tls}/ca.pem"), "")?;
        let folder = world.home.join(".docker").join(tls);
        assert_eq!(world.find().address, EngineAddress::Tls("far:2376".into(), folder));
        Ok(())
    }

    #[test]
    fn a_context_that_cannot_be_used_says_why() -> Result {
        let mut world = World::new("problems")?;
        world.context("here", r#"{"Host": "unix:///here.sock"}"#)?;
        world.set("DOCKER_CONTEXT", "gone");
        let problem = world.problem();
        assert!(problem.contains("gone of DOCKER_CONTEXT") && problem.contains("default, here"), "{problem}");
        for (name, endpoint, words) in [
            ("far", r#"{"Host": "tcp://far", "SkipTLSVerify": true}"#, "SkipTLSVerify"),
            ("ssh", r#"{"Host": "ssh://me@far"}"#, "over SSH"),
            ("empty", "{}", "names no Docker Engine"),
            ("broken", "}", "cannot be read"),
        ] {
            world.context(name, endpoint)?;
            world.set("DOCKER_CONTEXT", name);
            let problem = world.problem();
            assert!(problem.contains(words) && problem.contains(name), "{problem}");
        }
        world.write(&format!("contexts/meta/{}/meta.json", hex_hash("huge", 32)), &" ".repeat(2 << 20))?;
        world.set("DOCKER_CONTEXT", "huge");
        assert!(world.problem().contains("at most 1048576 bytes"));
        Ok(())
    }

    #[test]
    fn a_file_that_cannot_be_read_names_no_context() -> Result {
        let world = World::new("lenient")?;
        for text in ["", "[", "[]", r#"{"currentContext": 7}"#, r#"{"currentContext": ""}"#] {
            world.write("config.json", text)?;
            assert!(world.find().chosen_by.starts_with("looked at "), "{text}");
        }
        Ok(())
    }

    #[test]
    fn the_first_socket_that_is_there_is_taken() -> Result {
        let mut world = World::new("sockets")?;
        world.set("XDG_RUNTIME_DIR", &world.home.display().to_string());
        let (own, podman) = (world.home.join("none.sock"), world.home.join("podman/podman.sock"));
        std::fs::create_dir_all(world.home.join("podman"))?;
        let sockets = usual_sockets(&|name| world.variables.get(name).cloned());
        assert!(sockets.contains(&podman) && sockets.contains(&world.home.join("docker.sock")));
        assert_eq!(sockets.first(), Some(&PathBuf::from(SOCKET)));
        std::fs::write(world.home.join("plain"), "")?;
        let _server = std::os::unix::net::UnixListener::bind(&podman)?;
        let found = first_of(&[own.clone(), world.home.join("plain"), podman.clone()]);
        assert_eq!(found.address, EngineAddress::Unix(podman));
        let found = first_of(&[own.clone(), world.home.join("plain")]);
        assert_eq!(found.address, EngineAddress::Unix(own));
        assert!(found.chosen_by.contains("none.sock, ") && found.chosen_by.contains("plain"));
        Ok(())
    }

    #[test]
    fn who_does_not_answer_is_told_with_the_fix() {
        let socket = EngineAddress::Unix("/x.sock".into());
        let denied = socket.unreachable("Permission denied (os error 13)").to_string();
        assert!(
            denied.starts_with("no permission for the socket /x.sock: add this user to the group docker"),
            "{denied}"
        );
        let refused = socket.unreachable("Connection refused (os error 111)").to_string();
        assert!(refused.starts_with("no Docker Engine at unix:///x.sock: Connection refused"), "{refused}");
        let other = socket.no_engine("<html>\n<body>").to_string();
        assert!(other.contains("unix:///x.sock is no Docker Engine: it says <html> <body>"), "{other}");
    }
}
