//! The tools that Next.js 16 has for agents, at `/_next/mcp`: what is asked, and what the answers say. Whatever answers there
//! is the project's own code: nothing of it is trusted, and all of it is bounded.

use serde_json::{Value, json};

use crate::preview::{CompileError, ErrorKind};
use crate::readiness::without_passwords;

/// Where it answers.
pub(super) const PATH: &str = "/_next/mcp";
/// More errors, routes and names than these are not read.
const MAX_ERRORS: usize = 100;
const MAX_NAMES: usize = 1_000;
/// Characters of a message, of a report and of a path that are kept.
const MAX_MESSAGE: usize = 500;
const MAX_RAW: usize = 2_000;
const MAX_PATH: usize = 300;

/// A question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NextTool {
    /// Which tools there are: 16.0 has fewer than 16.3, and webpack has fewer than Turbopack.
    List,
    /// The routes, by the project's files.
    Routes,
    /// What does not compile, on all routes.
    CompilationIssues,
    /// What the pages that browsers have open show.
    Errors,
}

impl NextTool {
    /// What it is called, None for the list.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        match self {
            Self::List => None,
            Self::Routes => Some("get_routes"),
            Self::CompilationIssues => Some("get_compilation_issues"),
            Self::Errors => Some("get_errors"),
        }
    }

    /// The request, as JSON-RPC. No session and no greeting are needed.
    pub(super) fn request(self) -> String {
        let (method, params) = match self.name() {
            None => ("tools/list", json!({})),
            Some(name) => ("tools/call", json!({ "name": name, "arguments": {} })),
        };
        json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string()
    }

    /// What an answer says: JSON, or an event stream with JSON in it. None: something else.
    pub(super) fn read(self, body: &str) -> Option<Value> {
        let data = body.lines().filter_map(|line| line.strip_prefix("data:"));
        let answer = if body.trim_start().starts_with('{') { body.to_owned() } else { data.collect() };
        let answer: Value = serde_json::from_str(&answer).ok()?;
        let result = answer.get("result")?;
        if self == Self::List {
            return Some(result.clone());
        }
        if result["isError"] == Value::Bool(true) {
            return None;
        }
        let text = result["content"].get(0)?["text"].as_str()?;
        // 16.0 and 16.1 tell in Markdown.
        let plain = || (self == Self::Errors).then(|| Value::String(text.to_owned()));
        serde_json::from_str(text).ok().or_else(plain)
    }
}

/// Why there is no answer to a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoToolAnswer {
    /// Nothing listens, or the connection was dropped.
    #[error("the dev server does not answer")]
    NoServer,
    /// It took too long.
    #[error("the dev server did not answer in time")]
    TooLate,
    /// There is an answer, and it is none to the question.
    #[error("the dev server answered something that is not understood")]
    NotUnderstood,
}

/// Whether the list of tools has this one.
#[must_use]
pub fn has_tool(list: &Value, tool: NextTool) -> bool {
    let tools = list["tools"].as_array().into_iter().flatten().take(MAX_NAMES);
    tools.into_iter().any(|known| known["name"].as_str().is_some_and(|name| Some(name) == tool.name()))
}

/// The routes of both routers, each once.
#[must_use]
pub fn routes(answer: &Value) -> Vec<String> {
    let of = |router: &str| answer[router].as_array().cloned().unwrap_or_default();
    let all = of("appRouter").into_iter().chain(of("pagesRouter"));
    let mut routes = Vec::new();
    for route in all.take(MAX_NAMES) {
        if let Some(route) = route.as_str().filter(|route| route.starts_with('/') && route.len() <= MAX_PATH)
            && !routes.iter().any(|known| known == route)
        {
            routes.push(plain(route, MAX_PATH));
        }
    }
    routes
}

/// What does not compile; None: it is no list of issues.
#[must_use]
pub fn errors(answer: &Value) -> Option<Vec<CompileError>> {
    let issues = answer["issues"].as_array()?;
    let broken = |issue: &&Value| matches!(issue["severity"].as_str(), Some("error" | "fatal" | "bug"));
    Some(issues.iter().filter(broken).take(MAX_ERRORS).map(error).collect())
}

fn error(issue: &Value) -> CompileError {
    let text = |field: &str| issue[field].as_str().unwrap_or_default();
    let title = text("title").replace("**", "").replace('`', "");
    let (description, frame) = (text("description"), text("codeFrame"));
    let start = &issue["source"]["range"]["start"];
    let number = |field: &str| start[field].as_u64().and_then(|number| u32::try_from(number).ok());
    let kind = if title.starts_with("Module not found") || title.contains("Can't resolve") {
        ErrorKind::ModuleNotFound
    } else if description.starts_with("Parsing ") || title.starts_with("Parsing ") {
        ErrorKind::Syntax
    } else {
        ErrorKind::Unknown
    };
    let message = if title.is_empty() { description } else { &title };
    let raw = [title.as_str(), description, frame].into_iter().filter(|part| !part.is_empty());
    CompileError {
        file: issue["source"]["filePath"].as_str().or(issue["filePath"].as_str()).and_then(project_file),
        line: number("line"),
        column: number("column"),
        message: plain(message, MAX_MESSAGE),
        kind,
        raw: plain(&raw.collect::<Vec<_>>().join("\n"), MAX_RAW),
    }
}

