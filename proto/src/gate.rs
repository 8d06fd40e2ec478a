//! What a gate writes into `nbp-gates`, and what it tells after a landing.
//!
//! A gate run is one try to land a candidate on a base branch. Its whole state stands in its record,
//! so that another process can go on wherever the first one died: each stage holds all that the
//! stages after it need, and which stage follows is decided by the gate's planner alone.

mod end;
mod ended;
mod landed;
mod lease;

use std::collections::BTreeMap;

pub use end::End;
pub use ended::Ended;
pub use landed::{Landed, LandedHost};
pub use lease::{Holder, Lease};
use serde::{Deserialize, Serialize};

use crate::{
    job::{GateId, JobKey, RunId},
    outcome::Standing,
    overrides::Overrides,
    revision::Revision,
    time::Timestamp,
    token::{Class, Identity, Repo, WorkerName},
    trace::TraceParent,
    version::V1,
};

/// One try to land something on a branch. Key `run.<repo>.<branch>.<id>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateRun {
    /// Version of this shape.
    pub v: V1,
    /// The run.
    pub id: GateId,
    /// The repository.
    pub repo: Repo,
    /// The branch to land on, without `refs/heads/`.
    pub base: String,
    /// What is to be landed.
    pub source: Source,
    /// Who began it.
    pub by: Identity,
    /// When, by that one's clock.
    pub at: Timestamp,
    /// Candidates made so far, the first one included.
    pub rounds: u32,
    /// Where it stands.
    pub stage: Stage,
    /// The span that began it, which whoever goes on with it is linked to.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "crate::lenient")]
    pub trace: Option<TraceParent>,
}

/// What a run tries to land.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "of", rename_all = "kebab-case")]
pub enum Source {
    /// An update of `flake.lock` that the gate makes itself.
    Update,
    /// A branch that somebody else made, such as a failed update with a person's fix on it.
    Branch {
        /// Its name, without `refs/heads/`.
        name: String,
    },
}

/// Where a gate run stands: what is to be done next, with all that it needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Stage {
    /// Read which commit the base is at.
    Pin,
    /// Make a candidate on top of the base.
    Prepare {
        /// The commit that the base is at.
        base: Revision,
        /// The branch of an earlier candidate of this run, which the new one takes over.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        over: Option<BranchAt>,
    },
    /// Push the candidate's branch.
    Publish(Candidate),
    /// List the hosts that must be built.
    List(Candidate),
    /// Have them built, and wait.
    Test(Trial),
    /// Have what failed built once more elsewhere, and wait.
    Confirm(Doubted),
    /// Have what still fails built at the base, to tell old failures from new ones, and wait.
    Compare(Tested),
    /// Move the base branch to the candidate.
    Land(Tested),
    /// Tell of the landing.
    Tell(Tested),
    /// Say on the forge why it was not landed.
    Explain(Box<Refused>),
    /// Close and delete what this run has made obsolete.
    Clear(Box<End>),
    /// Nothing is left to do.
    Ended(Box<End>),
}

/// A branch and the commit that it is at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BranchAt {
    /// Its name, without `refs/heads/`.
    pub branch: String,
    /// The commit.
    pub at: Revision,
}

/// A commit that may be landed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// The commit that the base is expected at.
    pub base: Revision,
    /// The commit to land.
    pub revision: Revision,
    /// Its branch, without `refs/heads/`.
    pub branch: String,
    /// What that branch is at on the server before it is pushed; none: it does not exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<Revision>,
    /// How it was made.
    pub made: Made,
}

/// How a candidate was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "kebab-case")]
pub enum Made {
    /// By the gate: the base with this `flake.lock`.
    Update(Update),
    /// By somebody else.
    Others,
}

/// An update of the lock file. From it and a base the same commit is made again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Update {
    /// The bytes of `flake.lock`, which is JSON text.
    pub lock: String,
    /// The bytes that it replaces.
    pub old_lock: String,
    /// The message of the commit.
    pub message: String,
    /// The date of the commit, in seconds since the Unix epoch.
    pub date: u64,
    /// Inputs that could not be updated, and keep what they were locked to.
    #[serde(default)]
    pub kept: Vec<BrokenInput>,
}

/// An input that could not be updated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokenInput {
    /// Its name in the flake.
    pub input: String,
    /// What Nix said, in one line.
    pub message: String,
}

/// A candidate and what must be built of it. Fixed before any result is read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// The candidate.
    pub candidate: Candidate,
    /// By label: the host, or `<repo>/<host>` for one of another repository.
    pub required: BTreeMap<String, Required>,
    /// Labels of hosts that the config leaves out.
    #[serde(default)]
    pub excluded: Vec<String>,
    /// Other repositories that are built against the candidate.
    #[serde(default)]
    pub external: Vec<External>,
    /// The run in the pool under which the candidate's hosts are asked for.
    pub run: RunId,
    /// The run in the pool under which failing hosts are asked for at the base.
    pub base_run: RunId,
}

/// One host that must be built.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Required {
    /// Its job.
    pub job: JobKey,
    /// What it needs of a worker.
    pub class: Class,
    /// Inputs of its flake that are replaced; its revision has their digest.
    #[serde(default, skip_serializing_if = "Overrides::is_empty")]
    pub overrides: Overrides,
    /// It is reported, and does not decide.
    #[serde(default)]
    pub advisory: bool,
}

