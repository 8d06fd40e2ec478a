//! What one `submit` asked for, recorded before its first job.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    job::{JobKey, RunId},
    overrides::Overrides,
    priority::Priority,
    revision::Revision,
    time::Timestamp,
    token::{Class, Host, Identity, Repo},
    trace::TraceParent,
    version::V1,
};

/// A revision and the hosts that are expected of it. Bucket `nbp-runs`, key `<identity>.<run>`.
///
/// The verdict is over this set and nothing else: a host that never got a result is missing, not
/// forgotten.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Version of this shape.
    pub v: V1,
    /// The run.
    pub run: RunId,
    /// Who asked. The key says it too, and the server lets nobody write under another's.
    pub by: Identity,
    /// When, by the asker's clock.
    pub at: Timestamp,
    /// The repository.
    pub repo: Repo,
    /// The commit, with the digest of overridden inputs if there are any.
    pub revision: Revision,
    /// The full ref that was asked for, e.g. `refs/heads/master`; none for a bare `--rev`.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "ref")]
    pub git_ref: Option<String>,
    /// Inputs of the flake that are replaced; `revision` has their digest.
    #[serde(default, skip_serializing_if = "Overrides::is_empty")]
    pub overrides: Overrides,
    /// The expected hosts and what each needs.
    pub hosts: BTreeMap<Host, Class>,
    /// Hosts that exist and were left out on purpose.
    #[serde(default)]
    pub excluded: Vec<Host>,
    /// How urgent.
    pub priority: Priority,
    /// Build again, whatever is known.
    #[serde(default)]
    pub force: bool,
    /// The span that asked, which a verdict over this run is traced back to.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "crate::lenient")]
    pub trace: Option<TraceParent>,
}

impl RunRecord {
    /// The key in `nbp-runs`.
    pub fn key(&self) -> String {
        run_key(&self.by, self.run)
    }

    /// The job of one of its hosts.
    pub fn job(&self, host: &Host) -> JobKey {
        JobKey { repo: self.repo.clone(), revision: self.revision.clone(), host: host.clone() }
    }

    /// All its jobs, in the order of host names.
    pub fn jobs(&self) -> impl Iterator<Item = (JobKey, &Class)> {
        self.hosts.iter().map(|(host, class)| (self.job(host), class))
    }
}

/// The key of a run in `nbp-runs`.
pub fn run_key(by: &Identity, run: RunId) -> String {
    format!("{by}.{run}")
}
