//! Reads a report line by line.

use super::super::place::{Place, anywhere, in_project, is_foreign, is_source, leading, number};
use super::super::stacks::shared::environment;
use super::super::tables::{ASIDES, HEADLINES, KIND_WORDS, KindWord};
use super::super::words::Prefixes;
use super::frame::{Frame, FrameLine};
use super::message::{body, names_an_error, strip, without_position};

/// What was read of a report so far.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct ReportParser<'a> {
    /// The place that the report states, with its position if it states that, too.
    pub(super) stated: Option<Place<'a>>,
    /// A position that was stated before any file.
    position: Option<(u32, Option<u32>)>,
    pub(super) frame: Frame<'a>,
    /// The first call of the stack trace that is in the project.
    pub(super) call: Option<Place<'a>>,
    /// A stack trace was seen.
    pub(super) called: bool,
    /// The module that Vite could not evaluate.
    module: Option<&'a str>,
    /// The file that holds the import that leads nowhere.
    importer: Option<&'a str>,
    pub(super) message: Option<&'a str>,
    /// What follows the place in the line that is being read calls itself an error.
    named: bool,
    /// A line that says that something failed, but not what.
    pub(super) headline: Option<&'a str>,
    /// The bits of [`KindWord`] in the lines that are neither code nor stack trace.
    pub(super) words: u128,
    /// What follows is the stack of the tool, not of the error.
    ended: bool,
    /// A line says that an environment variable is missing or invalid.
    pub(super) environment: bool,
}

/// How a line of a stack trace starts.
static CALL: Prefixes = Prefixes::new(&["at ", "⁃ "]);

impl<'a> ReportParser<'a> {
    /// Reads the next line. `strict`: only a line that calls itself an error can be the message.
    pub(super) fn line(&mut self, line: &'a str, strict: bool) {
        let mut text = line.trim_ascii();
        // Rspack draws an arrow from an error to its cause.
        text = text.strip_prefix("╰─▶").map_or(text, str::trim_ascii_start);
        let Some(&first) = text.as_bytes().first() else { return };
        if let Some(call) = CALL.strip(text) {
            self.call(call);
            return;
        }
        // Vite's stack of a browser: ` > onClick src/App.jsx:13:69`.
        if first == b'>'
            && let Some(call) = text.strip_prefix("> ").filter(|call| !call.starts_with(|c: char| c.is_ascii_digit()))
            && anywhere(call).is_some()
        {
            self.call(call);
            return;
        }
        match self.frame.read(line, text, first) {
            FrameLine::Other => {}
            FrameLine::Inside => return,
            FrameLine::Head(place) => {
                self.state(place);
                return;
            }
        }
        if let Some(file) = text.strip_prefix("File:").or_else(|| text.strip_prefix("FILE ")) {
            // Rsbuild says `1:1` for every module: the frame knows.
            if let Some((place, _)) = leading(file.trim(), true) {
                let unknown = (place.line, place.column) == (Some(1), Some(1));
                self.name(if unknown { Place::of(place.file) } else { place });
            }
            return;
        }
        if self.property(text) {
            return;
        }
        let words = KIND_WORDS.find(text.as_bytes());
        self.words |= words;
        self.environment |= words & KindWord::Environment.bit() != 0 && environment::is_missing(text);
        if self.is_whole() || ASIDES.start(text.as_bytes()) {
            return;
        }
        if let Some(body) = self.places(text, strict) {
            self.text(text, body, strict);
        }
    }

    /// The message and the position are known.
    pub(super) fn is_whole(&self) -> bool {
        self.message.is_some() && self.stated.is_some_and(|stated| stated.line.is_some())
    }

    /// Reads a line of a stack trace.
    #[inline]
    fn call(&mut self, call: &'a str) {
        self.called = true;
        if !self.ended
            && self.call.is_none()
            && self.stated.is_none_or(|stated| stated.line.is_none())
            && !is_foreign(call)
        {
            self.call = anywhere(call).filter(|place| in_project(place.file).is_some());
        }
    }

