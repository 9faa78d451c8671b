//! What is told about a preview, from what is remembered: pure, without a call to anything (`SEMANTICS` 4).

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::feed::{Facts, Feed, Link};
use super::registry::{End, Seen, Slot};
use super::watch::WatchState;
use crate::engine::{Container, State};
use crate::error::EngineError;
use crate::id::{LABEL_DATABASE, LABEL_DATABASE_DETAIL, LABEL_DATABASE_NAME, LABEL_ISOLATION, PreviewId};
use crate::preview::{DatabaseState, Isolation, Phase, Preview};
use crate::probe::Answer;
use crate::settings::Settings;

/// What the kernel's OOM killer, and `docker kill`, end a process with.
const SIGKILL_CODE: i64 = 137;
/// An exit this soon after an OOM comes of it, whatever its code.
const OOM_AFTERMATH: Duration = Duration::from_secs(5);

/// What a snapshot needs beside the slot.
pub(super) struct View {
    feed: Arc<Feed>,
    public_host: String,
    port: u16,
    probe_timeout: Duration,
}

/// Which looks events keep true.
pub(super) enum Warm {
    Never,
    /// Those that began later.
    Since(Instant),
    /// The engine does not answer: what is remembered is all that can be told.
    Unreachable,
}

impl View {
    pub(super) fn new(feed: Arc<Feed>, settings: &Settings) -> Self {
        Self {
            feed,
            public_host: settings.preview_public_host.clone(),
            port: settings.preview_port,
            probe_timeout: settings.preview_probe_timeout,
        }
    }

    /// The address for people.
    pub(super) fn url(&self, port: u16) -> String {
        let host = &self.public_host;
        if host.contains(':') && !host.starts_with('[') {
            format!("http://[{host}]:{port}")
        } else {
            format!("http://{host}:{port}")
        }
    }

    pub(super) fn warm_since(&self) -> Warm {
        match self.feed.link() {
            Link::Up { since } => Warm::Since(since),
            Link::Down { .. } => Warm::Unreachable,
            Link::Idle => Warm::Never,
        }
    }

    /// See the module. None: no container, and none is being made.
    pub(super) fn preview(&self, key: &PreviewId, slot: &Slot, unreachable: Option<&EngineError>) -> Option<Preview> {
        let being_made = slot.doing.filter(|phase| matches!(phase, Phase::Pulling | Phase::Creating));
        if let Some(phase) = being_made {
            let mut preview = blank(key, &slot.name, phase);
            preview.detail = Some(sentence(phase).to_owned());
            return Some(preview);
        }
        let seen = slot.seen.as_ref()?;
        let mut preview = self.of_container(key, slot, seen);
        let reason = match (unreachable, self.feed.link()) {
            (Some(error), _) => Some(error.to_string()),
            (None, Link::Down { reason }) => Some(reason),
            (None, Link::Up { .. } | Link::Idle) => None,
        };
        preview.as_of = seen.at.max(self.feed.heard());
        if let Some(reason) = reason {
            preview.phase = Phase::EngineUnreachable;
            preview.detail = Some(format!("The engine does not answer, this is the last that is known: {reason}"));
        }
        Some(preview)
    }

    fn of_container(&self, key: &PreviewId, slot: &Slot, seen: &Seen) -> Preview {
        let container = &seen.container;
        let mut preview = from_labels(key, container);
        let facts = self.feed.facts(&container.id);
        preview.oom_count = facts.ooms;
        preview.last_oom_at = facts.last_oom;
        let running = |preview: &mut Preview, port: Option<u16>| {
            preview.running = true;
            preview.port = port;
            preview.url = port.map(|port| self.url(port));
        };
        let port = container.ports.get(&self.port).copied();
        match (slot.doing, container.state) {
            // Until it is gone, what is being stopped counts as running: an exit code would look like a crash.
            (Some(Phase::Stopping), _) | (_, State::Removing) => {
                preview.phase = Phase::Stopping;
                running(&mut preview, port.or(slot.last_port));
            }
            // Between the two halves of a restart.
            (Some(Phase::Starting), state) if !matches!(state, State::Running | State::Paused) => {
                running(&mut preview, slot.last_port);
            }
            (_, State::Created) => preview.phase = Phase::Creating,
            (_, State::Exited | State::Unknown) => exited(&mut preview, container, facts, seen.end.as_deref()),
            (_, State::Running | State::Paused) => {
                running(&mut preview, port);
                let record = slot.record.as_ref();
                let watch = record.filter(|record| record.watch.follows(&container.id, container.started_at));
                let state = watch.map(|record| record.watch.state()).unwrap_or_default();
                self.live(&mut preview, &state);
                if container.state == State::Paused {
                    preview.phase = Phase::Paused;
                    preview.is_responding = false;
                }
            }
        }
        if preview.detail.is_none() && preview.phase != Phase::Ready {
            preview.detail = Some(sentence(preview.phase).to_owned());
        }
        preview
    }

