//! JetStream and its buckets as measured (`reference/jetstream.md`): a work queue with one message
//! per subject whose deliveries run out, and which takes acks, naks and progress from anybody, late
//! or not; buckets with compare-and-set and the server's timestamps, read from the leader.

use std::collections::BTreeSet;

use bus::Entry;
use fastrand::Rng;
use proto::{Incarnation, Priority, Record, Request, Timestamp};

use super::schedule::{LEASE, Millis};

/// The server's clock when virtual time begins.
pub(super) const BEGIN: Timestamp = Timestamp(1_000_000);

pub(super) fn server_time(now: Millis) -> Timestamp {
    Timestamp(BEGIN.0 + now)
}

/// A job message in the stream.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) seq: u64,
    pub(super) job: usize,
    pub(super) priority: Priority,
    pub(super) incarnation: Incarnation,
    pub(super) published: Timestamp,
    pub(super) poison: bool,
    /// It can be delivered from here on: a delivery's `ack_wait`, or a nak's delay.
    pub(super) due: Millis,
}

/// A pull that waits for a message.
#[derive(Clone, Debug)]
pub(super) struct Pull {
    pub(super) call: u64,
    pub(super) link: usize,
    pub(super) consumers: Vec<Priority>,
    /// The server forgets it then.
    pub(super) until: Millis,
}

/// Another revision stood there.
pub(super) struct Conflict;

#[derive(Default)]
pub(super) struct Broker {
    pub(super) requests: Vec<Entry<Request>>,
    pub(super) records: Vec<Entry<Record>>,
    pub(super) messages: Vec<Message>,
    pub(super) pulls: Vec<Pull>,
    /// Dead letters: of which job and incarnation.
    pub(super) letters: BTreeSet<(usize, Incarnation)>,
    revision: u64,
    sequence: u64,
}

impl Broker {
    pub(super) fn new(jobs: usize) -> Self {
        let requests = (0..jobs).map(|_| Entry::none()).collect();
        let records = (0..jobs).map(|_| Entry::none()).collect();
        Self { requests, records, ..Self::default() }
    }

    pub(super) fn write_record(
        &mut self,
        job: usize,
        record: Record,
        expected: u64,
        now: Millis,
    ) -> Result<u64, Conflict> {
        put_if(&mut self.records[job], &mut self.revision, record, expected, now)
    }

    pub(super) fn write_request(
        &mut self,
        job: usize,
        request: Request,
        expected: u64,
        now: Millis,
    ) -> Result<u64, Conflict> {
        put_if(&mut self.requests[job], &mut self.revision, request, expected, now)
    }

    /// Says whether it is new: a subject holds one message.
    pub(super) fn publish(&mut self, message: Message) -> bool {
        let same = |it: &Message| {
            (it.job, it.priority, it.incarnation)
                == (message.job, message.priority, message.incarnation)
        };
        if self.messages.iter().any(same) {
            return false;
        }
        self.sequence += 1;
        self.messages.push(Message { seq: self.sequence, ..message });
        true
    }

    /// Hands out one message of a consumer, if one is due.
    pub(super) fn deliver(
        &mut self,
        from: Priority,
        now: Millis,
        rng: &mut Rng,
    ) -> Option<Message> {
        let due = |it: &Message| it.priority == from && it.due <= now;
        let count = self.messages.iter().filter(|it| due(it)).count();
        let chosen = (count > 0).then(|| rng.usize(0..count))?;
        let message = self.messages.iter_mut().filter(|it| due(it)).nth(chosen)?;
        message.due = now + LEASE;
        Some(message.clone())
    }

    /// Deletes the message, whoever says so and however late.
    pub(super) fn ack(&mut self, seq: u64) -> Option<Message> {
        let at = self.messages.iter().position(|it| it.seq == seq)?;
        Some(self.messages.remove(at))
    }

    /// A nak or a progress, by whomever: the message is due then.
    pub(super) fn put_off(&mut self, seq: u64, due: Millis) {
        if let Some(message) = self.messages.iter_mut().find(|it| it.seq == seq) {
            message.due = due;
        }
    }
}

fn put_if<T>(
    entry: &mut Entry<T>,
    revision: &mut u64,
    value: T,
    expected: u64,
    now: Millis,
) -> Result<u64, Conflict> {
    if entry.revision != expected {
        return Err(Conflict);
    }
    *revision += 1;
    *entry = Entry { value: Some(value), revision: *revision, time: server_time(now) };
    Ok(*revision)
}
