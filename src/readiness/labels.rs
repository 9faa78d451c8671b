//! What a runner of several tasks puts before each line: `web:dev: ` of turbo, `[web] ` of concurrently and npm-run-all,
//! `apps/web dev: ` of pnpm, `web: ` of lerna, `web | ` of foreman.

use memchr::{memchr, memchr_iter, memchr3_iter, memmem};

/// So many tasks are told apart. The lines of further ones are read as they are.
pub(super) const MAX_LABELS: usize = 8;
/// The longest label.
const MAX_LENGTH: usize = 64;

/// The labels that were seen. One is learned where a task begins: there its runner's echo of the command follows, the banner
/// of a dev server, or nothing.
#[derive(Debug, Default)]
pub(super) struct Labels {
    known: Vec<Box<[u8]>>,
}

impl Labels {
    /// How many labels are known.
    pub(super) fn count(&self) -> usize {
        self.known.len()
    }

    /// Which task the line is of, and the line without its label. Zero: none that is known. `in_report`: an open report of no
    /// task may go on with it.
    #[inline]
    pub(super) fn strip<'a>(&mut self, line: &'a [u8], in_report: bool) -> (usize, &'a [u8]) {
        // Most output is of one program.
        if self.known.is_empty() && !may_begin(line) { (0, line) } else { self.find(line, in_report) }
    }

    #[inline(never)]
    fn find<'a>(&mut self, line: &'a [u8], in_report: bool) -> (usize, &'a [u8]) {
        let line = match clock(line) {
            // foreman of Node.js: `6:18:14 PM web.1 |  up`.
            Some(rest) if memchr(b'|', &rest[..rest.len().min(MAX_LENGTH)]).is_some() => rest,
            _ => line,
        };
        for (at, label) in self.known.iter().enumerate() {
            if let Some(rest) = line.strip_prefix(&**label) {
                return (at + 1, rest);
            }
            if line == label.trim_ascii_end() {
                return (at + 1, &[]);
            }
        }
        let learns = self.known.len() < MAX_LABELS && may_begin(line);
        let Some(label) = learned(line, in_report).filter(|_| learns) else { return (0, line) };
        let rest = line.strip_prefix(&*label);
        self.known.push(label);
        rest.map_or((0, line), |rest| (self.known.len(), rest))
    }
}

/// Whether the line can show a label: it ends after one, or has what an echo or a banner begins with behind something else.
/// `▲` and `➜` begin with the same byte.
fn may_begin(line: &[u8]) -> bool {
    match line {
        // Most logs begin with a year; foreman with a clock.
        [first, .., _] if first.is_ascii_digit() && memchr(b':', &line[..line.len().min(3)]).is_none() => return false,
        [first, ..] if first.is_ascii_alphanumeric() || matches!(first, b'[' | b'@' | b'.' | b'/') => {}
        _ => return false,
    }
    if let [.., b']' | b':' | b'|', b' '] = line {
        return true;
    }
    let head = &line[..line.len().min(MAX_LENGTH)];
    memchr3_iter(b'>', b'$', 0xe2, head).any(|at| match head[at] {
        b'$' => at > 2 && head.get(at + 1) == Some(&b' '),
        b'>' => at > 2 && head[at - 1] == b' ' && head.get(at + 1) == Some(&b' '),
        _ => at > 2 && head[at - 1] == b' ' && matches!(head.get(at + 1), Some(0x96 | 0x9e)),
    })
}

/// The label that the line shows to be one.
fn learned(line: &[u8], in_report: bool) -> Option<Box<[u8]>> {
    let head = &line[..line.len().min(MAX_LENGTH)];
    let first = *head.first()?;
    if first == b'[' {
        let end = memchr(b']', head)? + 1;
        let (inside, rest) = (&line[1..end - 1], line[end..].strip_prefix(b" ")?);
        let task = begins(rest) || !in_report && rest.trim_ascii().is_empty() && !is_level(inside);
        return (task && !inside.is_empty()).then(|| line[..=end].into());
    }
    if !first.is_ascii_alphanumeric() && !matches!(first, b'@' | b'.' | b'/') {
        return None;
    }
    // pnpm: `apps/web dev$ vite`, and from then on `apps/web dev: ...`.
    if let Some(at) = memmem::find(head, b"$ ")
        && memchr_iter(b' ', &head[..at]).count() == 1
        && head[..at].iter().all(|byte| is_name(*byte) || *byte == b' ')
    {
        return Some([&head[..at], b": "].concat().into());
    }
    let ends = [memmem::find(head, b": "), memmem::find(head, b"| ")];
    let end = ends.into_iter().flatten().min()? + 2;
    let (name, rest) = (line[..end - 2].trim_ascii_end(), &line[end..]);
    if memchr_iter(b' ', name).count() > 1 || !name.iter().all(|byte| is_name(*byte) || *byte == b' ') {
        return None;
    }
    // Of what is led by one word, `error: ` is more than a label.
    let task = begins(rest) || !in_report && rest.trim_ascii().is_empty() && memchr(b':', name).is_some();
    task.then(|| line[..end].into())
}

