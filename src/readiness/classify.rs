//! Bytes of both streams of one container to signals.

use super::block::{Block, is_frame};
use super::lines::LineSplitter;
use super::marker::{self, Format, Keys, Marker};
use super::patterns::Patterns;
use super::report;
use super::signal::{Ends, Signal};
use crate::preview::ErrorKind;

/// Reads the output of one run of one container. Chunks may be split anywhere; stdout and stderr may interleave.
#[derive(Debug, Default)]
pub struct Classifier {
    patterns: Patterns,
    splitters: [LineSplitter; 2],
    blocks: [Option<Block>; 2],
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
        let Self { patterns, splitters, blocks } = self;
        splitters[stream].each(bytes, &mut |line| take(patterns, blocks, stream, line, sink));
    }

    /// The output went quiet or ended: what stands open is whole.
    pub fn settle(&mut self, sink: &mut impl FnMut(Signal)) {
        for block in &mut self.blocks {
            close(block, sink);
        }
    }

    /// Whether a report of an error stands open, so that [`Self::settle`] has something to give.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.blocks.iter().any(Option::is_some)
    }
}

fn close(block: &mut Option<Block>, sink: &mut impl FnMut(Signal)) {
    let Some(block) = block.take() else { return };
    for error in report::errors(block.format, block.text()) {
        let ends = match (block.format, error.kind) {
            // Vite restarts with a configuration that loads; an error in it is none of a module's.
            (Format::Vite, ErrorKind::Config) => Ends::Rebuilt,
            (Format::Crash, ErrorKind::Environment) => Ends::Answer,
            (Format::Crash, _) if report::is_fatal(block.text()) => Ends::Answer,
            (format, _) => format.ends(),
        };
        sink(Signal::Error(error, ends));
    }
}

fn take(
    patterns: &Patterns,
    blocks: &mut [Option<Block>; 2],
    stream: usize,
    line: &[u8],
    sink: &mut impl FnMut(Signal),
) {
    let own = patterns.ready.is_some() || patterns.error.is_some();
    let keys = Keys::of(line);
    if keys.is_empty() && blocks[stream].is_none() && !own {
        return;
    }
    let line = String::from_utf8_lossy(line);
    let line = line.as_ref();
    if let Some(block) = &mut blocks[stream]
        && is_frame(line)
    {
        block.push(line);
        return;
    }
    if patterns.error.as_ref().is_some_and(|error| error.is_match(line)) {
        close(&mut blocks[stream], sink);
        blocks[stream] = Some(Block::new(Format::Own, line));
        return;
    }
    if patterns.ready.as_ref().is_some_and(|ready| ready.is_match(line)) {
        close(&mut blocks[stream], sink);
        sink(Signal::Ready);
        return;
    }
    let marker = if keys.is_empty() { None } else { marker::read(line, keys) };
    let Some(marker) = marker else {
        match &mut blocks[stream] {
            Some(block) if block.goes_on(line) => block.push(line),
            open => close(open, sink),
        }
        return;
    };
    if let Marker::Opens(format) = marker {
        match &mut blocks[stream] {
            Some(block) if block.absorbs(format, line) => block.push(line),
            open => {
                close(open, sink);
                *open = Some(Block::new(format, line));
            }
        }
        return;
    }
    if matches!(marker, Marker::Problem(_))
        && blocks[stream].as_ref().is_some_and(|block| block.format == Format::Crash)
    {
        // The exception is the problem itself.
        blocks[stream] = None;
    }
    close(&mut blocks[stream], sink);
    if matches!(marker, Marker::Answered | Marker::Rebuilt | Marker::Checked | Marker::Updated(_) | Marker::Reloaded) {
        // What the other stream told before must not come after what ends it.
        close(&mut blocks[1 - stream], sink);
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
        Marker::Checked => sink(Signal::Checked),
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
