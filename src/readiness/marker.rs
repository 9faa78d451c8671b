//! One plain line to what it means. Fitted to what Next.js 11-16, Vite 5-8, webpack and their kin print.

use super::place::{is_source, leading, number};
use super::problem::Problem;
use super::report::is_environment;
use super::signal::Ends;
use super::words::{Finder, groups};

/// Who prints a block about an error, which tells how to read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// `⨯ ./app/page.js`, `error - ./pages/index.js`.
    Next,
    /// `[vite] Internal server error: ...`, its dependency scan, esbuild's own `✘ [ERROR] ...`.
    Vite,
    /// `[vite] Error when evaluating SSR module ...`, and the 500s of kits, Astro and Nuxt.
    Page,
    /// `Failed to compile.`, `ERROR in ./src/App.js`.
    Webpack,
    /// `src/a.ts:3:5 - error TS2322: ...`, `ERROR(TypeScript)  ...`, `ERROR in src/a.tsx:3:5` with `TS2322: ...`.
    Check,
    /// A configuration file that cannot be loaded.
    Config,
    /// An exception without a mark: only some are about the project.
    Crash,
    /// A missing environment variable.
    Environment,
    /// What a deployment's own pattern opens.
    Own,
}

impl Format {
    pub(super) fn ends(self) -> Ends {
        match self {
            Self::Next | Self::Page | Self::Environment | Self::Own => Ends::Answer,
            Self::Vite => Ends::Module,
            Self::Webpack | Self::Config => Ends::Rebuilt,
            Self::Check => Ends::Checked,
            Self::Crash => Ends::Unconfirmed,
        }
    }
}

/// What one line means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Marker<'a> {
    Ready(Option<u16>),
    Listening(u16),
    Compiling,
    Compiled,
    Answered,
    Rebuilt,
    Checked(u32),
    /// The modules, comma by comma.
    Updated(&'a str),
    Reloaded,
    Problem(Problem),
    /// The first line of a block.
    Opens(Format),
    /// A line of the server's own that says nothing here but ends a block.
    Ends,
}

// Lines without any of these words mean nothing, and are not looked at twice.
groups! {
    #[expect(clippy::upper_case_acronyms, reason = "they are what the line holds")]
    Key, KEYWORDS:
    Cross = "⨯", Tick = "✓", Circle = "○", Ts = " TS", Error = "rror", ERROR = "ERROR", Failed = "ailed",
    Compil = "ompil", Local = "Local", GET = "GET ", HEAD = "HEAD ", Ok = "[200] ", Broken = "[50", Vite = "[vite] ", InUse = "in use",
    NotFound = "ot found", Expose = "to expose", Environment = "nvironment var", Title = "nvironment Var", Upper = "NVIRONMENT VAR", Short = "nv var", ShortUpper = "NV VAR", Env = "process.env",
    NoScript = "issing script: ", NoneFound = "cript not found ", NoRun = "error Command \"",
    Scan = "Failed to run dependency scan", Scans = "Failed to scan for dependencies",
    ReadyIn = "eady in ", Server = "tarted server", ReadyOn = "Ready on ", ListeningOn = "istening on ",
    ListeningAt = "istening at ", RunningOn = "unning on ", RunningAt = "unning at ", StartedOn = "tarted on ",
    StartedAt = "tarted at ", Watchers = "ENOSPC", Blocked = "locked request", Found = "Found ", Issues = "ssues found",
    View = "You can now view", Option = "nknown option",
    Argument = "nknown argument", InUseCode = "EADDRINUSE", Build = "built in",
    Json = "package.json", Reload = "page reload", Update = "hmr update", Tool = "✘", Browser = "[browser] ./",
}

impl Key {
    fn word(self) -> &'static str {
        KEYWORDS[self as usize][0]
    }
}

/// What servers say before they tell where they are.
const SAID: [Key; 7] =
    [Key::ReadyOn, Key::ListeningOn, Key::ListeningAt, Key::RunningOn, Key::RunningAt, Key::StartedOn, Key::StartedAt];
const ENVIRONMENT: [Key; 6] = [Key::Environment, Key::Title, Key::Upper, Key::Short, Key::ShortUpper, Key::Env];

static FINDER: Finder = Finder::new(KEYWORDS);

/// Which keywords a line holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Keys(u64);

