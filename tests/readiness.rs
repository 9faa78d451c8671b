//! The output of real dev servers (`tests/data/dev-servers`), split anywhere, through the pure readiness.
//! `<stack>.log` is healthy, `<stack>-error.log` has a page broken from the start, `<stack>-hot.log` was broken and
//! mended; the other names say what was broken. Some have the engine's timestamps.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::collections::BTreeMap;

use kosuke_docker::preview::{CompileError, ErrorKind};
use kosuke_docker::readiness::{Classifier, ClearedBy, Patterns, Problem, Readiness, Signal};
use proptest::prelude::*;

/// Each log without the engine's timestamps.
fn logs() -> BTreeMap<String, Vec<u8>> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/dev-servers");
    let mut logs = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let raw = std::fs::read(&path).unwrap();
        let plain = raw.split_inclusive(|&byte| byte == b'\n').flat_map(without_timestamp);
        logs.insert(path.file_stem().unwrap().to_str().unwrap().to_owned(), plain.copied().collect());
    }
    assert!(logs.len() > 80);
    logs
}

fn without_timestamp(line: &[u8]) -> &[u8] {
    let stamped = line.len() > 30 && line[..4].is_ascii() && &line[10..11] == b"T" && line[30] == b' ';
    if stamped { &line[31..] } else { line }
}

fn signals(chunks: &[(bool, &[u8])]) -> Vec<Signal> {
    let mut classifier = Classifier::new(Patterns::default());
    let mut signals = Vec::new();
    for (stderr, bytes) in chunks {
        classifier.push(*stderr, bytes, &mut |signal| signals.push(signal));
    }
    classifier.flush(&mut |signal| signals.push(signal));
    assert!(!classifier.is_open());
    signals
}

fn readiness(signals: Vec<Signal>) -> Readiness {
    let mut readiness = Readiness::default();
    for signal in signals {
        readiness.signal(signal);
    }
    readiness
}

fn read(text: &str) -> Readiness {
    readiness(signals(&[(false, text.as_bytes())]))
}

#[test]
fn an_answer_that_is_as_before_changes_nothing() {
    let mut found = 0;
    for log in logs().values() {
        let mut readiness = Readiness::default();
        for signal in signals(&[(false, log)]) {
            readiness.signal(signal);
            for status in [200, 404, 500] {
                let mut answered = readiness.clone();
                answered.answer(status, readiness.mark());
                let as_before = readiness.is_answered_as_before(status);
                assert!(!as_before || answered == readiness);
                found += usize::from(as_before);
            }
            readiness.answer(200, readiness.mark());
        }
    }
    assert!(found > 100);
}

/// Every error that was ever told, each once, as `kind file:line:column`.
fn told(log: &[u8]) -> Vec<String> {
    let mut readiness = Readiness::default();
    for signal in signals(&[(false, log)]) {
        if let Signal::Error(error, ends) = signal {
            readiness
                .signal(Signal::Error(error, if ends == ClearedBy::Unconfirmed { ends } else { ClearedBy::Answer }));
        }
    }
    readiness.answer(500, 0);
    readiness.errors().iter().map(place).collect()
}

fn place(error: &CompileError) -> String {
    let number = |number: Option<u32>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    let file = error.file.as_deref().unwrap_or("-");
    format!("{} {file}:{}:{}", error.kind.as_str(), number(error.line), number(error.column))
}

/// What stands in a log that it told of nothing wrong.
const HEALTHY: &[&str] = &[
    "astro5",
    "cra5",
    "next11",
    "next12",
    "next13",
    "next13.4",
    "next15",
    "next16",
    "next16-webpack",
    "vite5",
    "vite8",
];

