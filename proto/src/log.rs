//! Build logs as they travel: numbered chunks of tagged lines, never one message per line.

use std::io::Write as _;

use serde::{Deserialize, Serialize};

use crate::version::V1;

/// Part of the log of one attempt. Subject `nbp.log.<repo>.<revision>.<host>.<epoch>`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogChunk {
    /// Version of this shape.
    pub v: V1,
    /// Number of the chunk in its attempt, from 0, without holes: a hole is a lost chunk.
    pub seq: u64,
    /// Lines that were dropped before the first of this chunk: the broker was slow, or the limit
    /// of kept bytes was reached.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub dropped: u64,
    /// The lines.
    pub lines: Vec<LogLine>,
    /// The last chunk of this attempt. One that said nothing has no chunk at all.
    #[serde(default)]
    pub end: bool,
}

/// One line, without its newline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Store path of the derivation that said it; none: Nix or the worker itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drv: Option<String>,
    /// What it said. Control sequences are kept here and stripped where it is shown.
    pub text: String,
}

impl LogLine {
    /// The line with the name of what said it before it: `nginx-1.27> checking for gcc`.
    pub fn labelled(&self) -> String {
        match &self.drv {
            Some(drv) => format!("{}> {}", short_name(drv), self.text),
            None => self.text.clone(),
        }
    }
}

/// A [`LogChunk`] that is written as its lines come: their text is held once, as it travels.
#[derive(Debug)]
pub struct ChunkWriter {
    json: Vec<u8>,
    lines: usize,
}

/// A [`LogLine`] that owns nothing.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    drv: Option<&'a str>,
    text: &'a str,
}

impl ChunkWriter {
    /// Most that [`Self::finish`] adds.
    pub const END_BYTES_MAX: usize = b"[],\"end\":false}".len();

    /// A chunk with these fields and without a line yet. It is written into `json`, whatever that
    /// held before.
    pub fn new(seq: u64, dropped: u64, mut json: Vec<u8>) -> Self {
        json.clear();
        let mut write = |text: &str| json.extend_from_slice(text.as_bytes());
        write(&format!("{{\"v\":1,\"seq\":{seq}"));
        if dropped > 0 {
            write(&format!(",\"dropped\":{dropped}"));
        }
        write(",\"lines\":");
        Self { json, lines: 0 }
    }

    /// Adds a line; gives its size, the sign between two lines included.
    pub fn line(&mut self, drv: Option<&str>, text: &str) -> usize {
        let before = self.json.len();
        self.next();
        write_line(&mut self.json, drv, text);
        self.json.len() - before
    }

    /// Adds a line as [`write_line`] wrote it.
    pub fn written(&mut self, line: &[u8]) {
        self.next();
        self.json.extend_from_slice(line);
    }

    /// Takes the last line back, of this size: as [`write_line`] writes it.
    pub fn take_back(&mut self, size: usize) -> Vec<u8> {
        let line = self.json.split_off(self.json.len().saturating_sub(size).saturating_add(1));
        self.json.pop();
        self.lines = self.lines.saturating_sub(1);
        line
    }

    /// Lines so far.
    pub fn lines(&self) -> usize {
        self.lines
    }

    /// Bytes so far.
    pub fn bytes(&self) -> usize {
        self.json.len()
    }

    /// The chunk as it travels.
    pub fn finish(mut self, end: bool) -> Vec<u8> {
        if self.lines == 0 {
            self.json.push(b'[');
        }
        let end: &[u8] = if end { b"],\"end\":true}" } else { b"],\"end\":false}" };
        self.json.extend_from_slice(end);
        self.json
    }

    fn next(&mut self) {
        self.json.push(if self.lines == 0 { b'[' } else { b',' });
        self.lines += 1;
    }
}

/// Writes a [`LogLine`] as JSON.
pub fn write_line(json: &mut Vec<u8>, drv: Option<&str>, text: &str) {
    let written = serde_json::to_writer(json.by_ref(), &Line { drv, text });
    written.expect("memory takes all bytes, and a string is always JSON");
}

/// `nginx-1.27` of `/nix/store/<hash>-nginx-1.27.drv`; whatever is no store path stays as it is.
pub fn short_name(drv: &str) -> &str {
    const HASH_CHARS: usize = 32;
    let base = drv.strip_prefix("/nix/store/").and_then(|base| {
        let (hash, name) = base.split_once('-')?;
        (hash.len() == HASH_CHARS).then_some(name)
    });
    base.map_or(drv, |name| name.strip_suffix(".drv").unwrap_or(name))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape that serde asks for")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}
