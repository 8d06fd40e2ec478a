//! What changed between two `flake.lock` files: which inputs, from which commit to which, and where
//! the changes can be read.
//!
//! A lock file comes from a repository, so its text is hostile: whatever it holds, reading it ends
//! in changes or in an error. Names are passed on as they stand there; whoever shows them makes
//! them safe first. Links and hashes given out here are safe already.

use std::collections::{BTreeMap, VecDeque};

use serde::Deserialize;
use serde_json::Value;

mod link;

pub(crate) use link::compare_on;

/// Largest lock file that is read. The largest real ones have some hundred KiB.
pub(crate) const LOCK_BYTES_MAX: usize = 4 << 20;
/// Inputs of inputs that are listed. Each level is a name in the path; a chain of thousands is an
/// attack on the reader.
const DEPTH_MAX: usize = 8;
/// Versions of the format that Nix has written since flakes came.
const VERSIONS: std::ops::RangeInclusive<u64> = 5..=7;

/// An input that the two files lock differently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InputChange {
    /// `nixpkgs`, `home-manager/nixpkgs`: names as the flake gives them, joined.
    pub(crate) path: String,
    /// It is an input of the flake itself.
    pub(crate) direct: bool,
    /// What became of it.
    pub(crate) change: Change,
}

/// What became of an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It is locked to something else.
    Updated {
        old: Locked,
        new: Locked,
        /// Where the commits between the two can be read, if its forge is known.
        link: Option<String>,
    },
    /// The flake had no such input.
    Added(Locked),
    /// The flake has no such input any more.
    Removed(Locked),
}

/// What an input is locked to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Locked {
    /// The commit, in lowercase hex digits.
    pub(crate) rev: Option<String>,
    /// Digest of its files, as Nix writes it.
    hash: Option<String>,
    /// When it was last changed, in seconds since the Unix epoch.
    pub(crate) modified: Option<u64>,
    place: Option<link::Place>,
}

/// Why a lock file cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LockError {
    #[error("flake.lock has {0} bytes, more than {LOCK_BYTES_MAX}")]
    TooLarge(usize),
    #[error("flake.lock is not what Nix writes: {0}")]
    Json(String),
    #[error("flake.lock has version {0}, which is not one of 5, 6 and 7")]
    Version(u64),
}

/// The inputs that differ, those of the flake itself first, each by path. An input that follows
/// another one is that other one, and not told of again.
pub(crate) fn changes(old: &str, new: &str) -> Result<Vec<InputChange>, LockError> {
    let (mut old, new) = (inputs(old)?, inputs(new)?);
    let mut changes = Vec::new();
    for (path, new) in new {
        let change = match old.remove(&path) {
            Some(old) if old == new => continue,
            Some(old) => {
                let (old, new) = (Locked::of(&old), Locked::of(&new));
                let link = link::between(&old, &new);
                Change::Updated { old, new, link }
            }
            None => Change::Added(Locked::of(&new)),
        };
        changes.push(InputChange { path: path.join("/"), direct: path.len() == 1, change });
    }
    changes.extend(old.into_iter().map(|(path, old)| {
        let change = Change::Removed(Locked::of(&old));
        InputChange { path: path.join("/"), direct: path.len() == 1, change }
    }));
    changes.sort_by(|a, b| (!a.direct, &a.path).cmp(&(!b.direct, &b.path)));
    Ok(changes)
}

impl Locked {
    fn of(raw: &Value) -> Self {
        let text = |key: &str| raw.get(key).and_then(Value::as_str);
        let digest = |text: &&str| {
            text.len() < 200
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=-:".contains(&b))
        };
        Self {
            rev: text("rev").filter(|rev| link::commit(rev)).map(str::to_owned),
            hash: text("narHash").filter(digest).map(str::to_owned),
            modified: raw.get("lastModified").and_then(Value::as_u64),
            place: link::Place::of(raw),
        }
    }

    /// The start of the commit, or of the digest where there is none (a path, a tarball).
    pub(crate) fn short(&self) -> &str {
        let whole = self.rev.as_deref().or(self.hash.as_deref()).unwrap_or("unknown");
        let digits = if self.rev.is_some() { 12 } else { 18 };
        &whole[..whole.len().min(digits)]
    }
}

/// The file, as far as it matters here.
#[derive(Deserialize)]
struct LockFile {
    #[serde(default)]
    nodes: BTreeMap<String, Node>,
    root: String,
    version: u64,
}

/// An input, or the flake itself.
#[derive(Default, Deserialize)]
struct Node {
    /// A name of a node, or the path of the input that it follows.
    #[serde(default)]
    inputs: BTreeMap<String, Value>,
    #[serde(default)]
    locked: Value,
}

/// What every input is locked to, by its path. Nix writes one node per input, so that this is a tree; where somebody
/// else wrote a knot, each node counts once, at the shortest path.
fn inputs(text: &str) -> Result<BTreeMap<Vec<String>, Value>, LockError> {
    if text.len() > LOCK_BYTES_MAX {
        return Err(LockError::TooLarge(text.len()));
    }
    let file: LockFile =
        serde_json::from_str(text).map_err(|error| LockError::Json(error.to_string()))?;
    if !VERSIONS.contains(&file.version) {
        return Err(LockError::Version(file.version));
    }
    let mut nodes = file.nodes;
    let mut found = BTreeMap::new();
    let mut next = VecDeque::from([(Vec::new(), nodes.remove(&file.root).unwrap_or_default())]);
    while let Some((path, node)) = next.pop_front() {
        if path.len() < DEPTH_MAX {
            for (input, target) in node.inputs {
                let Some(target) = target.as_str().and_then(|name| nodes.remove(name)) else {
                    continue;
                };
                let path = path.iter().cloned().chain([input]).collect();
                next.push_back((path, target));
            }
        }
        if !path.is_empty() {
            found.insert(path, node.locked);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