/// A repository that takes the candidate's repository as an input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct External {
    /// The repository.
    pub repo: Repo,
    /// Its input that is replaced by the candidate.
    pub overrides: Overrides,
    /// The commit it is tried at, with the digest of the override.
    pub revision: Revision,
    /// The full ref of that commit.
    #[serde(rename = "ref")]
    pub git_ref: String,
    /// The run in the pool under which its hosts are asked for.
    pub run: RunId,
}

impl External {
    /// The name of the input that is replaced.
    pub fn input(&self) -> &str {
        self.overrides.iter().next().map_or("", |(input, _)| input.as_str())
    }
}

/// A trial in which something failed that may be the worker's fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doubted {
    /// The trial.
    pub trial: Trial,
    /// The first failure of each host that is tried again, by label.
    pub doubts: BTreeMap<String, Doubt>,
}

/// A failure that is not believed yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doubt {
    /// The outcome's name.
    pub outcome: String,
    /// The asking that failed: another one is asked for only while this is the newest.
    pub incarnation: crate::job::Incarnation,
    /// Who built it.
    pub worker: WorkerName,
}

/// A trial and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tested {
    /// The trial.
    pub trial: Trial,
    /// What became of each required host, by label.
    pub results: BTreeMap<String, HostResult>,
}

/// What became of one host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostResult {
    /// What it says about the candidate.
    pub standing: HostStanding,
    /// The outcome's name, or `missing`.
    pub outcome: String,
    /// Its derivation, if it was built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drv_path: Option<String>,
    /// Its store path, if it was built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out_path: Option<String>,
    /// The derivation that failed, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaf: Option<String>,
    /// Why it did not end as built, in one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Claims that were needed.
    #[serde(default)]
    pub attempts: u32,
    /// Milliseconds from the last claim to the end.
    #[serde(default)]
    pub build_ms: u64,
    /// Nothing was built: an earlier result was still valid.
    #[serde(default)]
    pub reused: bool,
    /// It failed once and was built elsewhere then.
    #[serde(default)]
    pub flaky: bool,
    /// It fails at the base too, in the same place.
    #[serde(default)]
    pub pre_existing: bool,
    /// It is reported, and does not decide.
    #[serde(default)]
    pub advisory: bool,
}

/// What a host says about the candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostStanding {
    /// Built from exactly the candidate.
    Built,
    /// Broken.
    Failed,
    /// Ended without an answer.
    Undecided,
    /// Not ended, or never asked for.
    Missing,
}

impl From<Standing> for HostStanding {
    fn from(standing: Standing) -> Self {
        match standing {
            Standing::Pass => Self::Built,
            Standing::Fail => Self::Failed,
            Standing::Undecided | Standing::Cancelled => Self::Undecided,
        }
    }
}

/// A candidate that is not landed, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// The candidate.
    pub candidate: Candidate,
    /// Why.
    pub why: Why,
}

/// Why a candidate is not landed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "kebab-case")]
pub enum Why {
    /// Hosts fail.
    Failed(Tested),
    /// The flake does not tell its hosts, or has none.
    NoHosts {
        /// What was found instead.
        message: String,
    },
    /// It passed, and the base branch is protected against the gate.
    Denied {
        /// The trial that passed.
        tested: Tested,
        /// What the server said.
        message: String,
    },
    /// It passed, and the base moved on more often than the gate follows.
    BaseMoved {
        /// The trial that passed.
        tested: Tested,
        /// Where the base is now.
        to: Revision,
    },
}

impl Why {
    /// The trial, if there was one.
    pub fn tested(&self) -> Option<&Tested> {
        match self {
            Self::Failed(tested) | Self::Denied { tested, .. } | Self::BaseMoved { tested, .. } => {
                Some(tested)
            }
            Self::NoHosts { .. } => None,
        }
    }
}

impl Stage {
    /// The name in output.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Pin => "pin",
            Self::Prepare { .. } => "prepare",
            Self::Publish(_) => "publish",
            Self::List(_) => "list",
            Self::Test(_) => "test",
            Self::Confirm(_) => "confirm",
            Self::Compare(_) => "compare",
            Self::Land(_) => "land",
            Self::Tell(_) => "tell",
            Self::Explain(_) => "explain",
            Self::Clear(_) => "clear",
            Self::Ended(_) => "ended",
        }
    }

    /// The candidate, once there is one and until the end.
    pub fn candidate(&self) -> Option<&Candidate> {
        match self {
            Self::Pin | Self::Prepare { .. } => None,
            Self::Publish(candidate) | Self::List(candidate) => Some(candidate),
            Self::Test(trial) => Some(&trial.candidate),
            Self::Confirm(doubted) => Some(&doubted.trial.candidate),
            Self::Compare(tested) | Self::Land(tested) | Self::Tell(tested) => {
                Some(&tested.trial.candidate)
            }
            Self::Explain(refused) => Some(&refused.candidate),
            Self::Clear(end) | Self::Ended(end) => end.candidate(),
        }
    }

    /// The branch that is of no use any more, as this run left it.
    pub fn obsolete(&self) -> Option<BranchAt> {
        match self {
            Self::Clear(end) => end.obsolete(),
            _ => None,
        }
    }

    /// Nothing is left to do.
    pub fn ended(&self) -> Option<&End> {
        match self {
            Self::Ended(end) => Some(end),
            _ => None,
        }
    }
}
