//! How a job ended. A failed build is an outcome, not an error.

use serde::{Deserialize, Serialize};

use crate::revision::Revision;

/// How a job ended, with what is known about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "kebab-case")]
pub enum Outcome {
    /// The host's closure is valid in the worker's store and rooted there.
    Built(Built),
    /// The flake is at fault: counted against it, never retried (out-of-memory once, alone).
    Failed {
        /// What kind of failure.
        kind: FailureKind,
        /// Where and why.
        failure: Failure,
    },
    /// Infrastructure is at fault and all attempts are used up. Never a blame of the flake.
    InfraFailed {
        /// What kind of fault the last attempt met.
        kind: InfraKind,
        /// Where and why.
        failure: Failure,
    },
    /// Nobody wanted it any more.
    Cancelled,
    /// Another incarnation, or a newer run of the same ref, took its place.
    Superseded,
}

/// A closure that is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Built {
    /// Store path of `config.system.build.toplevel`.
    pub out_path: String,
    /// Store path of its derivation.
    pub drv_path: String,
    /// Sum of the NAR sizes over the closure, in bytes.
    pub closure_bytes: u64,
    /// Nothing was built: the path of an earlier incarnation was still valid.
    #[serde(default)]
    pub reused: bool,
    /// What this attempt did for it; none in a record of a worker that did not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work: Option<Work>,
    /// What changed since the host's last good build; none when its worker could not tell, as when
    /// it does not have that closure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diff: Option<Box<ClosureDiff>>,
}

/// What the realisations of one attempt did, as Nix told of them. Not in it: what was built while
/// the flake was evaluated, and what another process built while this one waited for its lock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    /// Builders that ran. One that ran twice, as when its output was collected, counts twice: its
    /// time does too.
    pub derivations: u32,
    /// Store paths whose download from a cache began.
    pub downloads: u32,
}

/// The difference between the last good build of a host and another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClosureDiff {
    /// The commit of that last good build.
    pub from: Revision,
    /// Its store path.
    pub from_path: String,
    /// How much larger the closure has become, in bytes.
    pub bytes: i64,
    /// The packages that differ, as `nix store diff-closures` words them, without control
    /// sequences; at most [`DIFF_BYTES_MAX`] bytes in all.
    pub lines: Vec<String>,
    /// Lines that were left out for that.
    #[serde(default)]
    pub lines_cut: u64,
}

/// Bytes of difference in a result: some hundred packages, more than anybody reads.
pub const DIFF_BYTES_MAX: usize = 16 << 10;

/// Why a job did not end as built.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// One line, as Nix or the worker said it, without control sequences.
    pub message: String,
    /// The leaf derivation that failed, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drv: Option<String>,
    /// The last lines of that derivation's log (or of Nix's own messages), oldest first.
    #[serde(default)]
    pub log_tail: Vec<String>,
}

impl Failure {
    /// A failure of which only a message is known.
    pub fn message(message: impl Into<String>) -> Self {
        Self { message: message.into(), ..Self::default() }
    }
}

/// Failures of the flake, and of the limits it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// Nix could not evaluate the host.
    EvalFailed,
    /// A builder failed.
    BuildFailed,
    /// A fixed-output derivation gave another hash.
    HashMismatch,
    /// The flake has no such host.
    MissingHost,
    /// The wall deadline passed.
    TimedOut,
    /// A builder said nothing for too long.
    Silent,
    /// A builder said too much.
    LogLimit,
    /// Evaluation or build ran out of its memory budget.
    OutOfMemory,
}

/// Faults of the infrastructure: retried, and undecided in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InfraKind {
    /// The repository, the commit or an input could not be fetched, or the commit is on no
    /// allowed ref.
    FetchFailed,
    /// A binary cache failed.
    SubstituterFailed,
    /// No space or no inodes left.
    DiskFull,
    /// The Nix daemon or its connection went away.
    DaemonLost,
    /// The worker went away in the middle.
    WorkerLost,
    /// The result could not be pushed to the cache.
    PushFailed,
    /// A derivation is for a system that this worker cannot build.
    WrongSystem,
    /// The job's message or its worker's config makes it impossible to build.
    Refused,
    /// Nothing known explains it, and no builder was seen to fail.
    Unclassified,
}

/// What an outcome says about the flake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The host builds.
    Pass,
    /// The flake is broken for this host.
    Fail,
    /// Nothing is known about the flake.
    Undecided,
    /// Nobody wanted to know.
    Cancelled,
}

