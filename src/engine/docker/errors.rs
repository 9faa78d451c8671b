//! The engine's words, read in one place: bollard's errors to [`EngineError`].

use std::path::PathBuf;
use std::time::Duration;

use bollard::errors::Error as BollardError;

use super::address::one_line;
use crate::engine::error::EngineError;

/// A failed call.
pub(super) fn translate(error: BollardError) -> EngineError {
    match error {
        BollardError::DockerResponseServerError { status_code, message } => refusal(status_code, message),
        BollardError::DockerStreamError { error } => EngineError::Refused(error),
        BollardError::HyperLegacyError { .. }
        | BollardError::HyperResponseError { .. }
        | BollardError::IOError { .. }
        | BollardError::SocketNotFoundError(_) => EngineError::Unreachable(plain(&chain(&error))),
        other => EngineError::Refused(chain(&other)),
    }
}

/// What the engine answered with a status of 400 or above.
fn refusal(status: u16, words: String) -> EngineError {
    let held = ["address already in use", "port is already allocated"];
    let pools = ["available, non-overlapping IPv4 address pool", "address pools have been fully subnetted"];
    let missing_source = "bind source path does not exist: ";
    if words.contains("all ports are allocated") {
        EngineError::PortsExhausted(words)
    } else if held.iter().any(|text| words.contains(text)) {
        EngineError::PortHeld { port: held_port(&words), words }
    } else if pools.iter().any(|text| words.contains(text)) {
        let fix =
            "remove networks that nothing uses (docker network prune), or give the engine more default-address-pools";
        EngineError::Refused(format!("{words}: {fix}"))
    } else if words.contains("is ambiguous") {
        EngineError::NetworkAmbiguous(words)
    } else if let Some((_, path)) = words.split_once(missing_source) {
        EngineError::MountSourceMissing { path: PathBuf::from(path.trim()), words }
    } else {
        match status {
            404 if words.contains("No such image") => EngineError::ImageNotFound(words),
            404 if is_missing(&words) => EngineError::NotFound(words),
            404 => {
                EngineError::Refused(format!("an answer of 404 that is not a Docker Engine's: {}", one_line(&words)))
            }
            409 => EngineError::Conflict(words),
            _ => EngineError::Refused(words),
        }
    }
}

/// Whether an answer of 404 is an engine's own, about something that does not exist: a web server's tells nothing about
/// containers.
fn is_missing(words: &str) -> bool {
    let words = words.to_lowercase();
    let has = |parts: &[&str]| parts.iter().any(|part| words.contains(part));
    let echoes = words.starts_with(['<', '{', '[']) || has(&["/v1.", "get /", "get:/", "post /", "delete /"]);
    !echoes
        && has(&["container", "image", "network", "volume", "manifest", "digest", "exec", "object"])
        && has(&["no such", "not found", "not known", "unable to find", "no container with", "does not exist"])
}

/// Without the layers that say only that a connection failed.
fn plain(words: &str) -> String {
    let layers = ["Error in the hyper legacy client: ", "client error (Connect): ", "client error (SendRequest): "];
    layers.iter().fold(words, |words, layer| words.strip_prefix(layer).unwrap_or(words)).to_owned()
}

/// A failed pull: `idle` is how long the registry may say nothing.
pub(super) fn pull_failure(error: BollardError, idle: Duration) -> EngineError {
    if matches!(error, BollardError::RequestTimeoutError) {
        return EngineError::Timeout(idle);
    }
    match translate(error) {
        unreachable @ EngineError::Unreachable(_) => unreachable,
        other => {
            let words = other.to_string();
            if is_denied(&words) { EngineError::RegistryDenied(words) } else { EngineError::ImageNotFound(words) }
        }
    }
}

/// The port in «listen tcp4 127.0.0.1:3001: bind: address already in use» or «Bind for 127.0.0.1:3001 failed».
fn held_port(words: &str) -> Option<u16> {
    let end = [": bind: address already in use", " failed: port is already allocated"]
        .iter()
        .find_map(|end| words.find(end))?;
    words[..end].rsplit(':').next()?.parse().ok()
}

