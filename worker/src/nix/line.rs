//! One line of a child's stderr, read with bounded memory.

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt};

/// Longest stderr line kept. Longer ones are cut, and say so in [`Line::bytes`].
pub(super) const LINE_BYTES_MAX: usize = 64 << 10;
/// A line of stderr without its newline.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// The line, invalid UTF-8 replaced, cut at `LINE_BYTES_MAX`.
    pub text: String,
    /// Its whole length in bytes.
    pub bytes: u64,
    raw: Vec<u8>,
}

/// Reads up to and with the next newline into `line`; false at the end of the stream.
pub(super) async fn read_line<R: AsyncBufRead + Unpin>(
    from: Option<&mut R>,
    line: &mut Line,
) -> io::Result<bool> {
    let Some(from) = from else { return Ok(false) };
    loop {
        // The only await: what was read before is in `line` already.
        let available = from.fill_buf().await?;
        if available.is_empty() {
            return Ok(false);
        }
        let newline = available.iter().position(|byte| *byte == b'\n');
        let part = &available[..newline.unwrap_or(available.len())];
        let room = LINE_BYTES_MAX.saturating_sub(line.raw.len()).min(part.len());
        line.raw.extend_from_slice(&part[..room]);
        line.bytes += part.len() as u64;
        let used = part.len() + usize::from(newline.is_some());
        from.consume(used);
        if newline.is_some() {
            return Ok(true);
        }
    }
}

impl Line {
    /// A line as it came from a child.
    pub fn new(text: impl Into<String>) -> Self {
        let text = text.into();
        Self { bytes: text.len() as u64, text, raw: Vec::new() }
    }

    /// The finished line; at the end of the stream only if there is one.
    pub(super) fn take_if(&mut self, at_end: bool) -> Option<Self> {
        if at_end && self.bytes == 0 {
            return None;
        }
        let mut line = std::mem::take(self);
        line.text = String::from_utf8_lossy(&std::mem::take(&mut line.raw)).into_owned();
        Some(line)
    }
}
