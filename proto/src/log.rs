//! Build logs as they travel: numbered chunks of tagged lines, never one message per line.

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
    /// The last chunk of this attempt.
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
