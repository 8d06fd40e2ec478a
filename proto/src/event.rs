//! What happened, for audit, metrics and whoever subscribes to `nbp.event.>`.

mod asking;

pub use asking::{ClassChange, ClassEvent, RunChange, RunEvent};
use serde::{Deserialize, Serialize};

use crate::{
    job::{Incarnation, Instance, JobKey},
    outcome::InfraKind,
    record::{Epoch, Phase},
    time::Timestamp,
    token::WorkerName,
    version::V1,
};

/// One thing that happened to a job. Subject `nbp.event.job.<kind>.<repo>.<revision>.<host>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobEvent {
    /// Version of this shape.
    pub v: V1,
    /// When, by the teller's clock.
    pub at: Timestamp,
    /// The job.
    pub job: JobKey,
    /// Its asking.
    pub incarnation: Incarnation,
    /// The claim it is about; zero before the first.
    pub epoch: Epoch,
    /// Who tells.
    pub worker: WorkerName,
    /// What happened.
    pub what: What,
}

/// What happened to a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum What {
    /// A worker took it.
    Claimed,
    /// It came to a new phase.
    Phase {
        /// Which.
        phase: Phase,
    },
    /// The attempt met an infrastructure fault; it will be tried again.
    Retrying {
        /// Which fault.
        reason: InfraKind,
        /// In one line.
        message: String,
        /// After how many milliseconds.
        delay_ms: u64,
    },
    /// A stopping worker handed it back.
    HandedBack,
    /// The worker found that another had taken the job over, and stopped.
    Fenced,
    /// A build of a claim that was lost came to an end. It does not count.
    Late {
        /// The name of what would have been its outcome.
        outcome: String,
    },
    /// It was wanted, unfinished and in no queue; a sweep published it again.
    Requeued,
    /// Its request was old and of no use to anybody; a sweep forgot it.
    Pruned,
    /// The worker does not build such jobs, and leaves it to one that might. Each worker tells it once.
    Refused {
        /// Why.
        reason: String,
    },
    /// It ended.
    Finished {
        /// The name of its outcome.
        outcome: String,
    },
    /// It went to the dead letters.
    Dead {
        /// Why.
        reason: String,
    },
}

/// One thing that happened to a worker. Subject `nbp.event.worker.<kind>.<worker>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerEvent {
    /// Version of this shape.
    pub v: V1,
    /// When, by its clock.
    pub at: Timestamp,
    /// Which.
    pub worker: WorkerName,
    /// Its life.
    pub instance: Instance,
    /// What happened.
    pub what: WorkerChange,
}

/// What happened to a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum WorkerChange {
    /// It takes jobs, from now on or again.
    Ready,
    /// It takes no new jobs.
    Paused {
        /// Why.
        why: String,
    },
    /// It was told to stop: it finishes what it has.
    Draining,
}

impl WorkerChange {
    /// The token in the event's subject.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Paused { .. } => "paused",
            Self::Draining => "draining",
        }
    }
}

impl What {
    /// The token in the event's subject.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Claimed => "claimed",
            Self::Phase { .. } => "phase",
            Self::Retrying { .. } => "retrying",
            Self::HandedBack => "handed-back",
            Self::Fenced => "fenced",
            Self::Late { .. } => "late",
            Self::Requeued => "requeued",
            Self::Pruned => "pruned",
            Self::Refused { .. } => "refused",
            Self::Finished { .. } => "finished",
            Self::Dead { .. } => "dead",
        }
    }
}

/// A job that will not be tried again by itself, or a message that nobody can read. Stream
/// `NBP_DEAD`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Version of this shape.
    pub v: V1,
    /// When, by the teller's clock.
    pub at: Timestamp,
    /// Who tells.
    pub worker: WorkerName,
    /// The subject of the message, cut to 1 KiB.
    pub subject: String,
    /// The payload as text where it is text, cut to 64 KiB.
    pub payload: String,
    /// Why.
    pub reason: String,
    /// The job's attempts, where there is a job.
    pub attempts: Vec<crate::record::Attempt>,
}