impl Keys {
    pub(super) fn of(line: &[u8]) -> Self {
        let mut keys = FINDER.find(line);
        // Node names the place of an exception before it: `/app/server.js:3`.
        if line.first() == Some(&b'/') || line.starts_with(b"file://") || line.starts_with(b"node:") {
            keys |= 1 << 63;
        }
        Self(keys)
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The text after the first place where it holds the word.
    fn after(self, key: Key, text: &str) -> Option<&str> {
        self.any(&[key]).then(|| text.split_once(key.word()).map(|(_, rest)| rest))?
    }

    fn any(self, keys: &[Key]) -> bool {
        keys.iter().any(|&key| self.0 & (1 << key as u64) != 0)
    }
}

/// The text after a clock: `16:53:11 `, `4:50:05 PM `.
pub(super) fn after_clock(text: &str) -> Option<&str> {
    if !text.as_bytes().first()?.is_ascii_digit() {
        return None;
    }
    let rest = number(text)?.1.strip_prefix(':')?;
    let rest = number(rest)?.1.strip_prefix(':')?;
    let rest = number(rest)?.1.strip_prefix(' ')?;
    Some(rest.strip_prefix("AM ").or_else(|| rest.strip_prefix("PM ")).unwrap_or(rest))
}

/// What a line means, where it means anything. The line is plain; `keys` are its own.
pub(super) fn read(line: &str, keys: Keys) -> Option<Marker<'_>> {
    use Key as K;
    let text = line.trim_ascii();
    let timed = after_clock(text);
    // Errors first: a line of one kind may quote a word of another.
    let failed = keys.any(&[K::Cross, K::Error, K::ERROR, K::Failed, K::Tool, K::Browser]);
    if failed {
        if let Some(rest) = after_mark(text) {
            return Some(marked(rest, keys));
        }
        if let Some(marker) = failure(line, text, timed.unwrap_or(text), timed.is_some(), keys) {
            return Some(marker);
        }
    }
    if let Some(rest) = keys.after(K::Vite, text) {
        return Some(vite(rest));
    }
    // A failure was looked through for these already.
    if !failed && let Some(problem) = problem(text, keys) {
        return Some(Marker::Problem(problem));
    }
    if !failed && keys.any(&ENVIRONMENT) && is_environment(line) {
        return Some(Marker::Opens(Format::Environment));
    }
    if let Some(marker) = progress(text, timed, keys) {
        return Some(marker);
    }
    if keys.0 & (1 << 63) != 0 && leads_a_crash(text) {
        return Some(Marker::Opens(Format::Crash));
    }
    timed.filter(|rest| rest.starts_with('[')).map(|_| Marker::Ends)
}

/// What follows Next's mark of an error.
fn after_mark(text: &str) -> Option<&str> {
    // Next 16 prints what a page that hot reload broke says in the browser, and before the next request nothing else.
    let said = text.strip_prefix("[browser] ").filter(|said| said.starts_with("./"));
    said.or_else(|| ["⨯ ", "error - ", "- error "].iter().find_map(|mark| text.strip_prefix(mark)).map(str::trim_start))
}

/// What a line that Next marks as an error opens.
fn marked(rest: &str, keys: Keys) -> Marker<'_> {
    if rest.starts_with("Failed to load next.config") || rest.starts_with("Invalid next.config") {
        return Marker::Opens(Format::Config);
    }
    if rest.starts_with("Another ") && rest.contains("already running") || rest.starts_with("Unable to acquire lock") {
        return Marker::Problem(Problem::AlreadyRunning);
    }
    if keys.any(&[Key::InUseCode]) {
        return Marker::Problem(Problem::AddressInUse(last_port(rest)));
    }
    let first = rest.trim_start_matches('[').split([':', ' ']).next().unwrap_or(rest);
    let opens = leading(rest, true).is_some_and(|(place, _)| is_source(place.file))
        || rest.starts_with("./")
        || first.ends_with("Error")
        || first == "unhandledRejection"
        || first == "uncaughtException"
        || rest.starts_with("Module not found")
        || keys.any(&ENVIRONMENT) && is_environment(rest);
    if opens { Marker::Opens(Format::Next) } else { Marker::Ends }
}

