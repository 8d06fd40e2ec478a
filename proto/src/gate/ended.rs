//! What is told when a gate run ends.

use serde::{Deserialize, Serialize};

use super::{End, GateRun};
use crate::{job::GateId, revision::Revision, time::Timestamp, token::Repo, version::V1};

/// What is told on `nbp.event.gate.<end>.<repo>` when a gate run ends, however it does. A landing is
/// told apart besides, with all its hosts, for those who deploy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Version of this shape.
    pub v: V1,
    /// When, by the gate's clock.
    pub at: Timestamp,
    /// The repository.
    pub repo: Repo,
    /// The branch to land on, without `refs/heads/`.
    pub branch: String,
    /// The gate run.
    pub gate: GateId,
    /// How it ended, in the word that the subject has.
    pub end: String,
    /// The candidate's commit, where one was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<Revision>,
    /// The number of the pull request that says why it was not landed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull: Option<u64>,
}

impl Ended {
    /// Of a run and its end.
    pub fn of(run: &GateRun, end: &End, at: Timestamp) -> Self {
        let pull = match end {
            End::Refused { pull, .. } => Some(*pull),
            _ => None,
        };
        Self {
            v: V1,
            at,
            repo: run.repo.clone(),
            branch: run.base.clone(),
            gate: run.id,
            end: end.name().to_owned(),
            revision: end.candidate().map(|candidate| candidate.revision.clone()),
            pull,
        }
    }
}
