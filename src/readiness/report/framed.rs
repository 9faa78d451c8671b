//! The line of code that a report's frame points at.

use super::super::place::number;

/// Its number and its text: the one that is marked with `>`, else the one above the caret.
#[must_use]
pub fn framed_line(report: &str) -> Option<(u32, &str)> {
    let mut last = None;
    for line in report.lines() {
        let text = line.trim_start();
        let (marked, rest) = text.strip_prefix('>').map_or((false, text), |rest| (true, rest.trim_start()));
        if let Some((number, rest)) = number(rest)
            && let Some(code) = rest.trim_start().strip_prefix(['|', '│', '┃'])
        {
            if marked {
                return Some((number, code));
            }
            last = Some((number, code));
        } else if let Some(rest) = text.strip_prefix(['|', '│', '·', ':'])
            && rest.trim_start().starts_with(['^', '─', '┬'])
            && last.is_some()
        {
            return last;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_that_a_frame_points_at() {
        for (report, expected) in [
            ("x\n  1 | a\n> 2 | b\n    | ^\n  3 | c", Some((2, " b"))),
            (" 1 │ a\n 2 │ b\n   · ──\n 3 │ c", Some((2, " b"))),
            ("1 | a\n2 | b", None),
            ("no frame", None),
        ] {
            assert_eq!(framed_line(report), expected, "{report}");
        }
    }
}