/// A line that says, without Next's mark, that something failed.
fn failure<'a>(line: &str, text: &'a str, body: &'a str, timed: bool, keys: Keys) -> Option<Marker<'a>> {
    let opens = |format| Some(Marker::Opens(format));
    if let Some(rest) = keys.after(Key::Vite, text) {
        return Some(vite(rest));
    }
    if text.starts_with("Failed to compile") || text.ends_with("errors:") && text.contains("uild failed with ") {
        return opens(Format::Webpack);
    }
    if text.starts_with("failed to load config from") || text.starts_with("Failed to load PostCSS config") {
        return opens(Format::Config);
    }
    if keys.any(&[Key::Scan, Key::Scans]) {
        return opens(Format::Vite);
    }
    if text.starts_with("✘ [ERROR]") {
        // A configuration file is compiled by esbuild, too, and then that is what failed.
        return opens(Format::Vite);
    }
    if let Some(rest) = text.strip_prefix("ERROR in ") {
        let checked = leading(rest, false).is_some_and(|(place, _)| place.line.is_some()) && !rest.starts_with("./");
        return opens(if checked { Format::Check } else { Format::Webpack });
    }
    if let Some(rest) = text.strip_prefix("ERROR(") {
        let types = rest.starts_with("TypeScript") || rest.starts_with("vue-tsc") || rest.starts_with("VLS");
        return if types { opens(Format::Check) } else { Some(Marker::Ends) };
    }
    if timed && body.starts_with("[ERROR]") || text.starts_with("ERROR  ") {
        return opens(Format::Page);
    }
    if keys.any(&[Key::Ts]) && leading(text, false).is_some_and(|(_, rest)| rest.contains("error TS")) {
        return opens(Format::Check);
    }
    if let Some(problem) = problem(text, keys) {
        return Some(Marker::Problem(problem));
    }
    if keys.any(&ENVIRONMENT) && is_environment(line) {
        return opens(Format::Environment);
    }
    // At the margin only: an indented one is a cause within another.
    let (head, rest) = line.strip_prefix("Uncaught ").unwrap_or(line).split_once(':')?;
    let head = head.strip_suffix(']').and_then(|head| head.split_once(" [")).map_or(head, |(head, _)| head);
    let named = head.ends_with("Error") && head.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let exception = named && (rest.is_empty() || rest.starts_with(' '));
    exception.then_some(Marker::Opens(Format::Crash))
}

/// What a line of Vite means, after `[vite] `.
fn vite(rest: &str) -> Marker<'_> {
    let rest = rest.strip_prefix('(').and_then(|rest| rest.split_once(") ")).map_or(rest, |(_, rest)| rest);
    if let Some(paths) = rest.strip_prefix("hmr update ") {
        Marker::Updated(paths)
    } else if rest.starts_with("page reload") {
        Marker::Reloaded
    } else if rest.starts_with("server restarted") {
        Marker::Rebuilt
    } else if rest.starts_with("Internal server error") || rest.starts_with("Pre-transform error") {
        Marker::Opens(Format::Vite)
    } else if rest.starts_with("Error when evaluating SSR module") {
        Marker::Opens(Format::Page)
    } else if rest.starts_with("Build failed with") {
        Marker::Opens(Format::Config)
    } else {
        Marker::Ends
    }
}

/// Whether a line is the place that Node prints before an exception: `/app/server.js:3`.
fn leads_a_crash(text: &str) -> bool {
    let Some((file, line)) = text.rsplit_once(':') else { return false };
    !file.contains(' ')
        && !line.is_empty()
        && line.bytes().all(|byte| byte.is_ascii_digit())
        && (is_source(file) || file.starts_with("node:"))
}

/// Ready, compiled, answered: what a healthy server says.
fn progress<'a>(text: &'a str, timed: Option<&'a str>, keys: Keys) -> Option<Marker<'a>> {
    use Key as K;
    if keys.any(&[K::GET, K::HEAD, K::Ok, K::Broken])
        && let Some(marker) = request(timed.unwrap_or(text))
    {
        return Some(marker);
    }
    if keys.any(&[K::Compil, K::Build])
        && let Some(marker) = compiled(text)
    {
        return Some(marker);
    }
    if keys.any(&[K::Found, K::Issues])
        && let Some(marker) = checked(timed.unwrap_or(text))
    {
        return Some(marker);
    }
    if (keys.any(&[K::ReadyIn, K::View, K::Server, K::Local]) || keys.any(&SAID))
        && let Some(marker) = up(text, keys)
    {
        return Some(marker);
    }
    if keys.any(&[K::Update, K::Reload])
        && let Some(rest) = text.strip_prefix("ℹ ")
    {
        return Some(vite(rest)).filter(|marker| *marker != Marker::Ends);
    }
    keys.any(&[K::Cross, K::Tick, K::Circle]).then_some(())?;
    text.starts_with(['⨯', '✓', '○']).then_some(Marker::Ends)
}

