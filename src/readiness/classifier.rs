//! Turns the bytes of both streams of one container into signals.

use super::boxes::{Boxes, is_wrapped};
use super::browser::BrowserReport;
use super::excerpt;
use super::format::Format;
use super::labels::{Labels, MAX_LABELS};
use super::line::Marker;
use super::lines::LineSplitter;
use super::patterns::Patterns;
use super::redact::without_passwords;
use super::report::{OpenReport, errors, is_frame};
use super::signal::{ClearedBy, Signal};
use super::tables::{LineWords, read};
use super::words::lossy;

/// Reads the output of one run of one container. Chunks may be split anywhere; stdout and stderr may interleave.
#[derive(Debug, Default)]
pub struct Classifier {
    patterns: Patterns,
    splitters: [LineSplitter; 2],
    reports: Reports,
}

/// A report that a pattern of the deployment opens.
static OWN_REPORT: Format = Format::DEFAULT;

impl Classifier {
    /// A classifier that knows the deployment's own patterns beside the built-in ones.
    #[must_use]
    pub fn new(patterns: Patterns) -> Self {
        Self { patterns, ..Self::default() }
    }

    /// Reads a chunk of one stream and passes each signal in it to `sink`.
    pub fn push(&mut self, stderr: bool, bytes: &[u8], sink: &mut impl FnMut(Signal)) {
        let stream = usize::from(stderr);
        let Self { patterns, splitters, reports } = self;
        splitters[stream].each(bytes, &mut |line| reports.line(patterns, stream, line, sink));
    }

    /// As [`Self::push`], with the signals in a list.
    pub fn read(&mut self, stderr: bool, bytes: &[u8]) -> Vec<Signal> {
        let mut signals = Vec::new();
        self.push(stderr, bytes, &mut |signal| signals.push(signal));
        signals
    }

    /// As [`Self::flush`], with the signals in a list.
    pub fn rest(&mut self) -> Vec<Signal> {
        let mut signals = Vec::new();
        self.flush(&mut |signal| signals.push(signal));
        signals
    }

    /// Passes on the errors of the reports that are still open. To be called when the output pauses or ends.
    pub fn flush(&mut self, sink: &mut impl FnMut(Signal)) {
        self.reports.close_all(sink);
    }

    /// Whether the report of an error is open, so that [`Self::flush`] may give signals.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.reports.open.iter().any(Option::is_some)
    }
}

/// A slot for each stream, and for each stream of each task.
const SLOTS: usize = 2 * (MAX_LABELS + 1);

/// The reports of all slots: what one task prints does not end the report of another.
#[derive(Debug, Default)]
struct Reports {
    labels: Labels,
    boxes: [Boxes; 2],
    open: [Option<OpenReport>; SLOTS],
    /// The task that was told of last.
    task: usize,
    /// The last report and its signals. Servers print the same report for every request.
    last: Option<(OpenReport, Vec<Signal>)>,
}

impl Reports {
    /// Reads a line of one stream.
    fn line(&mut self, patterns: &Patterns, stream: usize, line: &[u8], sink: &mut impl FnMut(Signal)) {
        // Code and stack traces of an open report quote anything, and no server indents its own lines that far.
        let alone = self.labels.count() == 0 && !self.boxes[stream].is_open();
        if let Some(report) = &mut self.open[stream]
            && alone
            && is_frame(line)
        {
            report.push_frame(line);
            return;
        }
        let printed = line;
        let (label, line) = self.labels.strip(line, self.open[stream].is_some());
        let line = self.boxes[stream].strip(line);
        let slot = 2 * label + stream;
        if let Some(report) = &mut self.open[slot] {
            if self.boxes[stream].is_open() && is_wrapped(line) && report.rejoin(line) {
                return;
            }
            if (!alone || line.len() < printed.len()) && is_frame(line) {
                report.push_frame(line);
                return;
            }
        }
        if patterns.error.is_some() || patterns.ready.is_some() {
            let text = lossy(line);
            if patterns.error.as_ref().is_some_and(|error| error.is_match(&text)) {
                self.open(slot, &OWN_REPORT, line, sink);
                return;
            }
            if patterns.ready.as_ref().is_some_and(|ready| ready.is_match(&text)) {
                self.close(slot, sink);
                sink(Signal::Ready);
                return;
            }
        }
        let words = LineWords::of(line);
        let text;
        let marker = if words.is_empty() {
            None
        } else {
            text = lossy(line);
            read(&text, words)
        };
        match (marker, &mut self.open[slot]) {
            (None, Some(report)) if report.goes_on(line) => report.push(line),
            (None, _) => self.close(slot, sink),
            (Some(Marker::Opens(format)), Some(report)) if report.absorbs(format, line) => report.push_opening(line),
            (Some(Marker::Opens(format)), _) => self.open(slot, format, line, sink),
            (Some(Marker::Failed), _) => {
                // What the other stream told of it comes first.
                self.close_all(sink);
                self.tell_task(slot, sink);
                sink(Signal::Failed(excerpt::message(without_passwords(&lossy(line.trim_ascii())))));
            }
            (Some(marker), _) => self.end(slot, marker, sink),
        }
    }