impl Built {
    /// Whether its time says how long the host takes: something had to be built or downloaded.
    ///
    /// This is the one rule for whatever compares or counts the times of builds. What was found
    /// valid took none, be it reused or a commit that changes nothing in the host; and a wait for
    /// another's build lasted as long as was left of that. Of a record without [`Work`] only the
    /// reuse is known.
    pub fn is_real(&self) -> bool {
        match self.work {
            Some(work) => work != Work::default(),
            None => !self.reused,
        }
    }
}

impl Work {
    /// Adds what was done besides.
    pub fn add(&mut self, other: Self) {
        self.derivations = self.derivations.saturating_add(other.derivations);
        self.downloads = self.downloads.saturating_add(other.downloads);
    }
}

impl Outcome {
    /// What it says about the flake (DESIGN section 6, last column).
    pub fn standing(&self) -> Standing {
        match self {
            Self::Built(_) => Standing::Pass,
            Self::Failed { .. } => Standing::Fail,
            Self::InfraFailed { .. } => Standing::Undecided,
            Self::Cancelled | Self::Superseded => Standing::Cancelled,
        }
    }

    /// A decided outcome is about the flake; only such a one is ever answered from the record.
    pub fn decided(&self) -> bool {
        matches!(self.standing(), Standing::Pass | Standing::Fail)
    }

    /// The name in output, reports and metrics, e.g. `build-failed`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Built(_) => "built",
            Self::Failed { kind, .. } => kind.name(),
            Self::InfraFailed { .. } => "infra-failed",
            Self::Cancelled => "cancelled",
            Self::Superseded => "superseded",
        }
    }

    /// Why it failed, if it did.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Failed { failure, .. } | Self::InfraFailed { failure, .. } => Some(failure),
            Self::Built(_) | Self::Cancelled | Self::Superseded => None,
        }
    }
}

impl FailureKind {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::EvalFailed,
        Self::BuildFailed,
        Self::HashMismatch,
        Self::MissingHost,
        Self::TimedOut,
        Self::Silent,
        Self::LogLimit,
        Self::OutOfMemory,
    ];

    /// The name in output, reports and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::EvalFailed => "eval-failed",
            Self::BuildFailed => "build-failed",
            Self::HashMismatch => "hash-mismatch",
            Self::MissingHost => "missing-host",
            Self::TimedOut => "timed-out",
            Self::Silent => "silent",
            Self::LogLimit => "log-limit",
            Self::OutOfMemory => "out-of-memory",
        }
    }
}

impl InfraKind {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::FetchFailed,
        Self::SubstituterFailed,
        Self::DiskFull,
        Self::DaemonLost,
        Self::WorkerLost,
        Self::PushFailed,
        Self::WrongSystem,
        Self::Refused,
        Self::Unclassified,
    ];

    /// The name in output, reports and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::FetchFailed => "fetch-failed",
            Self::SubstituterFailed => "substituter-failed",
            Self::DiskFull => "disk-full",
            Self::DaemonLost => "daemon-lost",
            Self::WorkerLost => "worker-lost",
            Self::PushFailed => "push-failed",
            Self::WrongSystem => "wrong-system",
            Self::Refused => "refused",
            Self::Unclassified => "unclassified",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(json: &str, real: bool) {
        let json = format!(
            r#"{{"result": "built", "out_path": "/o", "drv_path": "/d", "closure_bytes": 1{json}}}"#
        );
        let outcome: Outcome = serde_json::from_str(&json).expect("an outcome");
        let Outcome::Built(built) = outcome else { panic!("{outcome:?}") };
        assert_eq!(built.is_real(), real, "{json}");
    }

    #[test]
    fn a_real_build_is_one_that_had_something_to_build_or_to_download() {
        check(r#", "reused": false, "work": {"derivations": 3, "downloads": 20}"#, true);
        check(r#", "reused": false, "work": {"derivations": 1, "downloads": 0}"#, true);
        check(r#", "reused": false, "work": {"derivations": 0, "downloads": 1}"#, true);
        check(r#", "reused": false, "work": {"derivations": 0, "downloads": 0}"#, false);
        check(r#", "reused": true, "work": {"derivations": 0, "downloads": 0}"#, false);
        // Records of before.
        check(r#", "reused": false"#, true);
        check(r#", "reused": true"#, false);
        check("", true);
    }
}