/// `Found 2 errors.`, `[TypeScript] Found 0 errors. Watching for file changes.`, `No issues found.`
fn checked(text: &str) -> Option<Marker<'_>> {
    let text = text.strip_prefix('[').and_then(|rest| rest.split_once("] ")).map_or(text, |(_, rest)| rest);
    let text = text.trim_start_matches("- ");
    if text.starts_with("No issues found") {
        return Some(Marker::Checked(0));
    }
    let (count, rest) = number(text.strip_prefix("Found ")?)?;
    rest.starts_with(" error").then_some(Marker::Checked(count))
}

/// `GET / 200 in 305ms`, ` [200] / 19ms`, `[500] GET /`.
fn request(text: &str) -> Option<Marker<'_>> {
    if let Some(rest) = text.strip_prefix('[') {
        let (status, rest) = number(rest)?;
        let rest = rest.strip_prefix("] ")?;
        let (method, path) = rest.strip_prefix("GET ").map_or((false, rest), |path| (true, path));
        if !path.starts_with('/') {
            return None;
        }
        let page = path == "/" || path.starts_with("/ ");
        // SvelteKit prints what was thrown below its line of a 500, Astro beside it.
        return Some(match status {
            200 if page => Marker::Answered,
            500.. if method => Marker::Opens(Format::Page),
            _ => Marker::Ends,
        });
    }
    let path = text.strip_prefix("GET ").or_else(|| text.strip_prefix("HEAD "))?;
    let (path, rest) = path.split_once(' ')?;
    let (status, rest) = number(rest)?;
    if !rest.starts_with(" in ") {
        return None;
    }
    Some(if path == "/" && status == 200 { Marker::Answered } else { Marker::Ends })
}

fn compiled(text: &str) -> Option<Marker<'_>> {
    let body = text.trim_start_matches(['-', '✓', '✔', '○', ' ']);
    let next = body.len() < text.len();
    if body.starts_with("Compiling")
        || text.starts_with("wait") && text.contains("ompiling")
        || body.starts_with("wait compiling")
    {
        return Some(Marker::Compiling);
    }
    if text.starts_with("webpack") && text.contains("ompiled") {
        return Some(if text.contains("rror") { Marker::Ends } else { Marker::Rebuilt });
    }
    let done = body.strip_prefix("DONE").map_or(body, str::trim_start);
    if !next && (done.starts_with("Compiled successfully") || done.starts_with("Compiled with warnings")) {
        return Some(Marker::Rebuilt);
    }
    let timed = body.starts_with("Compiled ") && (body.contains(" in ") || body.starts_with("Compiled in "));
    let compiled =
        timed || body.contains("ompiled") && body.contains("successfully") || body.contains("server built in");
    compiled.then_some(Marker::Compiled)
}

/// The lines by which servers say that they are up, and where.
fn up(text: &str, keys: Keys) -> Option<Marker<'_>> {
    use Key as K;
    let timed = keys.after(K::ReadyIn, text).is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()));
    if timed || keys.any(&[K::View]) && text.starts_with(K::View.word()) {
        return Some(Marker::Ready(None));
    }
    if keys.any(&[K::Server]) {
        return Some(Marker::Ready(url_port(text)));
    }
    let local = text.trim_start_matches(['➜', '┃', '-', '>', ' ']);
    if let Some(rest) = local.strip_prefix("Local") {
        let port = rest.trim_start_matches([':', ' ']).strip_prefix("http").and_then(url_port)?;
        return Some(if text.starts_with('➜') { Marker::Ready(Some(port)) } else { Marker::Listening(port) });
    }
    let rest = SAID.iter().find_map(|said| keys.after(*said, text))?;
    let rest = rest.trim_start_matches(':').trim_start();
    let port = rest.strip_prefix("port ").map(|rest| rest.trim_start_matches([':', ' ']));
    let port = port.and_then(|rest| number(rest)?.0.try_into().ok());
    let port = port.or_else(|| rest.strip_prefix("http").and_then(url_port))?;
    Some(Marker::Ready(Some(port)))
}