    /// What following a running container has taught.
    fn live(&self, preview: &mut Preview, state: &WatchState) {
        let readiness = &state.readiness;
        preview.is_responding = state.last_answer.is_some_and(Answer::is_good);
        preview.http_status = state.last_answer.and_then(Answer::status);
        preview.compilation_complete = readiness.is_complete();
        preview.ready_at = state.ready_at;
        preview.errors = readiness.errors().to_vec();
        preview.phase = state.phase();
        preview.detail = match preview.phase {
            Phase::CompileError => readiness.errors().first().map(error_sentence),
            Phase::Starting | Phase::Compiling | Phase::Ready => readiness.hint(),
            Phase::Unresponsive => Some(format!(
                "It answered before, and does not answer within {} s now.",
                self.probe_timeout.as_secs_f64()
            )),
            _ => None,
        };
        if preview.detail.is_none() && state.logs_decide {
            preview.detail = Some("No address of it can be reached from here: the log alone decides.".into());
        }
    }

    #[cfg(test)]
    pub(super) fn for_tests() -> Self {
        let heartbeat = super::feed::Heartbeat { interval: Duration::from_secs(2), deadline: Duration::from_secs(5) };
        let address = crate::engine::EngineAddress::Unusable("none".into());
        let engine = Arc::new(crate::engine::DockerEngine::new(address, Duration::from_secs(1)));
        Self::new(Feed::new(engine, heartbeat), &crate::settings::tests::settings())
    }
}

fn exited(preview: &mut Preview, container: &Container, facts: Facts, end: Option<&End>) {
    let oom = is_oom(container, facts);
    preview.phase = if oom { Phase::OomKilled } else { Phase::Exited };
    preview.exit_code = container.exit_code;
    preview.finished_at = container.finished_at;
    let mut hint = None;
    if let Some(end) = end {
        preview.last_lines.clone_from(&end.last_lines);
        preview.errors.clone_from(&end.errors);
        hint = end.hint.clone().or_else(|| end.errors.first().map(error_sentence));
    }
    preview.detail = Some(if oom {
        preview.oom_count = preview.oom_count.max(1);
        "The kernel killed it because it used all the memory that it may use.".to_owned()
    } else if let Some(hint) = hint {
        hint
    } else {
        let code = container.exit_code;
        let words = code.map_or_else(|| "The container ended".to_owned(), exit_words);
        let aftermath = match (facts.last_oom, container.finished_at) {
            (Some(oom), Some(end)) if end < oom + OOM_AFTERMATH => ", after a process of it was killed for memory",
            _ => "",
        };
        format!("{words}{aftermath}.")
    });
}

/// The engine's flag is set for ever by any OOM, so the exit code decides, and a kill that came after the last OOM.
fn is_oom(container: &Container, facts: Facts) -> bool {
    if container.exit_code != Some(SIGKILL_CODE) {
        return false;
    }
    let of_this_run = |at: &SystemTime| container.started_at.is_none_or(|started| *at >= started);
    match (facts.last_oom.filter(of_this_run), facts.last_kill.filter(of_this_run)) {
        (Some(oom), Some(kill)) => kill < oom,
        (Some(_), None) => true,
        (None, Some(_)) => false,
        (None, None) => container.oom_killed,
    }
}

fn exit_words(code: i64) -> String {
    match code {
        0 => "The dev server ended by itself, with exit code 0".into(),
        126 => "The command cannot be run (exit code 126)".into(),
        127 => "The command was not found (exit code 127)".into(),
        SIGKILL_CODE => "It was killed from outside (exit code 137)".into(),
        143 => "It was told to end from outside (exit code 143)".into(),
        code => format!("The dev server ended with exit code {code}"),
    }
}

fn error_sentence(error: &crate::preview::CompileError) -> String {
    match (&error.file, error.line) {
        (Some(file), Some(line)) => format!("{file}:{line}: {}", error.message),
        (Some(file), None) => format!("{file}: {}", error.message),
        _ => error.message.clone(),
    }
}

