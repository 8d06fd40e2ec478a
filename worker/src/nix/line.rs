//! Lines of a child's stderr, read with bounded memory and without a copy of what is whole.

use std::borrow::Cow;

/// Longest stderr line kept. Longer ones are cut, and say so in [`Line::bytes`].
pub(super) const LINE_BYTES_MAX: usize = 64 << 10;
/// Most that is read at once.
pub(super) const READ_BYTES: usize = 64 << 10;

/// A line of stderr without its newline.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line<'a> {
    /// The line, invalid UTF-8 replaced, cut at `LINE_BYTES_MAX`.
    pub text: Cow<'a, str>,
    /// Its whole length in bytes.
    pub bytes: u64,
}

impl<'a> Line<'a> {
    fn of(kept: &'a [u8], bytes: u64) -> Self {
        let kept = &kept[..kept.len().min(LINE_BYTES_MAX)];
        // Nearly all is UTF-8, which this finds out several times as fast as the other.
        let text = str::from_utf8(kept).map(Cow::Borrowed);
        Self { text: text.unwrap_or_else(|_| String::from_utf8_lossy(kept)), bytes }
    }
}

/// What was read, line by line.
#[derive(Debug)]
pub(super) struct Lines {
    read: Vec<u8>,
    /// What of `read` is not taken yet.
    left: std::ops::Range<usize>,
    /// A line whose end is not read yet.
    begun: Vec<u8>,
    begun_bytes: u64,
    /// `begun` was handed out.
    given: bool,
    ended: bool,
}

impl Lines {
    pub(super) fn new() -> Self {
        Self {
            read: vec![0; READ_BYTES],
            left: 0..0,
            begun: Vec::new(),
            begun_bytes: 0,
            given: false,
            ended: false,
        }
    }

    /// Room for the next read. Lines that were not taken by now are let go.
    pub(super) fn room(&mut self) -> &mut [u8] {
        self.left = 0..0;
        &mut self.read
    }

    /// Takes in what was read into the room; nothing is the end of the stream.
    pub(super) fn add(&mut self, bytes: usize) {
        self.left = 0..bytes;
        self.ended |= bytes == 0;
    }

    /// The next whole line; at the end of the stream also one without a newline.
    pub(super) fn next(&mut self) -> Option<Line<'_>> {
        if self.given {
            self.begun.clear();
            (self.begun_bytes, self.given) = (0, false);
        }
        let left = &self.read[self.left.clone()];
        let newline = left.iter().position(|byte| *byte == b'\n');
        let part = &left[..newline.unwrap_or(left.len())];
        self.left.start += part.len() + usize::from(newline.is_some());
        if newline.is_some() && self.begun_bytes == 0 {
            return Some(Line::of(part, part.len() as u64));
        }
        let room = LINE_BYTES_MAX.saturating_sub(self.begun.len()).min(part.len());
        self.begun.extend_from_slice(&part[..room]);
        self.begun_bytes += part.len() as u64;
        self.given = newline.is_some() || (self.ended && self.begun_bytes > 0);
        self.given.then(|| Line::of(&self.begun, self.begun_bytes))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn however_a_stream_is_read_its_lines_are_the_same(
            lines in prop::collection::vec("[a\u{e9}]{0,9}", 0..20),
            newline_at_end: bool,
            reads in prop::collection::vec(1_usize..30, 1..20),
        ) {
            let mut stream = lines.join("\n").into_bytes();
            let expected: Vec<&str> = match (stream.is_empty(), newline_at_end) {
                (true, false) => Vec::new(),
                (true, true) => vec![""],
                (false, _) if newline_at_end => lines.iter().map(String::as_str).collect(),
                // What ends without a newline and without a character is no line.
                (false, _) => {
                    let last = lines.len() - usize::from(lines.last().is_some_and(String::is_empty));
                    lines[..last].iter().map(String::as_str).collect()
                }
            };
            if newline_at_end {
                stream.push(b'\n');
            }
            let (mut reader, mut from, mut seen) = (Lines::new(), 0, Vec::new());
            for bytes in reads.iter().cycle() {
                let bytes = (*bytes).min(stream.len() - from);
                reader.room()[..bytes].copy_from_slice(&stream[from..from + bytes]);
                reader.add(bytes);
                from += bytes;
                while let Some(line) = reader.next() {
                    prop_assert_eq!(line.bytes, line.text.len() as u64);
                    seen.push(line.text.into_owned());
                }
                if bytes == 0 {
                    break;
                }
            }
            prop_assert_eq!(seen, expected);
        }
    }
}