/// The port of the first `host:port` in the text.
fn url_port(text: &str) -> Option<u16> {
    text.match_indices(':').find_map(|(at, _)| number(&text[at + 1..])?.0.try_into().ok())
}

fn last_port(text: &str) -> Option<u16> {
    text.rsplit(':').find_map(|rest| number(rest)?.0.try_into().ok())
}

/// A problem of the environment.
fn problem(text: &str, keys: Keys) -> Option<Problem> {
    use Key as K;
    if keys.any(&[K::InUse, K::InUseCode]) {
        if text.contains("EADDRINUSE") && text.contains("address already in use") {
            return Some(Problem::AddressInUse(last_port(text)));
        }
        if let Some((wanted, rest)) = text.split_once("Port ").and_then(|(_, rest)| number(rest))
            && rest.contains("in use")
            && let Ok(wanted) = wanted.try_into()
        {
            let used = rest
                .split_once("port ")
                .or_else(|| rest.split_once("trying "))
                .and_then(|(_, rest)| number(rest)?.0.try_into().ok());
            return Some(if used.is_some() || rest.contains("another") {
                Problem::PortMoved { wanted, used }
            } else {
                Problem::AddressInUse(Some(wanted))
            });
        }
    }
    // Create React App asks whether to take another port, and nobody is there to answer.
    if keys.any(&[K::RunningOn])
        && let Some(rest) = text.split_once("Something is already running on port ").map(|(_, rest)| rest)
    {
        return Some(Problem::AddressInUse(number(rest).and_then(|(port, _)| port.try_into().ok())));
    }
    if keys.any(&[K::Expose]) && text.contains("--host to expose") {
        return Some(Problem::LocalhostOnly);
    }
    if keys.any(&[K::NoScript, K::NoneFound, K::NoRun, K::NotFound])
        && let Some(problem) = missing(text, keys)
    {
        return Some(problem);
    }
    if keys.any(&[K::Json]) && text.contains("package.json") {
        let npm = text.contains("Could not read package.json") || text.contains("ENOENT") && text.contains("open '");
        if npm || text.contains("No package.json") || text.contains("find a package.json") {
            return Some(Problem::NoPackageJson);
        }
    }
    if keys.any(&[K::Option, K::Argument]) {
        let rest = text.split_once("nknown option").or_else(|| text.split_once("nknown argument"));
        let (before, rest) = rest?;
        let head = before.len() < 24 && !before.contains('`');
        let option =
            rest.trim_start_matches([':', 's', ' ']).split(['\'', '`', '"', ' ']).find(|part| !part.is_empty())?;
        if head && !option.contains('$') {
            return Some(Problem::UnknownOption(option.to_owned()));
        }
    }
    if keys.any(&[K::Watchers]) && text.contains("watch") {
        return Some(Problem::NoWatchers);
    }
    if keys.any(&[K::Blocked]) && text.contains("locked request. This host") {
        let host = text.split('"').nth(1).unwrap_or_default();
        return Some(Problem::RefusedHost(host.to_owned()));
    }
    None
}

/// `npm error Missing script: "dev"`, `sh: 1: next: not found`, `bash: next: command not found`.
fn missing(text: &str, keys: Keys) -> Option<Problem> {
    for key in [Key::NoScript, Key::NoneFound, Key::NoRun] {
        if let Some(rest) = keys.after(key, text) {
            let name = rest.trim_start_matches('"').split('"').next().unwrap_or(rest);
            return Some(Problem::NoScript(name.to_owned()));
        }
    }
    let before = text.strip_suffix(": not found").or_else(|| text.strip_suffix(": command not found"))?;
    let (shell, command) = before.rsplit_once(": ")?;
    let shell = shell.split(':').next().unwrap_or(shell).rsplit('/').next().unwrap_or(shell);
    ["sh", "bash", "ash", "dash"].contains(&shell).then(|| Problem::NoCommand(command.to_owned()))
}
