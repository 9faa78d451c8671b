//! What is told about a preview, from what is remembered: pure, without a call to anything. docs/semantics.md has the
//! table of phases.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::engine_status::{EngineStatus, EventHistory, Link};
use super::entry::{CacheEntry, Ending, Observation};
use super::run::RunState;
use crate::engine::{EngineError, SIGKILL_CODE, SIGTERM_CODE, State, Workload};
use crate::id::{
    LABEL_DATABASE, LABEL_DATABASE_DETAIL, LABEL_DATABASE_NAME, LABEL_ISOLATION, LABEL_NETWORK_DETAIL,
    LABEL_NETWORK_ISOLATION, PreviewId,
};
use crate::preview::{CompileError, ContainerInfo, DatabaseState, Isolation, NetworkIsolation, Phase, Preview};
use crate::probe::Answer;
use crate::settings::Settings;

/// An exit this soon after an OOM comes of it, whatever its code.
const OOM_AFTERMATH: Duration = Duration::from_secs(5);

const LOST_DATABASE: &str =
    "The database was dropped, and the app cannot log in any more: restart_preview() makes a new one.";

/// What snapshots need beside the entry.
pub(crate) struct Snapshots {
    engine: Arc<EngineStatus>,
    public_host: String,
    port: u16,
    probe_timeout: Duration,
}

/// From when on what is remembered is all that can be told.
pub(super) enum Freshness {
    Never,
    /// What was asked for after this moment.
    Since(std::time::Instant),
    /// The engine does not answer.
    Unreachable,
}

impl Snapshots {
    pub(crate) fn new(engine: Arc<EngineStatus>, settings: &Settings) -> Self {
        Self {
            engine,
            public_host: settings.preview_public_host.clone(),
            port: settings.preview_port,
            probe_timeout: settings.preview_probe_timeout,
        }
    }

    /// The address for people.
    pub(crate) fn url(&self, port: u16) -> String {
        let host = &self.public_host;
        if host.contains(':') && !host.starts_with('[') {
            format!("http://[{host}]:{port}")
        } else {
            format!("http://{host}:{port}")
        }
    }

    /// The port that the dev server is expected to listen on.
    pub(super) fn inside_port(&self) -> u16 {
        self.port
    }

    /// A cache entry of a container of which nothing is known but that it runs.
    pub(crate) fn info(&self, id: &PreviewId, container_id: &str, name: &str, port: u16) -> ContainerInfo {
        ContainerInfo {
            id: id.clone(),
            container_id: container_id.to_owned(),
            container_name: name.to_owned(),
            port,
            url: self.url(port),
            compilation_complete: false,
            is_responding: false,
        }
    }

    /// The engine's port that the dev server's is published on.
    pub(crate) fn port_of(&self, workload: &Workload) -> Option<u16> {
        workload.endpoints.get(&self.port).map(|endpoint| endpoint.port)
    }

    pub(super) fn freshness(&self) -> Freshness {
        match self.engine.link() {
            Link::Up { since } => Freshness::Since(since),
            Link::Down { .. } => Freshness::Unreachable,
            Link::Idle => Freshness::Never,
        }
    }

    /// See the module. None: no container, and none is being made.
    pub(super) fn preview(
        &self,
        id: &PreviewId,
        name: &str,
        entry: &CacheEntry,
        unreachable: Option<&EngineError>,
    ) -> Option<Preview> {
        let being_made = entry.operation.filter(|phase| matches!(phase, Phase::Pulling | Phase::Creating));
        if let Some(phase) = being_made {
            let mut preview = Preview::blank(id, name, phase);
            preview.detail = Some(sentence(phase).to_owned());
            return Some(preview);
        }
        let observation = entry.observation.as_ref()?;
        let mut preview = self.of_workload(id, entry, observation);
        let reason = match (unreachable, self.engine.link()) {
            (Some(error), _) => Some(error.to_string()),
            (None, Link::Down { reason }) => Some(reason),
            (None, Link::Up { .. } | Link::Idle) => None,
        };
        // The page's answers tell something, too.
        preview.as_of = observation.at.max(self.engine.last_answer()).max(preview.ready_at.unwrap_or(observation.at));
        if let Some(reason) = reason {
            preview.phase = Phase::EngineUnreachable;
            preview.detail = Some(format!("The engine does not answer, this is the last that is known: {reason}"));
        }
        Some(preview)
    }

