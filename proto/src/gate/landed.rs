//! What is told after a landing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{job::GateId, revision::Revision, time::Timestamp, token::Repo, version::V1};

/// What is told once per landing on `nbp.event.landed.<repo>`. A deployment tool takes it as a
/// hint: it fetches the branch, and checks that `revision` is on it, before it believes the rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Landed {
    /// Version of this shape.
    pub v: V1,
    /// When, by the gate's clock.
    pub at: Timestamp,
    /// The repository.
    pub repo: Repo,
    /// The branch, without `refs/heads/`.
    pub branch: String,
    /// The commit that it is at now.
    pub revision: Revision,
    /// The commit that it was at.
    pub base: Revision,
    /// The gate run.
    pub gate: GateId,
    /// What was built of each host.
    pub hosts: BTreeMap<String, LandedHost>,
}

/// One host of a landing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LandedHost {
    /// Its derivation.
    pub drv_path: String,
    /// Its store path.
    pub out_path: String,
    /// The path differs from the one that was built of the base; none: that one is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed: Option<bool>,
}
