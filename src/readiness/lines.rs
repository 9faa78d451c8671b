//! Bytes to plain lines: chunks split anywhere, ANSI, `\r\n`, a TTY's line rewrites.

/// A line longer than this is cut: no dev server prints a marker that far out.
const MAX_LINE: usize = 16 * 1024;

/// Joins the chunks of one stream into lines without escape sequences. One per stream: stdout and stderr interleave.
#[derive(Debug, Default)]
pub struct LineSplitter {
    line: Vec<u8>,
    escape: Escape,
    carriage_return: bool,
}

#[derive(Debug, Default)]
enum Escape {
    #[default]
    None,
    Started,
    /// Inside `ESC [`: the parameter bytes so far.
    Csi(Vec<u8>),
    /// Inside `ESC ]`: until BEL or `ESC \`.
    Osc,
    OscEnd,
}

impl LineSplitter {
    /// Takes a chunk and gives the lines that it completed.
    pub fn push(&mut self, chunk: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        for &byte in chunk {
            if let Some(line) = self.byte(byte) {
                lines.push(line);
            }
        }
        lines
    }

    /// Gives what stands without a newline at the end of the stream.
    pub fn finish(&mut self) -> Option<String> {
        self.escape = Escape::None;
        self.carriage_return = false;
        (!self.line.is_empty()).then(|| self.take())
    }

    fn byte(&mut self, byte: u8) -> Option<String> {
        match &mut self.escape {
            Escape::None => {}
            Escape::Started => {
                self.escape = match byte {
                    b'[' => Escape::Csi(Vec::new()),
                    b']' => Escape::Osc,
                    _ => Escape::None,
                };
                return None;
            }
            Escape::Csi(parameters) => {
                if (0x40..=0x7e).contains(&byte) {
                    // Cursor to column one: what stood there is overwritten (npm's spinner under a TTY).
                    if byte == b'G' && matches!(parameters.as_slice(), b"" | b"1") {
                        self.line.clear();
                    }
                    self.escape = Escape::None;
                } else if byte == b'\n' {
                    self.escape = Escape::None;
                    return Some(self.take());
                } else if parameters.len() < 32 {
                    parameters.push(byte);
                }
                return None;
            }
            Escape::Osc => {
                match byte {
                    0x07 => self.escape = Escape::None,
                    0x1b => self.escape = Escape::OscEnd,
                    b'\n' => {
                        self.escape = Escape::None;
                        return Some(self.take());
                    }
                    _ => {}
                }
                return None;
            }
            Escape::OscEnd => {
                self.escape = Escape::None;
                return None;
            }
        }
        match byte {
            0x1b => self.escape = Escape::Started,
            b'\n' => {
                self.carriage_return = false;
                return Some(self.take());
            }
            b'\r' => self.carriage_return = true,
            _ => {
                if self.carriage_return {
                    self.carriage_return = false;
                    self.line.clear();
                }
                if self.line.len() < MAX_LINE {
                    self.line.push(byte);
                }
            }
        }
        None
    }

    fn take(&mut self) -> String {
        let text = String::from_utf8_lossy(&self.line).into_owned();
        self.line.clear();
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(text: &[u8]) -> Vec<String> {
        let mut splitter = LineSplitter::default();
        let mut lines = splitter.push(text);
        lines.extend(splitter.finish());
        lines
    }

    #[test]
    fn colours_and_line_ends_go() {
        let text =
            b" \x1b[32m\x1b[1m\xe2\x9c\x93\x1b[22m\x1b[39m Ready in 1023ms\r\n- \x1b[32mready\x1b[39m started server\n";
        assert_eq!(all(text), [" ✓ Ready in 1023ms", "- ready started server"]);
    }

    #[test]
    fn a_spinner_is_overwritten() {
        assert_eq!(all(b"\\\x1b[1G\x1b[0K \xe2\x9c\x93 Ready in 3ms\r\n"), [" ✓ Ready in 3ms"]);
        assert_eq!(all(b"10%\r50%\rdone\n"), ["done"]);
    }

    #[test]
    fn an_endless_line_is_cut() {
        let lines = all(&vec![b'x'; MAX_LINE * 3]);
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0].len(), MAX_LINE);
    }

    #[test]
    fn a_title_sequence_goes() {
        assert_eq!(all(b"\x1b]0;npm run dev\x07ready\n\x1b]0;x\x1b\\go\n"), ["ready", "go"]);
    }

    proptest! {
        #[test]
        fn chunks_may_be_split_anywhere(bytes in proptest::collection::vec(any::<u8>(), 0..200), cuts in proptest::collection::vec(0usize..200, 0..8)) {
            let mut splitter = LineSplitter::default();
            let mut lines = Vec::new();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            for pair in cuts.windows(2) {
                lines.extend(splitter.push(&bytes[pair[0]..pair[1]]));
            }
            lines.extend(splitter.finish());
            prop_assert_eq!(lines, all(&bytes));
        }
    }
}
