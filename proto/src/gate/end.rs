//! How a gate run ends, and what it leaves behind.

use serde::{Deserialize, Serialize};

use super::{BranchAt, BrokenInput, Candidate, Made, Refused, Tested, Why};
use crate::{job::GateId, revision::Revision};

/// How a gate run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "end", rename_all = "kebab-case")]
pub enum End {
    /// The candidate is on the base branch.
    Landed(Box<Tested>),
    /// The update changes nothing.
    Unchanged {
        /// The commit that the base was at.
        base: Revision,
        /// The branch of an earlier candidate of the same run.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        over: Option<BranchAt>,
    },
    /// It was not landed; the pull request says why.
    Refused {
        /// The candidate and why.
        refused: Box<Refused>,
        /// The number of its pull request.
        pull: u64,
    },
    /// The same update on the same base failed before.
    SameFailure {
        /// That run.
        of: GateId,
    },
    /// Inputs could not be updated.
    BrokenInputs {
        /// Which and why.
        inputs: Vec<BrokenInput>,
    },
    /// The base is at a commit that does not contain the one the candidate was made on.
    BaseRewound {
        /// The candidate, which knows the commit that it was at.
        candidate: Box<Candidate>,
        /// The commit that it is at now.
        to: Revision,
    },
    /// A branch is not there (any more).
    BranchGone {
        /// Its name.
        branch: String,
        /// The candidate, if one was made before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        candidate: Option<Box<Candidate>>,
    },
    /// The branch to land does not contain the base.
    Behind {
        /// The branch.
        branch: String,
        /// The commit that the base is at.
        base: Revision,
    },
    /// It was unfinished for too long.
    GivenUp {
        /// The name of the stage it stood at.
        stage: String,
        /// The candidate, if one was made before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        candidate: Option<Box<Candidate>>,
    },
}

impl End {
    /// The name in output.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Landed(_) => "landed",
            Self::Unchanged { .. } => "unchanged",
            Self::Refused { refused, .. } => match refused.why {
                Why::Failed(_) => "failed",
                Why::NoHosts { .. } => "no-hosts",
                Why::Denied { .. } => "denied",
                Why::BaseMoved { .. } => "base-moved",
            },
            Self::SameFailure { .. } => "same-failure",
            Self::BrokenInputs { .. } => "broken-inputs",
            Self::BaseRewound { .. } => "base-rewound",
            Self::BranchGone { .. } => "branch-gone",
            Self::Behind { .. } => "behind",
            Self::GivenUp { .. } => "given-up",
        }
    }

    /// The branch that is of no use any more. One that waits for a person is not, and
    /// one that somebody else made only when it was landed.
    pub fn obsolete(&self) -> Option<BranchAt> {
        let of = |candidate: &Candidate| {
            let (branch, at) = (candidate.branch.clone(), candidate.revision.clone());
            BranchAt { branch, at }
        };
        match self {
            Self::Landed(tested) => Some(of(&tested.trial.candidate)),
            Self::Unchanged { over, .. } => over.clone(),
            Self::Refused { .. } => None,
            _ => self.candidate().filter(|candidate| candidate.made != Made::Others).map(of),
        }
    }

    /// The candidate, where one was made.
    pub fn candidate(&self) -> Option<&Candidate> {
        match self {
            Self::Landed(tested) => Some(&tested.trial.candidate),
            Self::Refused { refused, .. } => Some(&refused.candidate),
            Self::BaseRewound { candidate, .. } => Some(candidate),
            Self::BranchGone { candidate, .. } | Self::GivenUp { candidate, .. } => {
                candidate.as_deref()
            }
            Self::Unchanged { .. }
            | Self::SameFailure { .. }
            | Self::BrokenInputs { .. }
            | Self::Behind { .. } => None,
        }
    }
}
