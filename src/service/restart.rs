//! Restart: the same container once more, or a start where there is none.

use std::future::Future;
use std::sync::Arc;

use super::registry::Pilot;
use super::{Inner, PreviewService, StartRequest, Started};
use crate::engine::State;
use crate::error::{EngineError, Error};
use crate::id::PreviewId;
use crate::preview::Phase;

impl PreviewService {
    /// Stops the preview's processes and starts them again in the same container, with the same environment; without a
    /// container it starts one. The place in the queue is taken at the call.
    ///
    /// # Errors
    /// As for a start.
    pub fn restart(&self, request: StartRequest) -> impl Future<Output = Result<Started, Error>> + Send + 'static {
        self.inner.keep_warm();
        let turn = self.inner.registry.queue_stop(&request.key, &request.name);
        let (service, inner) = (self.clone(), Arc::clone(&self.inner));
        let (mut ticket, flight) = Pilot::alone();
        let (key, asked) = (request.key.clone(), request.clone());
        self.inner.tasks.spawn(async move {
            turn.come().await;
            let doing = inner.registry.doing(&key, Phase::Starting);
            let restarted = inner.restart(&key, &asked.name).await;
            drop(doing);
            let result = match restarted {
                Ok(Some(started)) => Ok(started),
                // In the same turn: a stop that was called after this restart comes after it.
                Ok(None) => Box::pin(inner.start(&asked, &flight)).await,
                Err(error) => Err(error),
            };
            flight.result.send_replace(Some(result));
            inner.finish(&key, turn);
        });
        async move {
            let result = match ticket.wait_for(Option::is_some).await {
                Ok(result) => result.clone(),
                Err(_) => None,
            };
            match result {
                Some(Err(Error::Abandoned { .. })) | None => Err(Error::Closed { operation: "restart" }),
                Some(result) => {
                    let started = result?;
                    service.after_start(&request, &started, true).await?;
                    Ok(started)
                }
            }
        }
    }
}

impl Inner {
    /// None: there is no container to restart (any more).
    async fn restart(self: &Arc<Self>, key: &PreviewId, name: &str) -> Result<Option<Started>, Error> {
        if self.engine.traits().supplied {
            // What such an engine starts it also makes.
            self.stop_supplied(key).await?;
            return Ok(None);
        }
        let failed = |source| Error::engine("restart", Some(key), source);
        let Some(container) = self.engine.inspect(name).await.map_err(failed)? else { return Ok(None) };
        self.check_ours(key, &container)?;
        if container.state == State::Created {
            // Another process is about to start it: the start waits for that.
            return Ok(None);
        }
        if container.is_running() {
            self.engine.stop(&container.id, self.settings.preview_stop_timeout).await.map_err(failed)?;
        }
        let range = (self.settings.preview_port_range_start, self.settings.preview_port_range_end);
        match self.start_on_a_free_port(&container.id, range).await {
            // Removed meanwhile, by another process.
            Err(EngineError::NotFound(_) | EngineError::Conflict(_)) => return Ok(None),
            Err(source) => {
                return Err(Self::refused(key, "restart", &self.settings.preview_default_image, range, source));
            }
            Ok(()) => {}
        }
        // The engine chose a port anew.
        let Some(container) = self.engine.inspect(&container.id).await.map_err(failed)? else { return Ok(None) };
        match self.found_running(key, &container).await {
            Some(started) => Ok(Some(started)),
            None => Err(self.ended(key, &container).await),
        }
    }
}
