//! What is so: one record per job, written by workers only, and its legal transitions.
//!
//! `(none) → Running → Finished`, `Running → Waiting → Running`, `Finished` + new incarnation →
//! `Running`. All of them stand in this file; whether one may be made is decided by the worker's
//! claim rules, and who wins is decided by compare-and-set on the record's revision.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    is_zero,
    job::{Incarnation, Instance},
    outcome::{Built, InfraKind, Outcome},
    overrides::Overrides,
    request::Request,
    signature::Signature,
    time::Timestamp,
    token::WorkerName,
    version::V1,
};

/// Grows by one at each claim of a job and is never reset: the fencing token.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl std::fmt::Display for Epoch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The facts of one job. Bucket `nbp-results`, key = job key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Version of this shape.
    pub v: V1,
    /// The claim that wrote it.
    pub epoch: Epoch,
    /// The asking that it is about.
    pub incarnation: Incarnation,
    /// The claims of this incarnation, oldest first, at most [`ATTEMPTS_KEPT`].
    pub attempts: Vec<Attempt>,
    /// Where the job stands.
    pub state: State,
}

/// Attempts kept in a record. Only hand-backs can make more of them than `max_attempts`; the oldest
/// of those go first, so that a worker that restarts every minute cannot grow a record for ever.
pub const ATTEMPTS_KEPT: usize = 16;

/// Where a job stands. Each variant says who moves it on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum State {
    /// Held by one worker under a lease. That worker moves it on; after the lease, any claimer.
    Running(Running),
    /// Between two attempts. Any claimer moves it on once the delay is over.
    Waiting(Waiting),
    /// Ended. Only a new incarnation moves it on.
    Finished(Finished),
}

/// A job in the hands of a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// The life of the worker process that holds it.
    pub instance: Instance,
    /// Which claim of that life it is: no two have the same number. 0: nobody counts them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub claim: u64,
    /// That worker's name.
    pub worker: WorkerName,
    /// The lease holds until the server's timestamp of this record plus this many milliseconds.
    pub lease_ms: u64,
    /// What the worker is doing.
    pub phase: Phase,
    /// Derivations built so far and expected in all, as Nix counts them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
}

/// Leases are the workers' business; the clock of who looks is not the server's, so a person is told
/// late.
const SILENCE_TOLD: Duration = Duration::from_secs(10);

impl Running {
    /// For how long its worker has been silent, if that is worth telling a person: the lease ran out,
    /// since the worker died, froze or lost the broker. `stored` is the server's timestamp of the
    /// record.
    pub fn silent(&self, stored: Timestamp, now: Timestamp) -> Option<Duration> {
        let silent = now.since(stored.plus(Duration::from_millis(self.lease_ms)));
        (silent > SILENCE_TOLD).then_some(silent)
    }
}

/// Derivations of one realisation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Built.
    pub done: u64,
    /// To be built in all.
    pub expected: u64,
}

/// A job between two attempts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// No claim before the server's timestamp of this record plus this many milliseconds.
    pub delay_ms: u64,
    /// Why the last attempt ended.
    pub reason: AttemptEnd,
}

/// A job that ended, and its whole result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finished {
    /// How.
    pub outcome: Outcome,
    /// When, by the worker's clock.
    pub at: Timestamp,
    /// The worker that built it; none when it ended without a claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<WorkerName>,
    /// Milliseconds from the publish of its message to the first claim.
    #[serde(default)]
    pub queue_ms: u64,
    /// Milliseconds from the last claim to the end.
    #[serde(default)]
    pub build_ms: u64,
    /// Milliseconds spent in each phase of the last attempt.
    #[serde(default)]
    pub phases: Vec<PhaseTime>,
    /// Inputs of the flake that were replaced. The key's revision token has only their digest.
    #[serde(default, skip_serializing_if = "Overrides::is_empty")]
    pub overrides: Overrides,
    /// Who vouches for all this; none from a worker without a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<Signature>,
}

/// Time spent in one phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseTime {
    /// Which phase.
    pub phase: Phase,
    /// How long, in milliseconds.
    pub ms: u64,
}

/// The phases of a build, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Claimed; nothing begun.
    Claimed,
    /// The mirror gets the commit, and the commit is checked against the allowed refs.
    Fetch,
    /// Nix evaluates the host to a derivation.
    Evaluate,
    /// Nix builds or substitutes it.
    Build,
    /// The closure goes to the cache.
    Push,
    /// The closure is rooted for its ref.
    Root,
}

impl Phase {
    /// The name in output and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Claimed => "claimed",
            Self::Fetch => "fetch",
            Self::Evaluate => "evaluate",
            Self::Build => "build",
            Self::Push => "push",
            Self::Root => "root",
        }
    }
}

/// One claim of a job by a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Its epoch.
    pub epoch: Epoch,
    /// By whom.
    pub worker: WorkerName,
    /// In which life.
    pub instance: Instance,
    /// Since when, by the worker's clock.
    pub at: Timestamp,
    /// How it ended; none while it runs, and for the one that finished the job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<AttemptEnd>,
}

/// How an attempt ended that did not finish its job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "kebab-case")]
pub enum AttemptEnd {
    /// The worker was told to stop and handed the job back. Does not count.
    HandedBack,
    /// The lease ran out: the worker died, froze or lost the broker. Counts.
    WorkerLost,
    /// An infrastructure fault. Counts.
    Infra {
        /// Which.
        kind: InfraKind,
        /// In one line.
        message: String,
    },
}

impl AttemptEnd {
    /// Whether an attempt that ended so is one of the `max_attempts`.
    pub fn counts(&self) -> bool {
        !matches!(self, Self::HandedBack)
    }

