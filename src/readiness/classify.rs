//! Bytes of both streams of one container to signals.

use super::block::{Block, is_frame};
use super::lines::LineSplitter;
use super::marker::{self, Format, Keys, Marker};
use super::patterns::Patterns;
use super::report;
use super::signal::{Ends, Signal};
use super::words::lossy;
use crate::preview::{CompileError, ErrorKind};

/// Reads the output of one run of one container. Chunks may be split anywhere; stdout and stderr may interleave.
#[derive(Debug, Default)]
pub struct Classifier {
    patterns: Patterns,
    splitters: [LineSplitter; 2],
    reports: Reports,
}

/// The reports of both streams.
#[derive(Debug, Default)]
struct Reports {
    open: [Option<Block>; 2],
    /// The last one and what was read in it: servers print the same one for every request.
    last: Option<(Block, Vec<Signal>)>,
}

impl Classifier {
    /// A classifier with a deployment's own patterns beside the built-in ones.
    #[must_use]
    pub fn new(patterns: Patterns) -> Self {
        Self { patterns, ..Self::default() }
    }

    /// Takes a chunk of one stream and hands what it says to `sink`.
    pub fn push(&mut self, stderr: bool, bytes: &[u8], sink: &mut impl FnMut(Signal)) {
        let stream = usize::from(stderr);
        let Self { patterns, splitters, reports } = self;
        splitters[stream].each(bytes, &mut |line| take(patterns, reports, stream, line, sink));
    }

    /// The output went quiet or ended: what stands open is whole.
    pub fn settle(&mut self, sink: &mut impl FnMut(Signal)) {
        for stream in 0..self.reports.open.len() {
            self.reports.close(stream, sink);
        }
    }

    /// Whether a report of an error stands open, so that [`Self::settle`] has something to give.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.reports.open.iter().any(Option::is_some)
    }
}

impl Reports {
    fn close(&mut self, stream: usize, sink: &mut impl FnMut(Signal)) {
        let Some(block) = self.open[stream].take() else { return };
        let signals = match self.last.take() {
            Some((last, signals)) if last.is_like(&block) => signals,
            _ => {
                let text = block.text();
                report::errors(block.format, &text)
                    .into_iter()
                    .map(|error| signal(block.format, &text, error))
                    .collect()
            }
        };
        for signal in &signals {
            sink(signal.clone());
        }
        self.last = Some((block, signals));
    }

    fn open(&mut self, stream: usize, format: Format, line: &[u8], sink: &mut impl FnMut(Signal)) {
        self.close(stream, sink);
        self.open[stream] = Some(Block::new(format, line));
    }
}

fn signal(format: Format, block: &str, error: CompileError) -> Signal {
    let ends = match (format, error.kind) {
        // Vite restarts with a configuration that loads; an error in it is none of a module's.
        (Format::Vite, ErrorKind::Config) => Ends::Rebuilt,
        // Nuxt answers with the page as it was before it broke, unless it never was well.
        (Format::Page, _) if report::is_of_vite(block) => Ends::Component,
        (Format::Crash, ErrorKind::Environment) => Ends::Answer,
        (Format::Crash, _) if report::is_fatal(block) => Ends::Answer,
        (format, _) => format.ends(),
    };
    Signal::Error(error, ends)
}

fn take(patterns: &Patterns, reports: &mut Reports, stream: usize, line: &[u8], sink: &mut impl FnMut(Signal)) {
    // Code and stack of an open report quote anything, and servers do not speak from that far in.
    if let Some(block) = &mut reports.open[stream]
        && (line.starts_with(b"    ") || is_frame(line))
    {
        block.push_frame(line);
        return;
    }
    if patterns.error.is_some() || patterns.ready.is_some() {
        let text = lossy(line);
        if patterns.error.as_ref().is_some_and(|error| error.is_match(&text)) {
            reports.open(stream, Format::Own, line, sink);
            return;
        }
        if patterns.ready.as_ref().is_some_and(|ready| ready.is_match(&text)) {
            reports.close(stream, sink);
            sink(Signal::Ready);
            return;
        }
    }
    let keys = Keys::of(line);
    let text;
    let marker = if keys.is_empty() {
        None
    } else {
        text = lossy(line);
        marker::read(&text, keys)
    };
    let Some(marker) = marker else {
        match &mut reports.open[stream] {
            Some(block) if block.goes_on(line) => block.push(line),
            _ => reports.close(stream, sink),
        }
        return;
    };
    if let Marker::Opens(format) = marker {
        match &mut reports.open[stream] {
            Some(block) if block.absorbs(format, line) => block.push(line),
            _ => reports.open(stream, format, line, sink),
        }
        return;
    }
    if matches!(marker, Marker::Problem(_))
        && reports.open[stream].as_ref().is_some_and(|block| block.format == Format::Crash)
    {
        // The exception is the problem itself.
        reports.open[stream] = None;
    }
    reports.close(stream, sink);
    if matches!(marker, Marker::Answered | Marker::Rebuilt | Marker::Checked(_) | Marker::Updated(_) | Marker::Reloaded)
    {
        // What the other stream told before must not come after what ends it.
        reports.close(1 - stream, sink);
    }
    give(marker, sink);
}

fn give(marker: Marker<'_>, sink: &mut impl FnMut(Signal)) {
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
        Marker::Answered => sink(Signal::Answered),
        Marker::Rebuilt => sink(Signal::Rebuilt),
        Marker::Checked(errors) => sink(Signal::Checked(errors)),
        Marker::Updated(paths) => {
            for path in paths.split(", ") {
                // A repeated update carries a count: `/src/App.jsx (x2)`.
                let path = path.split(" (x").next().unwrap_or(path).trim();
                sink(Signal::Updated(Some(path.to_owned())));
            }
        }
        Marker::Reloaded => sink(Signal::Updated(None)),
        Marker::Problem(problem) => sink(Signal::Problem(problem)),
        Marker::Opens(_) | Marker::Ends => {}
    }
}