/// The log, the errors that it tells of, whether one stands at its end, and words of the hint.
type Row = (&'static str, &'static [&'static str], bool, &'static str);

#[rustfmt::skip]
const TABLE: &[Row] = &[
    ("astro5-error", &["syntax src/pages/index.astro:2:10"], true, ""),
    ("astro5-hot", &["syntax src/pages/index.astro:2:10"], false, ""),
    ("astro5-localhost", &[], false, "--host 0.0.0.0"),
    ("astro5-missing", &["module_not_found src/pages/index.astro:-:-"], false, ""),
    ("astro5-runtime", &["runtime src/pages/index.astro:3:22"], false, ""),
    ("cra5-error", &["syntax src/App.js:1:59"], true, ""),
    ("cra5-hot", &["syntax src/App.js:1:59"], false, ""),
    ("cra5-missing", &["module_not_found src/App.tsx:1:15"], false, ""),
    ("cra5-syntax", &["syntax src/App.tsx:2:22"], false, ""),
    ("cra5-types", &["type src/App.tsx:2:9"], false, ""),
    ("edge-next15-badconfig", &["config next.config.js:1:20"], true, ""),
    ("edge-next15-modulenotfound", &["module_not_found app/page.js:1:1"], true, "npm install nope-missing"),
    ("edge-next15-nodevscript", &[], false, "no script \"dev\""),
    ("edge-next15-nonodemodules", &[], false, "npm install"),
    ("edge-next15-portinuse", &[], false, "Port 3000 is taken"),
    ("edge-next15-portinuse-noPORT", &[], false, "moved to port 3001"),
    ("edge-next15-runtimeerror", &["runtime app/page.js:1:40"], true, ""),
    ("edge-next15-tty", &[], false, ""),
    ("edge-next16-CI", &[], false, ""),
    ("edge-nopackagejson", &[], false, "no package.json"),
    ("edge-vite7-tty", &[], false, ""),
    ("next11-error", &["syntax pages/index.js:1:59"], true, ""),
    ("next11-hot", &["syntax pages/index.js:1:59"], true, ""),
    ("next12-error", &["syntax pages/index.js:1:60"], true, ""),
    ("next12-hot", &["syntax pages/index.js:1:60"], true, ""),
    ("next13-error", &["syntax app/page.js:1:60"], true, ""),
    ("next13-hot", &["syntax app/page.js:1:60"], true, ""),
    ("next13.4-error", &["syntax app/page.js:1:60"], true, ""),
    ("next13.4-hot", &["syntax app/page.js:1:60"], true, ""),
    ("next14-missing", &["module_not_found app/page.js:1:1"], false, ""),
    ("next14-runtime", &["runtime app/page.js:3:21"], false, ""),
    ("next14-t3env", &["environment app/page.js:12:74"], true, "DATABASE_URL"),
    ("next15-build", &["type app/page.tsx:2:9"], true, ""),
    ("next15-configmissing", &["config next.config.mjs:-:-"], true, "npm install nope-missing"),
    ("next15-css", &["syntax app/bad.css:1:1"], true, ""),
    ("next15-error", &["syntax app/page.js:1:60"], true, ""),
    ("next15-hot", &["syntax app/page.js:1:60"], false, ""),
    ("next15-missing", &["module_not_found app/page.js:1:1"], false, ""),
    ("next15-turbopack-syntax", &["syntax app/page.js:2:15"], false, ""),
    ("next15-unknownoption", &[], false, "`--host`"),
    ("next15-useclient", &["unknown app/page.js:1:10"], true, ""),
    ("next16-badconfig", &["config next.config.js:-:-"], true, ""),
    ("next16-browser", &["syntax app/page.js:2:23"], false, ""),
    ("next16-build", &["type app/page.tsx:2:9"], true, ""),
    ("next16-configts", &["config next.config.ts:1:10"], true, ""),
    ("next16-env", &["environment app/page.js:2:17"], true, "DATABASE_URL"),
    ("next16-error", &["syntax app/page.js:1:60"], true, ""),
    ("next16-hot", &["syntax app/page.js:1:60"], false, ""),
    ("next16-lock", &[], false, ".next/dev/lock"),
    ("next16-missing", &["module_not_found app/page.js:2:1", "module_not_found app/page.js:1:1"], false, ""),
    ("next16-runtime", &["runtime app/page.js:3:21"], false, ""),
    ("next16-t3env", &["environment app/page.js:3:22"], true, "DATABASE_URL"),
    ("next16-webpack-error", &["syntax app/page.js:1:60"], true, ""),
    ("next16-webpack-hot", &["syntax app/page.js:1:60"], false, ""),
    ("next16-webpack-missing", &["module_not_found app/page.js:1:1"], false, ""),
    ("nuxt3-hot", &["syntax app.vue:2:13"], false, ""),
    ("nuxt3-missing", &["module_not_found app.vue:2:15"], true, "npm install nope-missing"),
    ("nuxt3-syntax", &["syntax app.vue:2:10"], true, ""),
    ("react-router7-missing", &["module_not_found app/routes/home.jsx:-:-"], true, "npm install nope-missing"),
    ("react-router7-runtime", &["runtime app/routes/home.jsx:3:26"], false, ""),
    ("react-router7-syntax", &["syntax app/routes/home.jsx:2:22"], true, ""),
    ("sveltekit2-missing", &["module_not_found src/routes/+page.svelte:-:-"], true, "npm install nope-missing"),
    ("sveltekit2-runtime", &["runtime src/routes/+page.svelte:3:22"], true, ""),
    ("sveltekit2-syntax", &["syntax src/routes/+page.svelte:2:10"], true, ""),
    ("tsc", &["type src/App.tsx:2:9", "type src/App.tsx:3:9"], true, ""),
    ("tsc-watch", &["type src/App.tsx:2:9", "type src/App.tsx:3:9"], false, ""),
    ("vite5-error", &["syntax src/App.jsx:1:59"], true, ""),
    ("vite5-hot", &["syntax src/App.jsx:1:59"], false, ""),
    ("vite7-badconfig", &["config vite.config.js:1:245"], true, ""),
    ("vite7-checker", &["type src/App.tsx:2:9", "type src/App.tsx:3:9"], false, ""),
    ("vite7-confighot", &["config vite.config.js:1:245"], false, ""),
    ("vite7-localhost", &[], false, "--host 0.0.0.0"),
    ("vite7-missing", &["module_not_found src/App.jsx:-:-", "module_not_found src/App.jsx:2:14"], false, ""),
    ("vite7-otherport", &[], false, ""),
    ("vite7-portinuse", &[], false, "moved to port 3221"),
    ("vite7-syntax", &["syntax src/App.jsx:2:22"], false, ""),
    ("vite7-unknownoption", &[], false, "`-H`"),
    ("vite8-error", &["syntax src/App.jsx:1:60"], true, ""),
    ("vite8-hot", &["syntax src/App.jsx:1:60"], false, ""),
    ("vite8-missing", &["module_not_found src/App.jsx:1:14"], false, ""),
];

#[test]
fn every_capture_tells_what_is_wrong_where() {
    let logs = logs();
    for name in logs.keys() {
        assert!(HEALTHY.contains(&name.as_str()) || TABLE.iter().any(|row| row.0 == name), "{name} is in no table");
    }
    for (name, errors, stands, hint) in TABLE {
        let log = &logs[*name];
        assert_eq!(told(log), *errors, "{name}");
        let readiness = readiness(signals(&[(false, log)]));
        assert_eq!(readiness.has_error(), *stands, "{name}: {:?}", readiness.errors());
        let told = readiness.hint();
        match *hint {
            "" => assert_eq!(told, None, "{name}"),
            words => assert!(told.as_ref().is_some_and(|told| told.contains(words)), "{name}: {told:?}"),
        }
    }
}

#[test]
fn columns_count_as_the_dev_server_counts_them() {
    // The same page in every capture, broken at its first semicolon: Babel and esbuild count from 0, the others from 1.
    let page = "export default function Home() { return <h1>Hello world</h1; }";
    let from_0 = u32::try_from(page.find(';').unwrap()).unwrap();
    let babel_and_esbuild = ["cra5-error", "next11-error", "vite5-error"].map(|name| (name, from_0));
    let swc_and_oxc = ["next12-error", "next15-error", "next16-error", "vite8-error"].map(|name| (name, from_0 + 1));
    let logs = logs();
    for (name, column) in babel_and_esbuild.into_iter().chain(swc_and_oxc) {
        let errors: Vec<_> = signals(&[(false, &logs[name])])
            .into_iter()
            .filter_map(|signal| if let Signal::Error(error, _) = signal { Some(error) } else { None })
            .collect();
        assert!(errors.iter().any(|error| error.raw.contains(page)), "{name}");
        for CompileError { line, column: told, .. } in errors {
            assert_eq!((line, told), (Some(1), Some(column)), "{name}");
        }
    }
}

#[test]
fn messages_are_plain_sentences() {
    for (name, log) in logs() {
        for signal in signals(&[(false, &log)]) {
            let Signal::Error(error, _) = signal else { continue };
            let CompileError { message, raw, .. } = &error;
            assert!(message.chars().filter(|letter| letter.is_alphabetic()).count() > 3, "{name}: {message:?}");
            assert!(!message.contains("Build failed") && !message.starts_with("Error"), "{name}: {message:?}");
            assert!(!message.contains('\n') && !raw.contains('\u{1b}'), "{name}: {message:?}");
            assert!(raw.lines().count() <= 64 && raw.len() <= 8 * 1024 && !raw.is_empty(), "{name}");
        }
    }
}

#[test]
fn healthy_servers_are_up_and_complete_once_they_answer() {
    for name in HEALTHY {
        let mut readiness = readiness(signals(&[(false, &logs()[*name])]));
        assert!(readiness.is_up() && !readiness.has_error() && readiness.hint().is_none(), "{name}");
        readiness.answer(200, readiness.mark());
        assert!(readiness.is_complete(), "{name}");
    }
}

#[test]
fn broken_pages_are_not_complete_however_they_are_split() {
    for (name, log) in logs().into_iter().filter(|(name, _)| name.ends_with("-error")) {
        let whole = signals(&[(false, &log)]);
        for length in [1, 7, 64] {
            let chunks: Vec<(bool, &[u8])> = log.chunks(length).map(|chunk| (false, chunk)).collect();
            assert_eq!(signals(&chunks), whole, "{name} in chunks of {length}");
        }
        let mut readiness = readiness(whole);
        readiness.answer(500, readiness.mark());
        assert!(readiness.has_error() && !readiness.is_complete(), "{name}");
    }
}

#[test]
fn mended_pages_are_complete_after_the_next_good_answer() {
    for (name, log) in logs().into_iter().filter(|(name, _)| name.ends_with("-hot")) {
        let mut readiness = readiness(signals(&[(false, &log)]));
        readiness.answer(200, readiness.mark());
        assert!(readiness.is_complete(), "{name}");
    }
}

#[test]
fn a_good_answer_of_the_page_does_not_end_what_it_does_not_show() {
    for name in ["cra5-error", "vite5-error", "vite8-error", "tsc", "vite7-badconfig"] {
        let mut readiness = readiness(signals(&[(false, &logs()[name])]));
        readiness.answer(200, readiness.mark());
        assert!(readiness.has_error() && !readiness.is_complete(), "{name}");
    }
}

#[test]
fn nuxt_answers_a_broken_page_with_the_last_good_one() {
    let log = logs()["nuxt3-hot"].clone();
    let fix = String::from_utf8_lossy(&log).find("ℹ hmr update").unwrap();
    let mut readiness = readiness(signals(&[(false, &log[..fix])]));
    let places: Vec<_> = readiness.errors().iter().map(place).collect();
    assert_eq!(places, ["syntax app.vue:2:13"]);
    readiness.answer(200, readiness.mark());
    assert!(readiness.has_error());
    assert_eq!(readiness.broken_module(), Some("/_nuxt/app.vue"));
    readiness.module_answer(404, readiness.mark());
    readiness.signal(Signal::Updated(None));
    assert!(readiness.has_error());
    let mut asked = readiness.clone();
    asked.module_answer(200, asked.mark());
    assert!(!asked.has_error());
    for signal in signals(&[(false, &log[fix..])]) {
        readiness.signal(signal);
    }
    assert!(!readiness.has_error());
    // A server that never had a good page answers with a 500 for as long as it is broken.
    let mut readiness = self::readiness(signals(&[(false, &log[..fix])]));
    readiness.answer(500, readiness.mark());
    readiness.answer(200, readiness.mark());
    assert!(readiness.is_complete());
}

#[test]
fn ports_are_told() {
    for (name, port) in
        [("next11", 3000), ("next16", 3000), ("vite7-otherport", 5173), ("edge-next15-portinuse-noPORT", 3001)]
    {
        let mut readiness = readiness(signals(&[(false, &logs()[name])]));
        assert_eq!(readiness.port(), Some(port), "{name}");
        readiness.expect_port(3000);
        assert_eq!(readiness.hint().is_some(), port != 3000, "{name}");
    }
}

fn only(text: &str) -> CompileError {
    let readiness = read(text);
    assert_eq!(readiness.errors().len(), 1, "{text:?}: {:?}", readiness.errors());
    readiness.errors()[0].clone()
}

#[track_caller]
fn assert_error(text: &str, kind: ErrorKind, position: &str, message: &str) {
    let error = only(text);
    assert_eq!(place(&error), format!("{} {position}", kind.as_str()), "{text:?}");
    assert_eq!(error.message, message, "{text:?}");
}

#[test]
fn tsc_in_both_spellings() {
    let message = "Type 'string' is not assignable to type 'number'.";
    assert_error(
        "src/a.ts:3:5 - error TS2322: Type 'string' is not assignable to type 'number'.\n\n3   x\n    ~\n",
        ErrorKind::Type,
        "src/a.ts:3:5",
        message,
    );
    assert_error(
        "src/a.ts(3,5): error TS2322: Type 'string' is not assignable to type 'number'.\n",
        ErrorKind::Type,
        "src/a.ts:3:5",
        message,
    );
    assert_error(
        "ERROR in src/App.tsx:3:5\nTS2322: Type 'string' is not assignable to type 'number'.\n",
        ErrorKind::Type,
        "src/App.tsx:3:5",
        message,
    );
    assert_error("src/a.ts(1,9): error TS1005: ',' expected.\n", ErrorKind::Syntax, "src/a.ts:1:9", "',' expected.");
}

#[test]
fn webpack_names_the_module_but_not_the_line_that_its_loaders_moved() {
    assert_error(
        "Failed to compile.\n\nModule not found: Error: Can't resolve 'nope' in '/app/src'\n\
         ERROR in ./src/App.js 3:0-24\nModule not found: Error: Can't resolve 'nope' in '/app/src'\n\nwebpack compiled with 1 error\n",
        ErrorKind::ModuleNotFound,
        "src/App.js:-:-",
        "Module not found: Can't resolve 'nope'",
    );
}

#[test]
fn prisma_without_its_variable() {
    let text = "Error: Prisma schema validation - (get-config wasm)\nError code: P1012\n\
                error: Environment variable not found: DATABASE_URL.\n  -->  prisma/schema.prisma:7\n   | \n \
                6 |   provider = \"postgresql\"\n 7 |   url      = env(\"DATABASE_URL\")\n   | \n\nValidation Error Count: 1\n";
    let readiness = read(text);
    assert!(readiness.errors().iter().any(|error| error.kind == ErrorKind::Environment
        && error.message == "Environment variable not found: DATABASE_URL."));
    assert!(readiness.hint().is_some_and(|hint| hint.contains("DATABASE_URL")));
}

#[test]
fn missing_variables_in_many_words() {
    for text in [
        "Error: Missing required environment variable DATABASE_URL",
        "⨯ Error: STRIPE_KEY is not defined in process.env",
        "Error: Environment variable not found: DATABASE_URL",
        "❌ Invalid environment variables: { DATABASE_URL: [ 'Required' ] }",
        "Uncaught Error: The environment variable API_KEY must be set",
        " ⨯ Error: ❌ Attempted to access a server-side environment variable on the client",
    ] {
        assert_eq!(only(&format!("{text}\n")).kind, ErrorKind::Environment, "{text}");
    }
    for text in ["Loaded environment variables from .env", "- Environments: .env.local", "NODE_ENV is development"] {
        assert!(!read(&format!("{text}\n")).has_error(), "{text}");
    }
}

#[test]
fn next_before_13_5() {
    assert_error(
        "error - ./pages/index.js:1:59\nSyntax error: Unexpected token (1:59)\n\n> 1 | x\n    | ^\n",
        ErrorKind::Syntax,
        "pages/index.js:1:59",
        "Unexpected token",
    );
    assert_error(
        "error - pages/index.js (3:8) @ Home\nerror - Error: boom\n    at Home (webpack-internal:///./pages/index.js:9:9)\n",
        ErrorKind::Runtime,
        "pages/index.js:3:8",
        "boom",
    );
    assert_error(
        "- error ./app/page.js:2:0\nModule not found: Can't resolve './gone'\n",
        ErrorKind::ModuleNotFound,
        "app/page.js:2:0",
        "Module not found: Can't resolve './gone'",
    );
}

#[test]
fn a_process_that_ends_with_an_exception_of_the_project() {
    assert_error(
        "/app/server.js:3\nthrow new Error('boom');\n^\n\nError: boom\n    at Object.<anonymous> (/app/server.js:3:7)\n    at node:internal/main/run_main_module:28:49\n\nNode.js v20.20.2\n",
        ErrorKind::Runtime,
        "server.js:3:1",
        "boom",
    );
    // A caught one is told of only once the page fails.
    let mut caught = read("Error: boom\n    at Home (/app/app/routes/home.jsx:3:26)\n");
    assert!(!caught.has_error());
    caught.answer(500, caught.mark());
    assert_eq!(place(&caught.errors()[0]), "runtime app/routes/home.jsx:3:26");
    caught.answer(200, caught.mark());
    assert!(caught.is_complete());
}

#[test]
fn problems_of_the_environment() {
    for (line, problem) in [
        ("sh: 1: next: not found", Problem::NoCommand("next".into())),
        ("sh: vite: not found", Problem::NoCommand("vite".into())),
        ("/bin/sh: line 1: next: command not found", Problem::NoCommand("next".into())),
        ("npm ERR! Missing script: \"dev\"", Problem::NoScript("dev".into())),
        (" ERR_PNPM_NO_SCRIPT  Missing script: dev", Problem::NoScript("dev".into())),
        ("error Command \"dev\" not found.", Problem::NoScript("dev".into())),
        ("error: Script not found \"dev\"", Problem::NoScript("dev".into())),
        ("npm ERR! enoent ENOENT: no such file or directory, open '/app/package.json'", Problem::NoPackageJson),
        ("Error: listen EADDRINUSE: address already in use :::3000", Problem::AddressInUse(Some(3000))),
        ("Error: Port 3000 is already in use", Problem::AddressInUse(Some(3000))),
        ("Something is already running on port 3000.", Problem::AddressInUse(Some(3000))),
        (" ⚠ Port 3000 is in use, trying 3001 instead.", Problem::PortMoved { wanted: 3000, used: Some(3001) }),
        ("Port 3000 is in use, trying another one...", Problem::PortMoved { wanted: 3000, used: None }),
        ("error: unknown option '--host'", Problem::UnknownOption("--host".into())),
        ("CACError: Unknown option `-H`", Problem::UnknownOption("-H".into())),
        ("Error: ENOSPC: System limit for number of file watchers reached, watch '/app'", Problem::NoWatchers),
        ("Blocked request. This host (\"x.example\") is not allowed.", Problem::RefusedHost("x.example".into())),
        (" ⨯ Another next dev server is already running.", Problem::AlreadyRunning),
        (
            " ⨯ Unable to acquire lock at /app/.next/dev/lock, is another instance of next dev running?",
            Problem::AlreadyRunning,
        ),
        ("  ➜  Network: use --host to expose", Problem::LocalhostOnly),
    ] {
        let found = signals(&[(true, format!("{line}\n").as_bytes())]);
        assert_eq!(found, [Signal::Problem(problem)], "{line}");
    }
}

#[test]
fn passwords_are_taken_out() {
    let error = only(" ⨯ Error: cannot reach postgresql://app:s3cret@db:5432/x\n    at f (app/db.js:1:2)\n");
    assert!(!error.raw.contains("s3cret") && !error.message.contains("s3cret"));
    assert_eq!(error.file.as_deref(), Some("app/db.js"));
}

#[test]
fn streams_interleave() {
    let (out, err) = (false, true);
    let chunks: [(bool, &[u8]); 5] = [
        (err, b"\xe2\xa8\xaf ./app/page.js:1:60\nError: Expected '>', got ';'\n> 1 | x\n"),
        (out, b" GET /about 200 in 5ms\nsome log line\n"),
        (err, b"    | ^\n"),
        (out, b" GET / 200 in 50ms\n"),
        (err, b"more\n"),
    ];
    let found = signals(&chunks);
    assert!(
        matches!(
            &found[..],
            [Signal::Loaded(_), Signal::Error(error, _), Signal::Loaded(_), Signal::Answered] if error.raw.lines().count() == 4
        ),
        "{found:?}"
    );
}

#[test]
fn own_patterns() {
    let patterns = Patterns::new(Some("^app is up$"), Some("^BROKEN")).unwrap();
    let mut classifier = Classifier::new(patterns);
    let mut readiness = Readiness::default();
    classifier.push(false, b"app is up\nBROKEN: src/a.elm:3:5 wrong type\n", &mut |signal| {
        readiness.signal(signal);
    });
    assert!(readiness.is_up() && classifier.is_open());
    classifier.flush(&mut |signal| {
        readiness.signal(signal);
    });
    assert!(readiness.errors()[0].message.contains("wrong type"));
}

#[test]
fn long_lines_and_endless_reports_take_little_memory_and_time() {
    let start = std::time::Instant::now();
    let mut classifier = Classifier::default();
    let mut count = 0;
    let mut sink = |signal: Signal| {
        count += 1;
        if let Signal::Error(error, _) = signal {
            assert!(error.raw.len() <= 8 * 1024);
        }
    };
    classifier.push(false, &vec![b'x'; 1 << 20], &mut sink);
    classifier.push(false, &b"building 10%\r".repeat(1 << 16), &mut sink);
    classifier.push(false, &[b"\xff\xfe\x80 \xe2\xa8".as_slice(), b"\n"].concat(), &mut sink);
    classifier.push(true, " ⨯ ./app/page.js\n".as_bytes(), &mut sink);
    classifier.push(true, &b"    at f (/app/a.js:1:2)\n".repeat(1 << 16), &mut sink);
    classifier.push(true, &vec![b' '; 1 << 20], &mut sink);
    classifier.flush(&mut sink);
    assert!(count <= 1);
    assert!(start.elapsed() < std::time::Duration::from_secs(5));
}

/// Bytes that look like output now and then.
fn output() -> impl Strategy<Value = Vec<u8>> {
    let logs: Vec<Vec<u8>> = logs().into_values().collect();
    let lines: Vec<Vec<u8>> =
        logs.iter().flat_map(|log| log.split_inclusive(|&byte| byte == b'\n')).map(<[u8]>::to_vec).collect();
    let piece = prop_oneof![
        4 => proptest::sample::select(lines),
        1 => proptest::collection::vec(any::<u8>(), 0..40),
        1 => Just(b"\x1b[2K\r".to_vec()),
    ];
    proptest::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
}

fn split<'a>(bytes: &'a [u8], cuts: &[usize]) -> Vec<(bool, &'a [u8])> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    cuts.windows(2).map(|pair| (false, &bytes[pair[0]..pair[1]])).collect()
}

proptest! {
    #[test]
    fn any_split_of_anything_gives_the_same_signals(bytes in output(), cuts in proptest::collection::vec(any::<usize>(), 0..20)) {
        prop_assert_eq!(signals(&split(&bytes, &cuts)), signals(&[(false, &bytes)]));
    }

    #[test]
    fn any_split_of_every_capture_gives_the_same_signals(cuts in proptest::collection::vec(any::<usize>(), 0..40)) {
        thread_local!(static LOGS: Vec<Vec<u8>> = logs().into_values().collect());
        LOGS.with(|logs| {
            let log = &logs[cuts.first().map_or(0, |cut| cut % logs.len())];
            assert_eq!(signals(&split(log, &cuts)), signals(&[(false, log)]));
        });
    }
}

#[test]
fn of_the_exceptions_that_nobody_marked_the_last_one_counts_at_the_end() {
    let text = "TypeError: one\n    at f (/app/a.js:1:1)\nit goes on\nTypeError: two\n    at g (/app/b.js:2:2)\n";
    let mut readiness = read(text);
    assert!(!readiness.has_error());
    readiness.ended();
    assert_eq!(readiness.errors().iter().map(place).collect::<Vec<_>>(), ["runtime b.js:2:2"]);
}