/// The line after a clock: `6:18:14 PM `, `16:53:11 `.
fn clock(line: &[u8]) -> Option<&[u8]> {
    line.first().filter(|first| first.is_ascii_digit())?;
    let end = line.iter().take(8).position(|byte| *byte == b' ')?;
    let (clock, rest) = (&line[..end], &line[end + 1..]);
    let is_clock = memchr_iter(b':', clock).count() == 2;
    let rest = rest.strip_prefix(b"PM ").or_else(|| rest.strip_prefix(b"AM ")).unwrap_or(rest);
    is_clock.then_some(rest)
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'@' | b'.' | b'/' | b'_' | b'-' | b':' | b'#')
}

/// Whether a task's first lines look so.
fn begins(rest: &[u8]) -> bool {
    let rest = rest.trim_ascii_start();
    ["> ", "$ ", "▲ Next.js", "VITE v", "➜ ", "- Local:"].iter().any(|start| rest.starts_with(start.as_bytes()))
        // The name of a script or a package, not `> Local:` or a frame of code.
        && (rest[0] != b'>' || rest.get(2).is_some_and(|byte| byte.is_ascii_lowercase() || matches!(byte, b'@' | b'.')))
}

/// `[INFO]`, which loggers put there.
fn is_level(inside: &[u8]) -> bool {
    inside.iter().all(u8::is_ascii_uppercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_labels_of_runners_are_taken_away() {
        for (lines, expected) in [
            (["[web] ", "[web] ⨯ ./app/page.js:3:1"], (1, "⨯ ./app/page.js:3:1")),
            (["[web  ] > next dev", "[web  ] up"], (1, "up")),
            (["web:dev: ", "web:dev:   x"], (1, "  x")),
            (["apps/web dev$ vite", "apps/web dev: up"], (1, "up")),
            (["@acme/web: > @acme/web@1.0.0 dev", "@acme/web: up"], (1, "up")),
            (["web.1   | > next dev", "web.1   | up"], (1, "up")),
            (["[0]   ➜  Local: http://localhost:3000/", "[0] up"], (1, "up")),
            (["[web] ", "[web]"], (1, "")),
            (
                ["6:18:15 PM web.1 |    ➜  Local:   http://localhost:3000/", "6:18:20 PM web.1 |  6:18:20 PM [vite] x"],
                (1, " 6:18:20 PM [vite] x"),
            ),
        ] {
            let mut labels = Labels::default();
            labels.strip(lines[0].as_bytes(), false);
            assert_eq!(labels.strip(lines[1].as_bytes(), false), (expected.0, expected.1.as_bytes()), "{lines:?}");
        }
    }

    #[test]
    fn what_is_no_label_stays() {
        for lines in [
            ["[vite] connected.", "[vite] hmr update /a.js"],
            ["[ERROR] ", "[ERROR] boom"],
            ["Error: ", "Error: boom"],
            ["Cause: > 1 | x", "Cause: x"],
            ["[ Farm ] > Local:   http://localhost:3000/", "[ Farm ] Error: x"],
            ["> dev", "> next dev"],
            ["[200] / 4ms", "[200] /"],
        ] {
            let mut labels = Labels::default();
            labels.strip(lines[0].as_bytes(), false);
            assert_eq!(labels.strip(lines[1].as_bytes(), false), (0, lines[1].as_bytes()), "{lines:?}");
        }
    }

    #[test]
    fn only_so_many_tasks_are_told_apart() {
        let mut labels = Labels::default();
        for task in 0..20 {
            let (at, _) = labels.strip(format!("t{task}:dev: ").as_bytes(), false);
            assert_eq!(at, if task < MAX_LABELS { task + 1 } else { 0 });
        }
    }
}
