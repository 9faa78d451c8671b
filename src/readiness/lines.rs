//! Bytes to plain lines: chunks split anywhere, ANSI, `\r\n`, a TTY's line rewrites.

use super::words::lossy;

/// A line longer than this is cut: no dev server prints a marker that far out.
const MAX_LINE: usize = 16 * 1024;

/// Joins the chunks of one stream into lines without escape sequences. One per stream: stdout and stderr interleave.
#[derive(Debug, Default)]
pub struct LineSplitter {
    line: Vec<u8>,
    escape: Escape,
    carriage_return: bool,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Escape {
    #[default]
    None,
    Started,
    /// Inside `ESC [`: how many parameter bytes came, and whether they can still mean column one.
    Csi {
        length: u8,
        one: bool,
    },
    /// Inside `ESC ]`: until BEL or `ESC \`.
    Osc,
    OscEnd,
}

impl LineSplitter {
    /// Takes a chunk and gives the lines that it completed.
    pub fn push(&mut self, chunk: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        self.each(chunk, &mut |line| lines.push(lossy(line).into_owned()));
        lines
    }

    /// Gives what stands without a newline at the end of the stream.
    pub fn finish(&mut self) -> Option<String> {
        self.escape = Escape::None;
        self.carriage_return = false;
        let rest = (!self.line.is_empty()).then(|| lossy(&self.line).into_owned());
        self.line.clear();
        rest
    }

    /// Takes a chunk and hands each line that it completed to `take`. A plain line that is whole is not copied.
    pub(super) fn each(&mut self, mut chunk: &[u8], take: &mut impl FnMut(&[u8])) {
        while !chunk.is_empty() {
            if self.line.is_empty() && self.escape == Escape::None && !self.carriage_return {
                let at = printable(chunk);
                let end = match chunk.get(at..) {
                    Some([b'\n', ..]) => Some(at + 1),
                    Some([b'\r', b'\n', ..]) => Some(at + 2),
                    _ => None,
                };
                if let Some(end) = end {
                    take(&chunk[..at.min(MAX_LINE)]);
                    chunk = &chunk[end..];
                    continue;
                }
                self.keep(&chunk[..at]);
                chunk = &chunk[at..];
            }
            chunk = self.rest_of_line(chunk, take);
        }
    }

    /// Goes through the chunk up to and with the next newline; gives what is left of it.
    fn rest_of_line<'a>(&mut self, chunk: &'a [u8], take: &mut impl FnMut(&[u8])) -> &'a [u8] {
        let mut at = 0;
        while let Some(&byte) = chunk.get(at) {
            at += 1;
            match &mut self.escape {
                Escape::None => match byte {
                    b'\n' => {
                        self.carriage_return = false;
                        take(&self.line);
                        self.line.clear();
                        return &chunk[at..];
                    }
                    b'\r' => self.carriage_return = true,
                    0x1b => match colour(&chunk[at..]) {
                        Some(length) => at += length,
                        None => self.escape = Escape::Started,
                    },
                    _ => {
                        let start = at - 1;
                        at += printable(&chunk[at..]);
                        self.keep(&chunk[start..at]);
                    }
                },
                Escape::Started => {
                    self.escape = match byte {
                        b'[' => Escape::Csi { length: 0, one: true },
                        b']' => Escape::Osc,
                        _ => Escape::None,
                    };
                    at -= usize::from(byte == b'\n');
                }
                Escape::Csi { length, one } => match byte {
                    b'\n' => {
                        self.escape = Escape::None;
                        at -= 1;
                    }
                    0x40..=0x7e => {
                        // Cursor to column one: what stood there is overwritten (npm's spinner under a TTY).
                        if byte == b'G' && *one {
                            self.line.clear();
                        }
                        self.escape = Escape::None;
                    }
                    _ => {
                        *one &= *length == 0 && byte == b'1';
                        *length = length.saturating_add(1);
                    }
                },
                Escape::Osc => match byte {
                    0x07 => self.escape = Escape::None,
                    0x1b => self.escape = Escape::OscEnd,
                    b'\n' => {
                        self.escape = Escape::None;
                        at -= 1;
                    }
                    _ => {}
                },
                Escape::OscEnd => {
                    self.escape = Escape::None;
                    at -= usize::from(byte == b'\n');
                }
            }
        }
        &[]
    }

    fn keep(&mut self, run: &[u8]) {
        if self.carriage_return {
            self.carriage_return = false;
            self.line.clear();
        }
        let room = MAX_LINE - self.line.len();
        self.line.extend_from_slice(&run[..run.len().min(room)]);
    }
}

/// How many bytes come before the first control character. A run between two colours is too short for a search.
fn printable(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let mut at = 0;
    // Most lines are plain, and many are long. The compiler makes one comparison of these.
    while let Some(many) = bytes[at..].first_chunk::<16>()
        && many.iter().fold(u8::MAX, |least, byte| least.min(*byte)) >= 0x20
    {
        at += 16;
    }
    while let Some(eight) = bytes[at..].first_chunk() {
        let eight = u64::from_le_bytes(*eight);
        // https://graphics.stanford.edu/~seander/bithacks.html#HasLessInWord
        let control = eight.wrapping_sub(ONES * 0x20) & !eight & (ONES * 0x80);
        if control != 0 {
            return at + control.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    at + bytes[at..].iter().take_while(|byte| **byte >= 0x20).count()
}

/// The length of a colour, `[1;32m`, which nearly every escape sequence is: one that is whole needs no states.
fn colour(bytes: &[u8]) -> Option<usize> {
    let parameters = bytes.strip_prefix(b"[")?;
    let length = parameters.iter().position(|byte| !byte.is_ascii_digit() && *byte != b';')?;
    (parameters[length] == b'm').then_some(length + 2)
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
        assert_eq!(all(b"here\x1b[11Gstays\n"), ["herestays"]);
    }

    #[test]
    fn an_endless_line_is_cut() {
        for bytes in [vec![b'x'; MAX_LINE * 3], b"10%\r".repeat(MAX_LINE), b"x\x1b[1m".repeat(MAX_LINE * 2)] {
            let mut splitter = LineSplitter::default();
            assert!(splitter.push(&bytes).is_empty());
            assert!(splitter.line.capacity() <= MAX_LINE * 2);
            assert!(splitter.finish().is_some_and(|line| line.len() <= MAX_LINE));
        }
        let lines = all(&[vec![b'x'; MAX_LINE * 3], b"\nnext\n".to_vec()].concat());
        assert_eq!((lines.len(), lines[0].len(), lines[1].as_str()), (2, MAX_LINE, "next"));
    }

    #[test]
    fn a_title_sequence_goes() {
        assert_eq!(all(b"\x1b]0;npm run dev\x07ready\n\x1b]0;x\x1b\\go\n"), ["ready", "go"]);
        assert_eq!(all(b"cut\x1b]0;x\ngo\x1b[3\nend\n"), ["cut", "go", "end"]);
    }

    proptest! {
        #[test]
        fn chunks_may_be_split_anywhere(
            bytes in proptest::collection::vec(
                prop_oneof![any::<u8>(), Just(b'\n'), Just(b'\r'), Just(0x1b), Just(b'['), Just(b'1'), Just(b'G')],
                0..200,
            ),
            cuts in proptest::collection::vec(0usize..200, 0..8),
        ) {
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