    fn of_workload(&self, id: &PreviewId, entry: &CacheEntry, observation: &Observation) -> Preview {
        let workload = &observation.workload;
        let mut preview = labelled(id, workload);
        preview.drift = entry.drift.names(&workload.id).to_vec();
        if preview.database == Some(DatabaseState::Ready)
            && entry.lost_database.as_ref().is_some_and(|lost| lost.concerns(workload))
        {
            preview.database = Some(DatabaseState::Unavailable);
            preview.database_isolation = None;
            preview.database_detail = Some(LOST_DATABASE.to_owned());
        }
        let history = self.engine.history(&workload.id);
        preview.oom_count = history.ooms;
        preview.last_oom_at = history.last_oom;
        let running = |preview: &mut Preview, port: Option<u16>| {
            preview.running = true;
            preview.port = port;
            preview.url = port.map(|port| self.url(port));
        };
        let port = self.port_of(workload);
        match (entry.operation, workload.state) {
            // Until it is gone, what is being stopped counts as running: an exit code would look like a crash.
            (Some(Phase::Stopping), _) | (_, State::Removing) => {
                preview.phase = Phase::Stopping;
                running(&mut preview, port.or(entry.last_port));
            }
            // Between the two halves of a restart.
            (Some(Phase::Starting), state) if !matches!(state, State::Running | State::Paused) => {
                running(&mut preview, entry.last_port);
            }
            (_, State::Created) => preview.phase = Phase::Creating,
            (_, State::Exited | State::Unknown) => {
                exited(&mut preview, workload, history, observation.ending.as_deref());
            }
            (_, State::Running | State::Paused) => {
                running(&mut preview, port);
                let record = entry.record.as_ref();
                let followed = record.filter(|record| record.run.follows(&workload.run));
                match followed {
                    Some(record) => self.live(&mut preview, &record.run.borrow_state()),
                    None => self.live(&mut preview, &RunState::default()),
                }
                if workload.state == State::Paused {
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
    fn live(&self, preview: &mut Preview, state: &RunState) {
        let readiness = &state.readiness;
        preview.is_responding = state.last_answer.is_some_and(Answer::is_good);
        preview.http_status = state.last_answer.and_then(Answer::status);
        preview.compilation_complete = readiness.is_complete();
        preview.ready_at = state.ready_at;
        if state.https {
            preview.url = preview.url.take().map(|url| url.replacen("http://", "https://", 1));
        }
        preview.errors = readiness.errors().to_vec();
        preview.browser_errors = state.browser.all().to_vec();
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
        if let (Phase::CompileError | Phase::Compiling, Some(status @ 500..)) = (preview.phase, preview.http_status) {
            preview.detail = Some(match preview.detail.take() {
                Some(detail) => format!("{detail} (The page answers {status}.)"),
                None => format!("The page answers {status}, and nothing that the dev server printed says why."),
            });
        }
        if preview.detail.is_none()
            && preview.phase == Phase::Compiling
            && state.last_answer == Some(Answer::NoServer)
            && !state.logs_decide
        {
            preview.detail = Some(format!(
                "The dev server says that it is up, and takes no connection from outside of the container on port {}: it \
                 has to listen on 0.0.0.0 and on this port (PREVIEW_PORT, PREVIEW_COMMAND).",
                self.port
            ));
        }
        if preview.detail.is_none() && state.logs_decide {
            preview.detail = Some("No address of it can be reached from here: the log alone decides.".into());
        }
    }
}

fn exited(preview: &mut Preview, workload: &Workload, history: EventHistory, ending: Option<&Ending>) {
    let oom = is_oom(workload, history);
    preview.phase = if oom { Phase::OomKilled } else { Phase::Exited };
    preview.exit_code = workload.exit_code;
    preview.finished_at = workload.finished_at;
    let (mut hint, mut said) = (None, None);
    if let Some(ending) = ending {
        preview.last_lines.clone_from(&ending.last_lines);
        preview.errors.clone_from(&ending.errors);
        hint = ending.hint.clone().or_else(|| ending.errors.first().map(error_sentence));
        // What was killed from outside did not say why.
        let by_signal = matches!(workload.exit_code, Some(SIGKILL_CODE | SIGTERM_CODE));
        said = ending.said.as_ref().filter(|_| !by_signal);
    }
    preview.detail = Some(if oom {
        preview.oom_count = preview.oom_count.max(1);
        "The kernel killed it because it used all the memory that it may use.".to_owned()
    } else if let Some(hint) = hint {
        hint
    } else {
        let code = workload.exit_code;
        let words = code.map_or_else(|| "The container ended".to_owned(), exit_words);
        let aftermath = match (history.last_oom, workload.finished_at) {
            (Some(oom), Some(end)) if end < oom + OOM_AFTERMATH => ", after a process of it was killed for memory",
            _ => "",
        };
        match said {
            Some(said) => format!("{words}{aftermath}. It said: {}.", said.trim_end_matches('.')),
            None => format!("{words}{aftermath}."),
        }
    });
}

/// The engine's flag is set for ever by any OOM, so the exit code decides, and a kill that came after the last OOM.
fn is_oom(workload: &Workload, history: EventHistory) -> bool {
    if workload.exit_code != Some(SIGKILL_CODE) {
        return false;
    }
    let of_this_run = |at: &SystemTime| workload.started_at().is_none_or(|started| *at >= started);
    match (history.last_oom.filter(of_this_run), history.last_signal.filter(of_this_run)) {
        (Some(oom), Some(signal)) => signal < oom,
        (Some(_), None) => true,
        (None, Some(_)) => false,
        (None, None) => workload.oom_killed,
    }
}

fn exit_words(code: i64) -> String {
    match code {
        0 => "The dev server ended by itself, with exit code 0".into(),
        126 => "The command cannot be run (exit code 126)".into(),
        127 => "The command was not found (exit code 127)".into(),
        SIGKILL_CODE => "It was killed from outside (exit code 137)".into(),
        SIGTERM_CODE => "It was told to end from outside (exit code 143)".into(),
        code => format!("The dev server ended with exit code {code}"),
    }
}

fn error_sentence(error: &CompileError) -> String {
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

/// What the labels and times of a container tell.
pub(crate) fn labelled(id: &PreviewId, workload: &Workload) -> Preview {
    let label = |name: &str| workload.labels.get(name).map(String::as_str);
    let mut preview = Preview::blank(id, &workload.name, Phase::Starting);
    preview.container_id = Some(workload.id.clone());
    preview.created_at = workload.created_at;
    preview.started_at = workload.started_at();
    preview.database = label(LABEL_DATABASE).and_then(DatabaseState::parse);
    preview.database_name = label(LABEL_DATABASE_NAME).map(str::to_owned);
    preview.database_isolation = label(LABEL_ISOLATION).and_then(Isolation::parse);
    preview.database_detail = label(LABEL_DATABASE_DETAIL).map(str::to_owned);
    preview.network_isolation = label(LABEL_NETWORK_ISOLATION).and_then(NetworkIsolation::parse);
    preview.network_detail = label(LABEL_NETWORK_DETAIL).map(str::to_owned);
    preview
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::time::Instant;

    use super::*;
    use crate::engine::RunId;

    fn at(second: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(second)
    }

    fn ended(exit_code: i64, oom_killed: bool) -> Workload {
        Workload {
            id: "a".into(),
            name: "x".into(),
            run: RunId { task: "a".into(), started_at: Some(at(10)) },
            state: State::Exited,
            labels: HashMap::new(),
            endpoints: HashMap::new(),
            networks: HashMap::new(),
            created_at: Some(at(9)),
            finished_at: Some(at(100)),
            exit_code: Some(exit_code),
            oom_killed,
            asked_at: Instant::now(),
        }
    }

    #[test]
    fn the_exit_code_and_the_last_event_decide_about_an_oom() {
        let history = |oom: Option<u64>, signal: Option<u64>| EventHistory {
            ooms: u32::from(oom.is_some()),
            last_oom: oom.map(at),
            last_signal: signal.map(at),
        };
        for (code, flag, history, expected) in [
            (137, true, history(None, None), true),
            (137, false, history(None, None), false),
            (137, true, history(Some(99), None), true),
            (137, false, history(Some(99), Some(98)), true),
            (137, true, history(Some(20), Some(99)), false),
            (137, true, history(None, Some(99)), false),
            (137, true, history(Some(99), Some(5)), true),
            (137, false, history(Some(5), None), false),
            (0, true, history(Some(20), None), false),
            (1, true, history(None, None), false),
        ] {
            assert_eq!(is_oom(&ended(code, flag), history), expected, "{code} {flag} {history:?}");
        }
    }

    #[test]
    fn an_exit_is_told_in_a_sentence() {
        let id = PreviewId::project(1);
        let detail = |code, history, ending: Option<&Ending>| {
            let mut preview = Preview::blank(&id, "x", Phase::Exited);
            exited(&mut preview, &ended(code, false), history, ending);
            preview.detail.unwrap_or_default()
        };
        let none = EventHistory::default();
        assert_eq!(detail(0, none, None), "The dev server ended by itself, with exit code 0.");
        assert_eq!(detail(127, none, None), "The command was not found (exit code 127).");
        let oom = EventHistory { ooms: 1, last_oom: Some(at(98)), last_signal: None };
        assert_eq!(
            detail(1, oom, None),
            "The dev server ended with exit code 1, after a process of it was killed for memory."
        );
        let ending = Ending { said: Some("Error: no".into()), ..Ending::default() };
        assert_eq!(detail(1, none, Some(&ending)), "The dev server ended with exit code 1. It said: Error: no.");
        assert_eq!(detail(137, none, Some(&ending)), "It was killed from outside (exit code 137).");
        let ending = Ending { hint: Some("Run npm install.".into()), ..Ending::default() };
        assert_eq!(detail(1, none, Some(&ending)), "Run npm install.");
    }
}
