//! Who may move a branch.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{job::GateId, token::Identity, version::V1};

/// Who may move a branch, and which run that is about. Key `lease.<repo>.<branch>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Version of this shape.
    pub v: V1,
    /// Who holds it; none: nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<Holder>,
    /// The newest run of this branch, ended or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<GateId>,
    /// The newest run whose candidate failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<GateId>,
}

/// A process that holds a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// As whom it is connected.
    pub by: Identity,
    /// Where it runs, for people: host name and process id.
    pub place: String,
    /// This process and no other.
    pub nonce: Uuid,
    /// It holds until the server's timestamp of this record plus this many milliseconds.
    pub lease_ms: u64,
}