    /// Reads the places that a line states. Gives the rest of the line. None: the line says nothing else.
    #[inline]
    fn places(&mut self, text: &'a str, strict: bool) -> Option<&'a str> {
        let mut body = body(text);
        self.named = false;
        let evaluating = body.strip_prefix("Error when evaluating SSR module");
        if let Some((module, rest)) = evaluating.and_then(|rest| rest.trim_start().split_once(": ")) {
            self.module = Some(module).filter(|module| is_source(module));
            body = strip(rest);
        }
        // ESLint prints the position below the file: `Line 2:9:  ...`.
        if let Some((line, rest)) = text.strip_prefix("Line ").and_then(number) {
            self.state_position(line, rest.strip_prefix(':').and_then(number).map(|(column, _)| column));
        }
        if let Some((place, rest)) = leading(body, true)
            && (is_path(place.file) || place.line.is_some())
        {
            if place.line.is_none() && self.headline.is_some_and(|headline| headline.ends_with("from entries:")) {
                return None;
            }
            // webpack counts lines in what its loaders made of the module: `./src/App.js 4:0-29`.
            let transformed = rest.starts_with('-') && rest[1..].starts_with(|c: char| c.is_ascii_digit());
            self.state(if transformed { Place::of(place.file) } else { place });
            let rest = rest.trim_start_matches(['-', '—', ':', ' ', ',']);
            self.named = strict && names_an_error(rest);
            if rest.starts_with("@ ") {
                return None;
            }
            // webpack names the loaders: `./src/App.vue?vue&type=script (./node_modules/babel-loader/...)`.
            body =
                if rest.starts_with("(./") { "" } else { strip(rest.trim_start_matches(|c: char| c.is_ascii_digit())) };
        }
        let (body, position) = without_position(body);
        if let Some((line, column)) = position {
            self.state_position(line, column);
        }
        Some(body)
    }

    /// Reads what a line says beside places.
    #[inline]
    fn text(&mut self, text: &'a str, body: &'a str, strict: bool) {
        if body.is_empty()
            || body.starts_with("http")
            || body.starts_with(['{', '}', ']'])
            || body.starts_with('[') && body.ends_with(']')
        {
            return;
        }
        // A tool that gives it a code says what failed: `[TSCONFIG_ERROR] Failed to load tsconfig ...`.
        let coded = text.starts_with('[') && names_an_error(text);
        if let Some(rest) = HEADLINES.strip(body).filter(|_| !coded) {
            self.headline.get_or_insert(body);
            let file = rest.trim_start_matches([':', ' ', '"', '\'']).split(['"', '\'']).next().unwrap_or(rest);
            if let Some((place, _)) = leading(file, true) {
                self.state(place);
            }
        } else if !strict || self.named || names_an_error(text) {
            self.message.get_or_insert(body);
        }
        if self.importer.is_none() && self.words & KindWord::Missing.bit() != 0 {
            self.importer = importer(text);
        }
    }

    /// Takes a place that the report states. The first one counts; a later one can add its position.
    fn state(&mut self, place: Place<'a>) {
        if is_foreign(place.file) {
            return;
        }
        match self.stated {
            None => self.name(place),
            Some(stated) if same_file(stated.file, place.file) => {
                if let Some(line) = place.line {
                    self.state_position(line, place.column);
                }
            }
            Some(_) => {}
        }
    }

    /// Takes the place of a line that says nothing else: it counts more than one that a message holds.
    fn name(&mut self, place: Place<'a>) {
        let stated = self.stated.take();
        self.stated = Some(place);
        let position = stated.and_then(|stated| Some((stated.line?, stated.column))).or(self.position);
        if let Some((line, column)) = position {
            self.state_position(line, column);
        }
    }

    /// Reads a property of an exception that was printed as an object: `id: '/app/src/routes/index.jsx',`,
    /// `loc: Position { line: 4, column: 22 },`. What comes after its cause is of the tool.
    fn property(&mut self, text: &'a str) -> bool {
        if let Some(id) = text.strip_prefix("id: '") {
            let file = id.split('\'').next().unwrap_or(id);
            if in_project(file).is_some() {
                self.name(Place::of(file));
            }
            return true;
        }
        if let Some(position) = text.strip_prefix("loc: ") {
            let value = |name: &str| position.split_once(name).and_then(|(_, rest)| number(rest));
            if let Some((line, _)) = value("line: ") {
                self.state_position(line, value("column: ").map(|(column, _)| column));
            }
            return true;
        }
        if text.starts_with("runnerError: ") {
            self.ended = true;
        }
        self.ended
    }

    /// Takes the position in the file that was stated before, where it has none yet; without a file, in the next one.
    fn state_position(&mut self, line: u32, column: Option<u32>) {
        if self.stated.is_none() {
            self.position.get_or_insert((line, column));
        }
        if let Some(stated) = self.stated.as_mut().filter(|stated| stated.line.is_none()) {
            (stated.line, stated.column) = (Some(line), column);
        }
    }

    /// The place of the error: what was stated, else the frame of code, else the first call in the project.
    pub(super) fn place(&self) -> Option<Place<'a>> {
        let Frame { file, marked, caret, .. } = self.frame;
        let mut place = self
            .stated
            .or_else(|| file.or(self.importer).map(Place::of))
            .or(self.call)
            .or_else(|| self.module.map(|module| Place::of(module.trim_start_matches('/'))))?;
        if place.line.is_none() {
            if let Some((line, column)) = caret.map(|(line, column)| (line.or(marked), column)) {
                (place.line, place.column) = (line, line.map(|_| column));
            } else if let Some(call) = self.call.filter(|call| same_file(call.file, place.file)) {
                place = call;
            } else {
                place.line = marked;
            }
        } else if place.column.is_none()
            && let Some((None, column)) = caret
        {
            place.column = Some(column);
        }
        Some(place)
    }
}

/// The file that holds an import: `... from "src/App.jsx". Does the file exist?`, `... imported from '/app/a.js'`.
fn importer(text: &str) -> Option<&str> {
    let rest = text.split_once(" from \"").or_else(|| text.split_once(" from '")).map(|(_, rest)| rest);
    let rest = rest.or_else(|| text.split_once("imported from ").map(|(_, rest)| rest));
    // `(resolved id: ./gone) in /app/app/routes/home.jsx. Does the file exist?`
    let rest = rest.or_else(|| text.split_once(") in ").map(|(_, rest)| rest))?;
    let file = rest.split(['"', '\'', ' ']).next()?.trim_end_matches('.');
    in_project(file).map(|_| file)
}

fn same_file(one: &str, other: &str) -> bool {
    in_project(one).unwrap_or(one) == in_project(other).unwrap_or(other)
}

fn is_path(word: &str) -> bool {
    word.contains('/') || is_source(word)
}
