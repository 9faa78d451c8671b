//! Events: what changed about previews, told to any number of subscribers in the order in which it happened.

use std::sync::Arc;
use std::time::SystemTime;

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use super::context::Context;
use super::list::PARALLEL_LOOKS;
use crate::error::Error;
use crate::id::PreviewId;
use crate::preview::{EventKind, PreviewEvent};
use crate::state::Store;

/// A subscriber's end.
pub struct Subscription {
    events: broadcast::Receiver<PreviewEvent>,
    /// None: it does not want to hear of browsers.
    browser: Option<broadcast::Receiver<PreviewEvent>>,
    only: Option<PreviewId>,
    closed: CancellationToken,
}

impl Subscription {
    /// `browser_errors`: also what comes and goes in browsers. `only`: of this preview. `closed` ends it.
    pub(crate) fn new(store: &Store, browser_errors: bool, only: Option<PreviewId>, closed: CancellationToken) -> Self {
        let browser = browser_errors.then(|| store.subscribe_browser());
        Self { events: store.subscribe(), browser, only, closed }
    }

    /// Is cancelled when the service is closed.
    #[must_use]
    pub fn service_closed(&self) -> CancellationToken {
        self.closed.clone()
    }

    /// The next event; None once the service is closed.
    pub async fn next(&mut self) -> Option<PreviewEvent> {
        loop {
            let browser = async {
                match &mut self.browser {
                    Some(browser) => browser.recv().await,
                    None => std::future::pending().await,
                }
            };
            let event = tokio::select! {
                event = self.events.recv() => event,
                event = browser => event,
                () = self.closed.cancelled() => return None,
            };
            match event {
                Ok(event) if self.only.is_none() || event.id == self.only => return Some(event),
                Ok(_) => {}
                Err(broadcast::error::RecvError::Lagged(_)) => {
                    return Some(PreviewEvent {
                        kind: EventKind::Gap,
                        id: None,
                        previous_phase: None,
                        preview: None,
                        at: SystemTime::now(),
                    });
                }
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

/// See the module.
pub(super) struct Events {
    context: Arc<Context>,
}

impl Events {
    pub(super) fn new(context: Arc<Context>) -> Self {
        Self { context }
    }

    pub(super) async fn call(&self, only: Option<PreviewId>, browser_errors: bool) -> Result<Subscription, Error> {
        let (store, reconciler) = (self.context.store(), &self.context.reconciler);
        reconciler.listen();
        // First: what others make while the engine is asked is heard of.
        store.interest.add(only.as_ref());
        let previews = match &only {
            Some(id) => vec![id.clone()],
            None => self.context.known_and_listed("events").await?,
        };
        // What is known already when the subscription begins is no event.
        let known = stream::iter(previews).map(|id| async move {
            reconciler.ensure_fresh(&id).await.map_err(|source| Error::engine("events", Some(&id), source))
        });
        known.buffer_unordered(PARALLEL_LOOKS).try_collect::<()>().await?;
        let closed = self.context.common.tasks.closed().clone();
        Ok(Subscription::new(store, browser_errors, only, closed))
    }
}