    /// What another attempt comes after, in a sentence.
    pub fn in_words(&self) -> &'static str {
        match self {
            Self::HandedBack => "a hand-back",
            Self::WorkerLost => "worker-lost",
            Self::Infra { kind, .. } => kind.name(),
        }
    }
}

/// Who claims, and when by the claimer's clock.
#[derive(Clone, Debug)]
pub struct Claimer {
    /// The worker.
    pub worker: WorkerName,
    /// Its life.
    pub instance: Instance,
    /// Which claim of that life this is.
    pub claim: u64,
    /// Its clock.
    pub at: Timestamp,
    /// The lease it asks for, in milliseconds.
    pub lease_ms: u64,
}

impl Record {
    /// The claim: epoch+1 over whatever was there. An attempt found running is closed as lost.
    pub fn claimed(previous: Option<&Self>, incarnation: Incarnation, by: &Claimer) -> Self {
        let epoch = Self::epoch_after(previous);
        let mut attempts = Self::attempts_so_far(previous, incarnation);
        attempts.push(Attempt {
            epoch,
            worker: by.worker.clone(),
            instance: by.instance,
            at: by.at,
            end: None,
        });
        if attempts.len() > ATTEMPTS_KEPT {
            let spare = attempts.iter().position(|a| a.end.as_ref().is_some_and(|e| !e.counts()));
            attempts.remove(spare.unwrap_or(0));
        }
        let state = State::Running(Running {
            instance: by.instance,
            claim: by.claim,
            worker: by.worker.clone(),
            lease_ms: by.lease_ms,
            phase: Phase::Claimed,
            progress: None,
        });
        Self { v: V1, epoch, incarnation, attempts, state }
    }

    /// The end of an incarnation that this epoch does not hold: cancelled or out of attempts.
    pub fn closed(previous: Option<&Self>, incarnation: Incarnation, finished: Finished) -> Self {
        Self {
            v: V1,
            epoch: Self::epoch_after(previous),
            incarnation,
            attempts: Self::attempts_so_far(previous, incarnation),
            state: State::Finished(finished),
        }
    }

    /// The renewal: the same claim, with the phase it has come to.
    pub fn renewed(&self, running: Running) -> Self {
        Self { state: State::Running(running), ..self.clone() }
    }

    /// The end of this attempt, not of the job.
    pub fn waiting(&self, delay_ms: u64, reason: AttemptEnd) -> Self {
        let mut record = self.clone();
        record.end_attempt(reason.clone());
        record.state = State::Waiting(Waiting { delay_ms, reason });
        record
    }

    /// The end of the job.
    pub fn finished(&self, finished: Finished) -> Self {
        Self { state: State::Finished(finished), ..self.clone() }
    }

    /// Attempts of `incarnation` that count against `max_attempts`. One still running counts.
    pub fn attempts_used(&self, incarnation: Incarnation) -> usize {
        if self.incarnation != incarnation {
            return 0;
        }
        let counts = |attempt: &&Attempt| attempt.end.as_ref().is_none_or(AttemptEnd::counts);
        self.attempts.iter().filter(counts).count()
    }

    /// How it ended, if it did.
    pub fn outcome(&self) -> Option<&Outcome> {
        match &self.state {
            State::Finished(finished) => Some(&finished.outcome),
            State::Running(_) | State::Waiting(_) => None,
        }
    }

    /// With which inputs overridden it was built, once it is finished.
    pub fn overrides(&self) -> Option<&Overrides> {
        match &self.state {
            State::Finished(finished) => Some(&finished.overrides),
            State::Running(_) | State::Waiting(_) => None,
        }
    }

    /// What was built and need not be built again for this request. Not with other overrides, whose
    /// digest may be the same.
    pub fn reusable(&self, request: &Request) -> Option<&Built> {
        let State::Finished(Finished { outcome: Outcome::Built(built), overrides, .. }) =
            &self.state
        else {
            return None;
        };
        (!request.force && *overrides == request.overrides).then_some(built)
    }

    /// Who holds it, if somebody does.
    pub fn running(&self) -> Option<&Running> {
        match &self.state {
            State::Running(running) => Some(running),
            State::Waiting(_) | State::Finished(_) => None,
        }
    }

    /// Whether this is the running claim of `instance` under `epoch`.
    pub fn held_by(&self, instance: Instance, epoch: Epoch) -> bool {
        let mine = |running: &Running| running.instance == instance;
        self.running().is_some_and(mine) && self.epoch == epoch
    }

    /// Whether this is the claim that `running` is of, under `epoch`, however far it has come.
    pub fn is_claim(&self, running: &Running, epoch: Epoch) -> bool {
        let same = |it: &Running| it.claim == running.claim;
        self.held_by(running.instance, epoch) && self.running().is_some_and(same)
    }

    fn epoch_after(previous: Option<&Self>) -> Epoch {
        Epoch(previous.map_or(0, |record| record.epoch.0) + 1)
    }

    fn attempts_so_far(previous: Option<&Self>, incarnation: Incarnation) -> Vec<Attempt> {
        let Some(same) = previous.filter(|record| record.incarnation == incarnation) else {
            return Vec::new();
        };
        let mut record = same.clone();
        if matches!(record.state, State::Running(_)) {
            record.end_attempt(AttemptEnd::WorkerLost);
        }
        record.attempts
    }

    fn end_attempt(&mut self, end: AttemptEnd) {
        if let Some(last) = self.attempts.last_mut().filter(|attempt| attempt.end.is_none()) {
            last.end = Some(end);
        }
    }
}
