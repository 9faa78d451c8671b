//! Events: what changed about previews, told to any number of subscribers in the order in which it happened.

use std::sync::Arc;
use std::time::SystemTime;

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use super::list::PARALLEL_LOOKS;
use super::{Inner, PreviewService};
use crate::error::Error;
use crate::id::PreviewId;
use crate::preview::{CompileError, Phase, Preview};

/// What an event tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// The preview came into another phase.
    Phase,
    /// Compile errors were set or cleared.
    Errors,
    /// It is gone: stopped, or removed from outside.
    Removed,
    /// The subscriber was too slow, and events before this one are lost: look at everything anew.
    Gap,
}

impl EventKind {
    /// The name as users see it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Phase => "phase",
            Self::Errors => "errors",
            Self::Removed => "removed",
            Self::Gap => "gap",
        }
    }

    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Phase, Self::Errors, Self::Removed, Self::Gap];
}

/// One change. The Python model `PreviewEvent` has the same fields.
#[derive(Debug, Clone, PartialEq)]
pub struct PreviewEvent {
    /// What changed.
    pub kind: EventKind,
    /// Of which project; None for a gap.
    pub project_id: Option<u64>,
    /// The phase before, None where there was no preview.
    pub previous_phase: Option<Phase>,
    /// The preview as it is now; None when it is gone, and for a gap.
    pub preview: Option<Preview>,
    /// When this was noticed.
    pub at: SystemTime,
}

/// What subscribers know about one preview.
#[derive(Debug, Default)]
pub(super) struct Announced {
    phase: Option<Phase>,
    /// One phase is that of containers that live and of those that ended.
    oom_ended_it: bool,
    errors: Vec<CompileError>,
}

impl Announced {
    /// The events that lead from what is known to `now`.
    pub(super) fn next(&mut self, key: &PreviewId, now: Option<&Preview>) -> Vec<PreviewEvent> {
        let phase = now.map(|preview| preview.phase);
        let errors = now.map_or(&[][..], |preview| &preview.errors);
        let previous_phase = std::mem::replace(&mut self.phase, phase);
        let mut kinds = Vec::new();
        if self.errors != errors {
            self.errors = errors.to_vec();
            kinds.push(EventKind::Errors);
        }
        let oom_ended_it = now.is_some_and(|preview| preview.phase == Phase::OomKilled && !preview.running);
        let ended = !std::mem::replace(&mut self.oom_ended_it, oom_ended_it) && oom_ended_it;
        if phase != previous_phase || ended {
            kinds.push(if phase.is_some() { EventKind::Phase } else { EventKind::Removed });
        }
        let event = |kind| PreviewEvent {
            kind,
            project_id: Some(key.project_id()),
            previous_phase,
            preview: now.cloned(),
            at: SystemTime::now(),
        };
        kinds.into_iter().map(event).collect()
    }
}

/// A subscriber's end.
pub struct Subscription {
    events: broadcast::Receiver<PreviewEvent>,
    only: Option<PreviewId>,
    inner: Arc<Inner>,
}

impl PreviewService {
    /// Subscribes to what changes from now on: of one preview, or of all of this owner's.
    ///
    /// # Errors
    /// When the engine cannot be asked which previews there are.
    pub async fn events(&self, only: Option<(PreviewId, String)>) -> Result<Subscription, Error> {
        let inner = Arc::clone(&self.inner);
        inner.keep_warm();
        // First: what others make while this looks around is heard of.
        inner.watch(only.as_ref().map(|(key, _)| key));
        let previews = match &only {
            Some(one) => vec![one.clone()],
            None => inner.known_and_owned("events").await?,
        };
        // What is known already when the subscription begins is no event.
        let known = stream::iter(previews).map(|(key, name)| {
            let inner = &inner;
            async move { inner.recall(&key, &name).await.map_err(|source| Error::engine("events", Some(&key), source)) }
        });
        known.buffer_unordered(PARALLEL_LOOKS).try_collect::<()>().await?;
        let events = inner.registry.subscribe();
        Ok(Subscription { events, only: only.map(|(key, _)| key), inner })
    }
}

impl Subscription {
    /// Is cancelled when the service is closed.
    #[must_use]
    pub fn service_closed(&self) -> CancellationToken {
        self.inner.closed.clone()
    }

    /// The next event; None once the service is closed.
    pub async fn next(&mut self) -> Option<PreviewEvent> {
        loop {
            let event = tokio::select! {
                event = self.events.recv() => event,
                () = self.inner.closed.cancelled() => return None,
            };
            match event {
                Ok(event) if self.only.as_ref().is_none_or(|only| event.project_id == Some(only.project_id())) => {
                    return Some(event);
                }
                Ok(_) => {}
                Err(broadcast::error::RecvError::Lagged(_)) => {
                    return Some(PreviewEvent {
                        kind: EventKind::Gap,
                        project_id: None,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::snapshot::blank;

    #[test]
    fn only_changes_are_told() {
        let (key, mut announced) = (PreviewId::project(1), Announced::default());
        let mut kinds =
            |now: Option<&Preview>| announced.next(&key, now).iter().map(|event| event.kind).collect::<Vec<_>>();
        assert_eq!(kinds(None), []);
        let mut preview = blank(&key, "x", Phase::Starting);
        assert_eq!(kinds(Some(&preview)), [EventKind::Phase]);
        assert_eq!(kinds(Some(&preview)), []);
        preview.phase = Phase::CompileError;
        preview.errors.push(CompileError {
            file: None,
            line: None,
            column: None,
            message: "it does not compile".into(),
            kind: crate::preview::ErrorKind::Unknown,
            raw: String::new(),
        });
        assert_eq!(kinds(Some(&preview)), [EventKind::Errors, EventKind::Phase]);
        preview.phase = Phase::OomKilled;
        preview.running = true;
        assert_eq!(kinds(Some(&preview)), [EventKind::Phase]);
        preview.running = false;
        assert_eq!(kinds(Some(&preview)), [EventKind::Phase]);
        assert_eq!(kinds(Some(&preview)), []);
        assert_eq!(kinds(None), [EventKind::Errors, EventKind::Removed]);
    }
}
