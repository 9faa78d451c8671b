//! The connection to a Docker Engine: made at the first call, with a deadline for each call.

use std::future::Future;
use std::time::Duration;

use bollard::errors::Error as BollardError;
use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::InspectContainerOptions;
use bollard::{API_DEFAULT_VERSION, Docker};
use tokio::sync::{OnceCell, Semaphore};

use super::address::EngineAddress;
use super::errors::translate;
use super::throttle::Throttle;
use crate::engine::error::EngineError;

/// bollard opens a connection per request and knows no limit: this one keeps us from using up file descriptors.
const MAX_CALLS: usize = 64;

/// See the module.
pub(super) struct Client {
    address: EngineAddress,
    timeout: Duration,
    docker: OnceCell<Docker>,
    calls: Semaphore,
    throttle: Throttle,
}

impl Client {
    /// `timeout` bounds each call that is not a stream or a pull.
    pub(super) fn new(address: EngineAddress, timeout: Duration) -> Self {
        Self {
            address,
            timeout,
            docker: OnceCell::new(),
            calls: Semaphore::new(MAX_CALLS),
            throttle: Throttle::default(),
        }
    }

    pub(super) fn address(&self) -> &EngineAddress {
        &self.address
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The connection, for a stream.
    ///
    /// # Errors
    /// No call was made before.
    pub(super) fn connected(&self) -> Result<Docker, EngineError> {
        let missing = || EngineError::Unreachable(format!("{}: not connected yet", self.address));
        self.docker.get().cloned().ok_or_else(missing)
    }

    fn connect(&self) -> Result<Docker, EngineError> {
        let seconds = self.timeout.as_secs().max(1);
        let connected = match &self.address {
            EngineAddress::Unix(path) => {
                Docker::connect_with_unix(&path.to_string_lossy(), seconds, API_DEFAULT_VERSION)
            }
            EngineAddress::Tcp(authority) => Docker::connect_with_http(authority, seconds, API_DEFAULT_VERSION),
            EngineAddress::Tls(authority, folder) => {
                let file = |name| folder.join(name);
                let (key, cert, ca) = (file("key.pem"), file("cert.pem"), file("ca.pem"));
                Docker::connect_with_ssl(authority, &key, &cert, &ca, seconds, API_DEFAULT_VERSION)
            }
            EngineAddress::Unusable(_) => return Err(self.address.unusable()),
        };
        connected.map_err(|error| match (error, &self.address) {
            // bollard's word for a folder that may not be read, too.
            (BollardError::SocketNotFoundError(_), EngineAddress::Unix(path)) => {
                let words =
                    std::fs::metadata(path).err().map_or_else(|| "it is gone".to_owned(), |error| error.to_string());
                self.address.unreachable(&words)
            }
            (error, _) => self.placed(translate(error)),
        })
    }

    /// The connection, speaking the version that the engine speaks (bollard#736: 0.22 will send it and refuse a wrong one).
    pub(super) async fn docker(&self) -> Result<&Docker, EngineError> {
        self.docker
            .get_or_try_init(|| async {
                let client = self.connect()?;
                // What does not tell its version as an engine does is none: what it says of containers means nothing.
                bounded(self.timeout, client.negotiate_version()).await.map_err(|error| match error {
                    error if error.is_no_answer() => self.placed(error),
                    error => self.address.no_engine(&error.to_string()),
                })
            })
            .await
    }

    /// A failure to reach the engine, with where it was looked for.
    fn placed(&self, error: EngineError) -> EngineError {
        match error {
            EngineError::Unreachable(words) => self.address.unreachable(&words),
            other => other,
        }
    }

    /// What the engine knows about a container, None where there is none.
    pub(super) async fn inspect(&self, name_or_id: &str) -> Result<Option<ContainerInspectResponse>, EngineError> {
        let name = name_or_id.to_owned();
        match self
            .call(|docker| async move { docker.inspect_container(&name, None::<InspectContainerOptions>).await })
            .await
        {
            Ok(found) => Ok(Some(found)),
            Err(EngineError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn call<T, F>(&self, send: impl FnOnce(Docker) -> F) -> Result<T, EngineError>
    where
        F: Future<Output = Result<T, BollardError>>,
    {
        self.call_within(self.timeout, send).await
    }

    /// A call that starts or ends a container.
    pub(super) async fn call_in_turn<T, F>(
        &self,
        timeout: Duration,
        send: impl FnOnce(Docker) -> F,
    ) -> Result<T, EngineError>
    where
        F: Future<Output = Result<T, BollardError>>,
    {
        let docker = tokio::time::timeout(timeout, self.docker()).await;
        let version = docker.unwrap_or(Err(EngineError::Timeout(timeout)))?.client_version();
        let _turn = self.throttle.turn(version, timeout).await?;
        let answer = self.call_within(timeout, send).await;
        self.throttle.answered(&answer);
        answer
    }

    pub(super) async fn call_within<T, F>(
        &self,
        timeout: Duration,
        send: impl FnOnce(Docker) -> F,
    ) -> Result<T, EngineError>
    where
        F: Future<Output = Result<T, BollardError>>,
    {
        // One deadline for all of it: behind a frozen engine, callers would else wait for each other's time-outs.
        let call = async {
            let client = self.docker().await?.clone().with_timeout(timeout);
            let _slot = self.calls.acquire().await.map_err(|_| EngineError::Unreachable("closed".into()))?;
            bounded(timeout, send(client)).await.map_err(|error| self.placed(error))
        };
        tokio::time::timeout(timeout, call).await.unwrap_or(Err(EngineError::Timeout(timeout)))
    }

    /// Asks whether the engine answers. Behind many long calls it would come too late, and the engine be taken for frozen:
    /// it waits for no slot.
    pub(super) async fn ping(&self) -> Result<(), EngineError> {
        let ping = async {
            let docker = self.docker().await?;
            bounded(self.timeout, docker.ping()).await.map_err(|error| self.placed(error))
        };
        tokio::time::timeout(self.timeout, ping).await.unwrap_or(Err(EngineError::Timeout(self.timeout))).map(drop)
    }
}

async fn bounded<T>(timeout: Duration, call: impl Future<Output = Result<T, BollardError>>) -> Result<T, EngineError> {
    match tokio::time::timeout(timeout, call).await {
        Ok(Err(BollardError::RequestTimeoutError)) | Err(_) => Err(EngineError::Timeout(timeout)),
        Ok(result) => result.map_err(translate),
    }
}