/// A file of the project; None for what is not in it.
fn project_file(path: &str) -> Option<String> {
    let file = path.strip_prefix("[project]/").unwrap_or(path);
    let inside = !file.starts_with(['/', '[']) && !file.split('/').any(|part| part == "..");
    (inside && !file.is_empty()).then(|| plain(file, MAX_PATH))
}

/// Without control characters but the line's end, and not longer than this.
fn plain(text: &str, longest: usize) -> String {
    without_passwords(text).chars().filter(|one| *one == '\n' || !one.is_control()).take(longest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(text: &str) -> String {
        let answer = json!({ "result": { "content": [{ "type": "text", "text": text }] }, "jsonrpc": "2.0", "id": 9 });
        format!("event: message\ndata: {answer}\n\n")
    }

    /// As Next.js 16.4 answers.
    const ISSUES: &str = r#"{"issues":[
        {"severity":"error","filePath":"[project]/app/syntax/page.js","title":"Expected '>', got '}'",
         "description":"Parsing ecmascript source code failed",
         "source":{"filePath":"[project]/app/syntax/page.js","range":{"start":{"line":3,"column":1},"end":{"line":3,"column":2}}},
         "codeFrame":"> 3 | }"},
        {"severity":"warning","filePath":"[project]/app/page.js","title":"slow","description":""},
        {"severity":"error","filePath":"[project]/app/unseen/page.js",
         "title":"**Module not found**: Can't resolve `'./not-there'`","description":"",
         "source":{"filePath":"[project]/app/unseen/page.js","range":{"start":{"line":1,"column":1}}}}]}"#;

    #[test]
    fn issues_become_errors() {
        let found = NextTool::CompilationIssues.read(&answer(ISSUES)).as_ref().and_then(errors).unwrap_or_default();
        let told: Vec<_> = found
            .iter()
            .map(|error| (error.file.as_deref(), error.line, error.column, error.message.as_str(), error.kind))
            .collect();
        let expected = [
            (Some("app/syntax/page.js"), Some(3), Some(1), "Expected '>', got '}'", ErrorKind::Syntax),
            (
                Some("app/unseen/page.js"),
                Some(1),
                Some(1),
                "Module not found: Can't resolve './not-there'",
                ErrorKind::ModuleNotFound,
            ),
        ];
        assert_eq!(told, expected);
        assert_eq!(found[0].raw, "Expected '>', got '}'\nParsing ecmascript source code failed\n> 3 | }");
    }

    #[test]
    fn routes_of_both_routers_are_told_once() {
        let text = r#"{"appRouter":["/","/blog/[slug]","x",3],"pagesRouter":["/","/old"]}"#;
        let found = NextTool::Routes.read(&answer(text)).map(|found| routes(&found));
        assert_eq!(found, Some(vec!["/".to_owned(), "/blog/[slug]".to_owned(), "/old".to_owned()]));
    }

    #[test]
    fn the_list_says_which_tools_there_are() {
        let text = r#"{"result":{"tools":[{"name":"get_routes"},{"name":7}]},"jsonrpc":"2.0","id":1}"#;
        let list = NextTool::List.read(text).unwrap_or_default();
        assert!(has_tool(&list, NextTool::Routes) && !has_tool(&list, NextTool::CompilationIssues));
    }

    #[test]
    fn nonsense_is_no_answer() {
        let tool = NextTool::CompilationIssues;
        for body in ["", "<html>", "data: {", "{}", r#"{"result":{}}"#, r#"{"result":{"content":[]}}"#, "data: []"] {
            assert_eq!(tool.read(body), None, "{body}");
        }
        assert_eq!(tool.read(&answer("# Markdown, as 16.0 answers")), None);
        assert_eq!(tool.read(r#"{"result":{"isError":true,"content":[{"text":"{}"}]}}"#), None);
        assert_eq!(errors(&json!({ "issues": "none" })), None);
        let odd = json!({ "issues": [{ "severity": "error", "filePath": "[project]/../x", "title": "a\u{1b}[31m" }] });
        let found = errors(&odd).unwrap_or_default();
        assert_eq!((found[0].file.as_deref(), found[0].message.as_str()), (None, "a[31m"));
    }
}