fn sentence(phase: Phase) -> &'static str {
    match phase {
        Phase::Pulling => "The image is being pulled.",
        Phase::Creating => "The container is being made.",
        Phase::Starting => "The container runs, and its dev server is not up yet.",
        Phase::Compiling => "The dev server is up, and the page is not compiled yet.",
        Phase::Ready => "The page was compiled and answered.",
        Phase::CompileError => "The page does not compile.",
        Phase::Unresponsive => "It answered before, and does not now.",
        Phase::Paused => "The container is paused.",
        Phase::OomKilled => "A process of it was killed because the container used all the memory that it may use.",
        Phase::Stopping => "It is being stopped.",
        Phase::Exited => "The container ended.",
        Phase::EngineUnreachable => "The engine does not answer.",
    }
}

pub(super) fn blank(key: &PreviewId, name: &str, phase: Phase) -> Preview {
    Preview {
        project_id: key.project_id(),
        phase,
        running: false,
        url: None,
        port: None,
        container_id: None,
        container_name: name.to_owned(),
        compilation_complete: false,
        is_responding: false,
        http_status: None,
        errors: Vec::new(),
        exit_code: None,
        last_lines: Vec::new(),
        oom_count: 0,
        last_oom_at: None,
        database: None,
        database_name: None,
        database_isolation: None,
        database_detail: None,
        detail: None,
        created_at: None,
        started_at: None,
        ready_at: None,
        finished_at: None,
        as_of: SystemTime::now(),
    }
}

pub(super) fn from_labels(key: &PreviewId, container: &Container) -> Preview {
    let label = |name: &str| container.labels.get(name).map(String::as_str);
    let mut preview = blank(key, &container.name, Phase::Starting);
    preview.container_id = Some(container.id.clone());
    preview.created_at = container.created_at;
    preview.started_at = container.started_at;
    preview.database = label(LABEL_DATABASE).and_then(DatabaseState::parse);
    preview.database_name = label(LABEL_DATABASE_NAME).map(str::to_owned);
    preview.database_isolation = label(LABEL_ISOLATION).and_then(Isolation::parse);
    preview.database_detail = label(LABEL_DATABASE_DETAIL).map(str::to_owned);
    preview
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn at(second: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(second)
    }

    fn ended(exit_code: i64, oom_killed: bool) -> Container {
        Container {
            id: "a".into(),
            name: "x".into(),
            state: State::Exited,
            labels: HashMap::new(),
            ports: HashMap::new(),
            networks: HashMap::new(),
            created_at: Some(at(9)),
            started_at: Some(at(10)),
            finished_at: Some(at(100)),
            exit_code: Some(exit_code),
            oom_killed,
            tty: false,
            looked: Instant::now(),
        }
    }

    #[test]
    fn the_exit_code_and_the_last_event_decide_about_an_oom() {
        let facts = |oom: Option<u64>, kill: Option<u64>| Facts {
            ooms: u32::from(oom.is_some()),
            last_oom: oom.map(at),
            last_kill: kill.map(at),
        };
        for (code, flag, facts, expected) in [
            (137, true, facts(None, None), true),
            (137, false, facts(None, None), false),
            (137, true, facts(Some(99), None), true),
            (137, false, facts(Some(99), Some(98)), true),
            (137, true, facts(Some(20), Some(99)), false),
            (137, true, facts(None, Some(99)), false),
            (137, true, facts(Some(99), Some(5)), true),
            (137, false, facts(Some(5), None), false),
            (0, true, facts(Some(20), None), false),
            (1, true, facts(None, None), false),
        ] {
            assert_eq!(is_oom(&ended(code, flag), facts), expected, "{code} {flag} {facts:?}");
        }
    }

    #[test]
    fn an_exit_is_told_in_a_sentence() {
        let key = PreviewId::project(1);
        let detail = |code, facts, end: Option<&End>| {
            let mut preview = blank(&key, "x", Phase::Exited);
            exited(&mut preview, &ended(code, false), facts, end);
            preview.detail.unwrap_or_default()
        };
        let none = Facts::default();
        assert_eq!(detail(0, none, None), "The dev server ended by itself, with exit code 0.");
        assert_eq!(detail(127, none, None), "The command was not found (exit code 127).");
        let oom = Facts { ooms: 1, last_oom: Some(at(98)), last_kill: None };
        assert_eq!(
            detail(1, oom, None),
            "The dev server ended with exit code 1, after a process of it was killed for memory."
        );
        let end = End { hint: Some("Run npm install.".into()), ..End::default() };
        assert_eq!(detail(1, none, Some(&end)), "Run npm install.");
    }
}
