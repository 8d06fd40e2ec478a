//! Everything that goes into the job machine and everything that comes out of it.
//!
//! Both enums are closed: whoever wants to know what can happen to a job reads this file.

use std::time::Duration;

use bus::Entry;
use proto::{
    Before, Class, JobKey, Outcome, Overrides, Record, Request, Timestamp, event::What,
    subject::JobSubject,
};

use crate::build::{Ended, Notice, Plan};

/// One hand-over of a message, as the loop names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryId(pub u64);

/// The time, from three clocks. Only differences of `mono` and of `server` are ever decided on.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Since the worker started; does not jump.
    pub mono: Duration,
    /// This machine's clock, for records that people read.
    pub local: Timestamp,
    /// The server's clock as estimated from here.
    pub server: Timestamp,
}

/// A job message as delivered.
#[derive(Clone, Debug)]
pub struct Delivered {
    /// How the loop names it.
    pub id: DeliveryId,
    /// For which job, from the subject alone.
    pub subject: JobSubject,
    /// When the server stored the message.
    pub published: Timestamp,
    /// So many jobs of its class and priority waited behind it, as the server counts. A hint.
    pub waiting: u64,
    /// What was known of the job when it was published. A hint.
    pub before: Before,
    /// Why the payload is none of ours, if so. Such a job ends as a dead letter.
    pub poison: Option<String>,
}

/// What a read came to.
#[derive(Clone, Debug)]
pub enum Answer<T> {
    /// The leader says so.
    Is(Entry<T>),
    /// Nobody answered.
    None,
    /// What stands there is no record that this version can read.
    Unreadable(String),
}

/// What a compare-and-set came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It stands, under this revision.
    Done(u64),
    /// Another revision stood there.
    Conflict,
    /// Nobody answered: it may stand, now or later.
    NoAnswer,
    /// The broker refuses it, for good: too large, denied.
    Refused,
}

/// What happens to a worker.
#[derive(Debug)]
pub enum Event {
    /// A round of pulling ended.
    Pulled(Vec<Delivered>),
    /// What a round of pulling brought besides, when the next one may be under way already.
    Surplus(Vec<Delivered>),
    /// A round of pulling failed.
    PullFailed,
    /// The record of a job was read for a delivery.
    RecordRead(DeliveryId, Answer<Record>),
    /// The request of a job was read for a delivery.
    RequestRead(DeliveryId, Answer<Request>),
    /// The record of a job was written, or not.
    RecordWritten(DeliveryId, Written),
    /// An ack was confirmed, or not.
    Acked(DeliveryId, bool),
    /// A dead letter was stored, or not.
    Buried(DeliveryId, bool),
    /// A build has come further.
    Noticed(DeliveryId, Notice),
    /// A build has ended; nothing of it is left running.
    Ended(DeliveryId, Ended),
    /// Somebody took a wish for this job away, perhaps.
    CancelPoked(JobKey),
    /// There are jobs of one more class that this worker can build.
    Serves(Class),
    /// Whether new work may be taken: `Some` is why not.
    Paused(Option<String>),
    /// The worker is told to stop.
    Drain,
    /// A deadline of the machine has passed.
    Tick,
}

/// What a worker does about it.
#[derive(Debug)]
pub enum Effect {
    /// Take up to so many jobs from the first of these consumers that has any, else wait for one of
    /// any.
    Pull(Vec<String>, usize),
    /// Take the open pull back.
    StopPull,
    /// Read the record from the leader.
    ReadRecord(DeliveryId, JobKey),
    /// Read the request from the leader.
    ReadRequest(DeliveryId, JobKey),
    /// Write the record if it still has this revision.
    WriteRecord {
        /// For which delivery.
        id: DeliveryId,
        /// Which key.
        job: JobKey,
        /// The new value.
        record: Box<Record>,
        /// The revision it must still have.
        expected: u64,
    },
    /// Tell the server that the work goes on.
    Progress(DeliveryId),
    /// Ack, confirmed.
    Ack(DeliveryId),
    /// Hand the message back, to come again after the delay. Settles the delivery.
    Nak(DeliveryId, Duration),
    /// Leave the message to whoever owns the job now. Settles the delivery.
    Abandon(DeliveryId),
    /// Start the build.
    Build {
        /// For which delivery.
        id: DeliveryId,
        /// The claim, with job, epoch and all.
        subject: JobSubject,
        /// Under which epoch.
        record: Box<Record>,
        /// How.
        plan: Plan,
        /// With these inputs replaced.
        overrides: Overrides,
    },
    /// Stop the build; `Ended` follows when nothing of it is left.
    Kill(DeliveryId),
    /// Publish what happened to a job.
    Tell {
        /// The job and its asking.
        subject: JobSubject,
        /// The claim it is about.
        epoch: proto::Epoch,
        /// What.
        what: What,
    },
    /// Store a dead letter, confirmed: the message is acked after it.
    Bury {
        /// For which delivery.
        id: DeliveryId,
        /// The job and its asking.
        subject: JobSubject,
        /// Its record, with the attempts.
        record: Box<Record>,
        /// Why.
        reason: String,
    },
    /// A host was built: note it as its last good one, if it is.
    NoteGood(JobKey, Box<Record>),
    /// All is settled after a drain.
    Exit,
}

impl Effect {
    pub(super) fn told(subject: &JobSubject, record: &Record, what: What) -> Self {
        Self::Tell { subject: subject.clone(), epoch: record.epoch, what }
    }

    pub(super) fn finished(subject: &JobSubject, record: &Record, outcome: &Outcome) -> Self {
        Self::told(subject, record, What::Finished { outcome: outcome.name().into() })
    }
}
