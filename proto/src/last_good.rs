//! The newest built closure of each host on its repository's tracked branch.

use serde::{Deserialize, Serialize};

use crate::{
    job::Incarnation,
    revision::Revision,
    time::Timestamp,
    token::{Host, Repo, WorkerName},
    version::V1,
};

/// What was built last of a host, of a commit on the tracked branch (`default_ref`) and with no
/// input overridden. Bucket `nbp-last-good`, key [`key`]; written by workers, by compare-and-set.
///
/// It is told after the result and never holds one up: a worker that dies in between leaves the
/// older one standing until the host is built, or asked for, again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastGood {
    /// Version of this shape.
    pub v: V1,
    /// The commit.
    pub revision: Revision,
    /// The asking that was answered by it.
    pub incarnation: Incarnation,
    /// Store path of `config.system.build.toplevel`.
    pub out_path: String,
    /// Store path of its derivation.
    pub drv_path: String,
    /// Sum of the NAR sizes over the closure, in bytes; 0 when it is not known.
    pub closure_bytes: u64,
    /// When it was built or found still valid, by the worker's clock.
    pub at: Timestamp,
    /// That worker.
    pub worker: WorkerName,
    /// How long the newest real build of the host took ([`crate::Built::is_real`]), in milliseconds:
    /// this one or an earlier one. None when none is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub real_ms: Option<u64>,
}

/// The key of a host in `nbp-last-good`.
pub fn key(repo: &Repo, host: &Host) -> String {
    format!("{repo}.{host}")
}