fn is_denied(words: &str) -> bool {
    let words = words.to_lowercase();
    ["unauthorized", "denied", "authentication required", "no basic auth", "incorrect username"]
        .iter()
        .any(|denied| words.contains(denied))
}

/// An error with its causes: hyper alone says only "client error (Connect)".
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status_code: u16, message: &str) -> EngineError {
        translate(BollardError::DockerResponseServerError { status_code, message: message.into() })
    }

    #[test]
    fn the_engines_words_decide() {
        assert!(matches!(refused(404, "No such image: x"), EngineError::ImageNotFound(_)));
        assert!(matches!(refused(404, "No such container: x"), EngineError::NotFound(_)));
        assert!(matches!(refused(409, "Conflict. The container name is in use"), EngineError::Conflict(_)));
        assert!(matches!(refused(500, "Bind failed: all ports are allocated"), EngineError::PortsExhausted(_)));
        assert!(matches!(refused(400, "network x is ambiguous (2 matches)"), EngineError::NetworkAmbiguous(_)));
        assert!(matches!(refused(500, "boom"), EngineError::Refused(_)));
    }

    #[test]
    fn only_an_engines_own_404_means_that_there_is_none() {
        for engines in [
            "No such container: x",
            "network x not found",
            "no container with name or ID \"x\" found: no such container",
            "unable to find network with name or ID x: network not found",
            "failed to find image x: x: image not known",
        ] {
            assert!(matches!(refused(404, engines), EngineError::NotFound(_)), "{engines}");
        }
        for others in [
            "",
            "page not found",
            "404 page not found",
            "Not Found",
            "<html><title>404 Not Found</title> container</html>",
            "{\"detail\":\"Not Found\"}",
            "Cannot GET /v1.41/containers/x/json",
            "Route GET:/containers/x/json not found",
            "File not found",
        ] {
            assert!(matches!(refused(404, others), EngineError::Refused(_)), "{others}");
        }
    }

    #[test]
    fn the_held_port_is_read_from_the_engines_words() {
        let proxy = "driver failed programming external connectivity on endpoint x (ab): Error starting userland proxy: \
                     listen tcp4 127.0.0.1:3001: bind: address already in use";
        assert!(matches!(refused(500, proxy), EngineError::PortHeld { port: Some(3001), .. }));
        let bind = "Bind for 127.0.0.1:3002 failed: port is already allocated";
        assert!(matches!(refused(500, bind), EngineError::PortHeld { port: Some(3002), .. }));
        assert!(matches!(refused(500, "address already in use"), EngineError::PortHeld { port: None, .. }));
    }

    #[test]
    fn no_address_left_is_told_with_the_fix() {
        for (status, words) in [
            (404, "could not find an available, non-overlapping IPv4 address pool among the defaults to assign"),
            (500, "all predefined address pools have been fully subnetted"),
        ] {
            let told = refused(status, words).to_string();
            assert!(told.contains(words) && told.contains("docker network prune"), "{told}");
        }
    }

    #[test]
    fn a_missing_mount_source_is_named() {
        for path in ["/projects/7", "/my: projects/7"] {
            let words = format!("invalid mount config for type \"bind\": bind source path does not exist: {path}");
            let expected = EngineError::MountSourceMissing { path: path.into(), words: words.clone() };
            assert_eq!(refused(400, &words), expected);
        }
    }

    #[test]
    fn a_pull_that_is_denied_is_told_apart() {
        let pull =
            |words: &str| pull_failure(BollardError::DockerStreamError { error: words.into() }, Duration::from_secs(1));
        assert!(matches!(pull("pull access denied for x"), EngineError::RegistryDenied(_)));
        assert!(matches!(pull("Head: unauthorized"), EngineError::RegistryDenied(_)));
        assert!(matches!(pull("manifest for x not found"), EngineError::ImageNotFound(_)));
    }
}