    /// Ends the open report with a line that opens no other one.
    fn end(&mut self, slot: usize, marker: Marker<'_>, sink: &mut impl FnMut(Signal)) {
        let open = &mut self.open[slot];
        if matches!(marker, Marker::Problem(_)) && open.as_ref().is_some_and(|report| report.format.yields_to_problem) {
            *open = None;
        }
        if matches!(
            marker,
            Marker::Answered | Marker::Rebuilt | Marker::Checked(_) | Marker::Updated(_) | Marker::Reloaded
        ) {
            // An error that another stream told before must not come after the signal that clears it.
            self.close_all(sink);
        } else {
            self.close(slot, sink);
        }
        self.tell_task(slot, sink);
        pass(marker, sink);
    }

    /// Says whose the next signal is, where that is not known.
    fn tell_task(&mut self, slot: usize, sink: &mut impl FnMut(Signal)) {
        if self.task != slot / 2 {
            self.task = slot / 2;
            sink(Signal::Task(self.task));
        }
    }

    fn open(&mut self, slot: usize, format: &'static Format, line: &[u8], sink: &mut impl FnMut(Signal)) {
        self.close(slot, sink);
        self.open[slot] = Some(OpenReport::new(format, line));
    }

    fn close_all(&mut self, sink: &mut impl FnMut(Signal)) {
        for slot in 0..2 * (self.labels.count() + 1) {
            self.close(slot, sink);
        }
    }

    fn close(&mut self, slot: usize, sink: &mut impl FnMut(Signal)) {
        let Some(report) = self.open[slot].take() else { return };
        let signals = match self.last.take() {
            Some((last, signals)) if last.is_like(&report) => signals,
            _ => signals(&report),
        };
        if !signals.is_empty() {
            self.tell_task(slot, sink);
        }
        for signal in &signals {
            sink(signal.clone());
        }
        self.last = Some((report, signals));
    }
}

fn signals(report: &OpenReport) -> Vec<Signal> {
    let text = report.text();
    if report.format.browser {
        let told = errors(report.format, &text).into_iter().filter_map(BrowserReport::of);
        return told.map(Signal::Browser).collect();
    }
    let signal = |error: crate::preview::CompileError| {
        let cleared_by: ClearedBy = (report.format.cleared_by)(error.kind, &text);
        Signal::Error(error, cleared_by)
    };
    errors(report.format, &text).into_iter().map(signal).collect()
}

/// Passes on what a line says.
fn pass(marker: Marker<'_>, sink: &mut impl FnMut(Signal)) {
    match marker {
        Marker::Ready(port) => {
            if let Some(port) = port {
                sink(Signal::Listening(port));
            }
            sink(Signal::Ready);
        }
        Marker::Listening(port) => sink(Signal::Listening(port)),
        Marker::Compiling => sink(Signal::Compiling),
        Marker::Compiled => sink(Signal::Compiled),
        Marker::Answered => {
            sink(Signal::Loaded("/".to_owned()));
            sink(Signal::Answered);
        }
        Marker::Loaded(page) => sink(Signal::Loaded(excerpt::message(page.to_owned()))),
        Marker::Refreshed => {
            sink(Signal::Refreshed);
            sink(Signal::Compiled);
        }
        Marker::Rebuilt => sink(Signal::Rebuilt),
        Marker::Crashed => sink(Signal::Crashed),
        Marker::Next(major, minor) => sink(Signal::Next(major, minor)),
        Marker::Checked(errors) => sink(Signal::Checked(errors)),
        Marker::Updated(paths) => {
            for path in paths.split(", ") {
                // A repeated update has a count: `/src/App.jsx (x2)`.
                let path = path.split(" (x").next().unwrap_or(path).trim();
                sink(Signal::Updated(Some(path.to_owned())));
            }
        }
        Marker::Reloaded => sink(Signal::Updated(None)),
        Marker::Problem(problem) => sink(Signal::Problem(problem)),
        Marker::Opens(_) | Marker::Failed | Marker::Ends => {}
    }
}
