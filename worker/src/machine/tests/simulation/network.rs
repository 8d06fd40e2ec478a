//! What lies between the broker and everybody else: messages are lost, late, overtaken by others,
//! or arrive when nobody waits for the answer any more.

use std::collections::BTreeMap;

use bus::Entry;
use proto::{Incarnation, Priority, Record, Request};

use super::{
    broker::Message,
    checks::{Author, Writer},
    history,
    schedule::{ANSWER_WAIT, LEASE, Millis, PULL_WAIT},
    world::{Happening, World},
};
use crate::machine::io::DeliveryId;

/// The connection of everybody who is no worker.
pub(super) const DESK: usize = usize::MAX;

/// Something for the broker.
#[derive(Clone, Debug)]
pub(super) enum Op {
    ReadRecord(usize),
    ReadRequest(usize),
    WriteRecord { job: usize, record: Box<Record>, expected: u64, by: Writer },
    WriteRequest { job: usize, request: Box<Request>, expected: u64, by: Author },
    Publish { job: usize, priority: Priority, of: Incarnation },
    List,
    Pull(Vec<Priority>),
    StopPull(u64),
    Ack(u64),
    Nak(u64, Millis),
    Progress(u64),
    Bury(usize, Incarnation),
}

/// What the broker says.
#[derive(Clone, Debug)]
pub(super) enum Reply {
    Record(Entry<Record>),
    Request(Entry<Request>),
    Written(u64),
    Conflict,
    Refused,
    Published,
    Listed(Vec<(usize, Incarnation)>),
    Pulled(Vec<Message>),
    Acked,
}

/// Who asked, and what the answer is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose {
    Record(usize, DeliveryId),
    Request(usize, DeliveryId),
    Write(usize, DeliveryId),
    Ack(usize, DeliveryId),
    Bury(usize, DeliveryId),
    Pull(usize),
    Errand(usize),
}

impl Purpose {
    pub(super) fn worker(self) -> Option<usize> {
        match self {
            Self::Record(worker, _)
            | Self::Request(worker, _)
            | Self::Write(worker, _)
            | Self::Ack(worker, _)
            | Self::Bury(worker, _)
            | Self::Pull(worker) => Some(worker),
            Self::Errand(_) => None,
        }
    }
}

/// The questions that somebody waits for an answer to.
#[derive(Default)]
pub(super) struct Calls {
    pub(super) open: BTreeMap<u64, (Purpose, Millis)>,
    made: u64,
    /// Messages on their way to the broker, except pulls.
    pub(super) in_flight: usize,
}

impl Calls {
    pub(super) fn worker(&self, call: u64) -> Option<usize> {
        self.open.get(&call)?.0.worker()
    }

    /// The process that asked is gone.
    pub(super) fn forget(&mut self, worker: usize) {
        self.open.retain(|_, (purpose, _)| purpose.worker() != Some(worker));
    }

    pub(super) fn forget_errand(&mut self, errand: usize) {
        self.open.retain(|_, (it, _)| !matches!(it, Purpose::Errand(n) if *n == errand));
    }

    pub(super) fn pull_of(&self, worker: usize) -> Option<u64> {
        let mut calls = self.open.iter();
        calls.find(|(_, (it, _))| matches!(it, Purpose::Pull(n) if *n == worker)).map(|it| *it.0)
    }
}

impl World {
    /// Asks the broker; exactly one reply or timeout follows.
    pub(super) fn call(&mut self, purpose: Purpose, op: Op) {
        let wait = if matches!(op, Op::Pull(_)) { PULL_WAIT } else { ANSWER_WAIT };
        self.calls.made += 1;
        let (call, until) = (self.calls.made, self.now + wait);
        self.calls.open.insert(call, (purpose, until));
        let link = purpose.worker().unwrap_or(DESK);
        if !self.send(link, Some(call), op) {
            self.later(until, Happening::Timeout(call));
        }
    }

    /// Puts something on the wire; says whether it leaves.
    pub(super) fn send(&mut self, link: usize, call: Option<u64>, op: Op) -> bool {
        let back = self.back(link);
        if back > self.now && self.rng.bool() || self.goes_wrong(self.schedule.rates.lost) {
            self.note(|world| format!("{} sends {}: lost", world.name_of(link), history::op(&op)));
            return false;
        }
        // What waits in the client for the connection leaves when it is back.
        let at = self.now.max(back) + self.latency(true);
        self.calls.in_flight += usize::from(!matches!(op, Op::Pull(_)));
        self.later(at, Happening::Arrives { link, call, op });
        true
    }

    /// When this connection works again.
    pub(super) fn back(&self, link: usize) -> Millis {
        let own = if link == DESK { 0 } else { self.workers[link].back };
        own.max(self.broker_back)
    }

    fn latency(&mut self, to_broker: bool) -> Millis {
        let rates = (self.schedule.rates.stuck, self.schedule.rates.slow);
        if to_broker && self.goes_wrong(rates.0) {
            self.rng.u64(ANSWER_WAIT..2 * LEASE)
        } else if self.goes_wrong(rates.1) {
            self.rng.u64(50..3 * ANSWER_WAIT / 2)
        } else {
            self.rng.u64(1..12)
        }
    }

    pub(super) fn reply(&mut self, link: usize, call: u64, reply: Reply) {
        let Some((_, until)) = self.calls.open.get(&call) else { return };
        let until = *until;
        let at = self.now + self.latency(false);
        let lost = self.back(link) > self.now || self.goes_wrong(self.schedule.rates.lost);
        if lost {
            self.note(|world| format!("the answer to {} is lost", world.name_of(link)));
        }
        if lost || at > until {
            self.later(until.max(self.now), Happening::Timeout(call));
        }
        if !lost {
            self.later(at, Happening::Reply(call, reply));
        }
    }

    /// An answer, or the end of waiting for one. What comes later is for nobody.
    pub(super) fn replied(&mut self, call: u64, reply: Option<Reply>) {
        let Some((purpose, _)) = self.calls.open.remove(&call) else { return };
        match purpose {
            Purpose::Errand(errand) => self.go_on(errand, Some(reply)),
            purpose => self.answered(purpose, reply),
        }
    }

    /// A pull is taken back: what was under way may still come, for a while.
    pub(super) fn stop_pull(&mut self, worker: usize) {
        let Some(call) = self.calls.pull_of(worker) else { return };
        self.send(worker, None, Op::StopPull(call));
        let end = self.now + self.rng.u64(1..ANSWER_WAIT);
        self.later(end, Happening::Timeout(call));
    }
}
