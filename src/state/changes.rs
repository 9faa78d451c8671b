//! What of a preview is new to subscribers.

use std::time::SystemTime;

use crate::id::PreviewId;
use crate::preview::{BrowserError, CompileError, EventKind, Phase, Preview, PreviewEvent};

/// What subscribers know about one preview.
#[derive(Debug, Default)]
pub(crate) struct Published {
    phase: Option<Phase>,
    /// `oom_killed` is the phase of containers that live on and of those that ended.
    ended_by_oom: bool,
    errors: Vec<CompileError>,
    /// When each of the browser's errors was first told: how often it came since is no news.
    browser_errors: Vec<(SystemTime, String)>,
}

impl Published {
    /// The events that lead from what subscribers know to `now`.
    pub(crate) fn advance(&mut self, id: &PreviewId, now: Option<&Preview>) -> Vec<PreviewEvent> {
        let phase = now.map(|preview| preview.phase);
        let errors = now.map_or(&[][..], |preview| &preview.errors);
        let previous_phase = std::mem::replace(&mut self.phase, phase);
        let mut kinds = Vec::new();
        if self.errors != errors {
            self.errors = errors.to_vec();
            kinds.push(EventKind::Errors);
        }
        let told = |error: &BrowserError| (error.first_at, error.message.clone());
        let browser_errors: Vec<_> = now.iter().flat_map(|preview| &preview.browser_errors).map(told).collect();
        if self.browser_errors != browser_errors {
            self.browser_errors = browser_errors;
            kinds.push(EventKind::BrowserErrors);
        }
        let ended_by_oom = now.is_some_and(|preview| preview.phase == Phase::OomKilled && !preview.running);
        let ended = !std::mem::replace(&mut self.ended_by_oom, ended_by_oom) && ended_by_oom;
        if phase != previous_phase || ended {
            kinds.push(if phase.is_some() { EventKind::Phase } else { EventKind::Removed });
        }
        let event = |kind| PreviewEvent {
            kind,
            id: Some(id.clone()),
            previous_phase,
            preview: now.cloned(),
            at: SystemTime::now(),
        };
        kinds.into_iter().map(event).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preview::ErrorKind;

    #[test]
    fn only_changes_are_told() {
        let (id, mut published) = (PreviewId::project(1), Published::default());
        let mut kinds =
            |now: Option<&Preview>| published.advance(&id, now).iter().map(|event| event.kind).collect::<Vec<_>>();
        assert_eq!(kinds(None), []);
        let mut preview = Preview::blank(&id, "x", Phase::Starting);
        assert_eq!(kinds(Some(&preview)), [EventKind::Phase]);
        assert_eq!(kinds(Some(&preview)), []);
        preview.phase = Phase::CompileError;
        preview.errors.push(CompileError {
            file: None,
            line: None,
            column: None,
            message: "it does not compile".into(),
            kind: ErrorKind::Unknown,
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
