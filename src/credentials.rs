//! Credentials for registries, from docker's own configuration: `auths`, `credHelpers` and `credsStore`.

use std::path::PathBuf;
use std::time::Duration;

use docker_credential::{CredentialRetrievalError, DockerCredential};
use secrecy::SecretString;
use tokio::sync::oneshot;

/// A credential helper is a program, and may wait for ever for a keyring that nobody unlocks.
const HELPER_TIMEOUT: Duration = Duration::from_secs(10);
/// The key under which docker keeps the credentials of Docker Hub.
const HUB: &str = "https://index.docker.io/v1/";

/// Credentials for a registry.
#[derive(Debug, Clone)]
pub enum RegistryLogin {
    /// User name and password.
    Password {
        /// The user's name.
        username: String,
        /// The password.
        password: SecretString,
    },
    /// An identity token.
    Token(SecretString),
}

/// The key under which docker keeps the credentials for an image's registry: the part before the first `/` if it looks like
/// a host, else Docker Hub's key.
///
/// ```
/// use kosuke_docker::credentials::registry_of;
///
/// assert_eq!(registry_of("ghcr.io/me/app:1"), "ghcr.io");
/// assert_eq!(registry_of("localhost:5000/app"), "localhost:5000");
/// assert_eq!(registry_of("node:22"), "https://index.docker.io/v1/");
/// ```
#[must_use]
pub fn registry_of(image: &str) -> &str {
    match image.split_once('/') {
        Some(("docker.io" | "index.docker.io", _)) => HUB,
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => first,
        _ => HUB,
    }
}

/// The credentials for an image's registry, None if docker's configuration has none.
///
/// # Errors
/// A sentence without secrets: the helper failed or took too long, or the file is malformed.
pub async fn for_image(image: &str) -> Result<Option<RegistryLogin>, String> {
    if !configuration().is_some_and(|file| file.exists()) {
        return Ok(None);
    }
    let registry = registry_of(image).to_owned();
    let (found, read) = oneshot::channel();
    // The crate waits for the helper without a time limit, so it gets a thread that nothing else needs.
    let helper = move || drop(found.send(docker_credential::get_credential(&registry)));
    if std::thread::Builder::new().name("kosuke-docker-login".into()).spawn(helper).is_err() {
        return Err("cannot start a thread for it".to_owned());
    }
    let found = match tokio::time::timeout(HELPER_TIMEOUT, read).await {
        Err(_) => return Err(format!("the credential helper did not answer within {} s", HELPER_TIMEOUT.as_secs())),
        Ok(Err(_)) => return Err("the credential helper was ended".to_owned()),
        Ok(Ok(found)) => found,
    };
    match found {
        Ok(DockerCredential::UsernamePassword(username, password)) => {
            Ok(Some(RegistryLogin::Password { username, password: SecretString::from(password) }))
        }
        Ok(DockerCredential::IdentityToken(token)) => Ok(Some(RegistryLogin::Token(SecretString::from(token)))),
        Err(CredentialRetrievalError::NoCredentialConfigured | CredentialRetrievalError::ConfigNotFound) => Ok(None),
        // A helper without an entry for this registry fails too. Its output may hold secrets, so it is left out.
        Err(CredentialRetrievalError::HelperFailure { .. }) => Err("the credential helper failed".to_owned()),
        Err(error) => Err(format!("docker's configuration cannot be read: {}", kind(&error))),
    }
}

/// Docker's configuration file, at the path where docker looks for it.
fn configuration() -> Option<PathBuf> {
    let folder = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = folder("DOCKER_CONFIG").or_else(|| Some(folder("HOME")?.join(".docker")))?;
    Some(folder.join("config.json"))
}

fn kind(error: &CredentialRetrievalError) -> &'static str {
    match error {
        CredentialRetrievalError::HelperCommunicationError => "the credential helper is not there",
        CredentialRetrievalError::MalformedHelperResponse => "the credential helper's answer is malformed",
        CredentialRetrievalError::CredentialDecodingError => "an entry is malformed",
        CredentialRetrievalError::ConfigReadError => "the file is malformed",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registry_is_the_first_part_that_looks_like_a_host() {
        for (image, registry) in [
            ("node", HUB),
            ("library/node:22", HUB),
            ("ghcr.io/filopedraz/kosuke-template:v0.0.73", "ghcr.io"),
            ("localhost:5000/x", "localhost:5000"),
            ("localhost/x", "localhost"),
            ("docker.io/library/node", HUB),
        ] {
            assert_eq!(registry_of(image), registry, "{image}");
        }
    }
}
