//! Build logs as they travel: numbered chunks of tagged lines, never one message per line.

mod said;

use std::{io::Write as _, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{is_zero, version::V1};

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
    /// The lines. What said many of them in a row is named once:
    /// `"said": [{"drv": "/nix/store/…", "lines": ["one", "two"]}, {"lines": ["three"]}]`.
    #[serde(rename = "said", with = "said")]
    pub lines: Vec<LogLine>,
    /// The last chunk of this attempt. One that said nothing has no chunk at all.
    #[serde(default)]
    pub end: bool,
}

/// One line, without its newline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Store path of the derivation that said it; none: Nix or the worker itself.
    pub drv: Option<Arc<str>>,
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
    /// What said the last line.
    drv: Option<String>,
}

impl ChunkWriter {
    /// Most that [`Self::finish`] adds.
    pub const END_BYTES_MAX: usize = b"]}],\"end\":false}".len();

    /// A chunk with these fields and without a line yet. It is written into `json`, whatever that
    /// held before.
    pub fn new(seq: u64, dropped: u64, mut json: Vec<u8>) -> Self {
        json.clear();
        let mut write = |text: &str| json.extend_from_slice(text.as_bytes());
        write(&format!("{{\"v\":1,\"seq\":{seq}"));
        if dropped > 0 {
            write(&format!(",\"dropped\":{dropped}"));
        }
        write(",\"said\":[");
        Self { json, lines: 0, drv: None }
    }

    /// Adds a line if it takes no more than `most` bytes, with all that goes before it; gives how
    /// many it took.
    pub fn line(&mut self, drv: Option<&str>, text: &str, most: usize) -> Option<usize> {
        self.add(drv, most, |json| write_text(json, text))
    }

    /// The same with a text as [`write_text`] wrote it.
    pub fn written(&mut self, drv: Option<&str>, text: &[u8], most: usize) -> Option<usize> {
        self.add(drv, most, |json| json.extend_from_slice(text))
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
        if self.lines > 0 {
            self.json.extend_from_slice(b"]}");
        }
        let end: &[u8] = if end { b"],\"end\":true}" } else { b"],\"end\":false}" };
        self.json.extend_from_slice(end);
        self.json
    }

    fn add(
        &mut self,
        drv: Option<&str>,
        most: usize,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Option<usize> {
        let before = self.json.len();
        let goes_on = self.lines > 0 && self.drv.as_deref() == drv;
        if goes_on {
            self.json.push(b',');
        } else {
            self.begin(drv);
        }
        write(&mut self.json);
        let size = self.json.len() - before;
        if size > most {
            self.json.truncate(before);
            return None;
        }
        if !goes_on {
            self.drv = drv.map(str::to_owned);
        }
        self.lines += 1;
        Some(size)
    }

    /// Writes what goes before the first line of the next to speak.
    fn begin(&mut self, drv: Option<&str>) {
        let json = &mut self.json;
        json.extend_from_slice(if self.lines > 0 { b"]},{" } else { b"{" });
        if let Some(drv) = drv {
            json.extend_from_slice(b"\"drv\":");
            write_text(json, drv);
            json.push(b',');
        }
        json.extend_from_slice(b"\"lines\":[");
    }
}

/// Writes a text as JSON.
pub fn write_text(json: &mut Vec<u8>, text: &str) {
    let written = serde_json::to_writer(json.by_ref(), text);
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
