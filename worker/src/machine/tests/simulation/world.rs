//! Virtual time: a queue of happenings, and everybody to whom they happen. One seed, one course.

use std::{cmp::Ordering, collections::BinaryHeap};

use fastrand::Rng;
use proto::JobKey;

use super::{
    broker::Broker,
    builds::BuildStep,
    checks::{Broken, Check, Facts, Rule},
    mutants::Mutant,
    network::{Calls, Op, Reply},
    schedule::{Fault, Millis, REST_WITHIN, SECOND, Schedule},
    submitters::Errand,
    workers::Worker,
};
use crate::machine::io::DeliveryId;

/// One thing that happens.
#[derive(Clone, Debug)]
pub(super) enum Happening {
    /// Something reaches the broker.
    Arrives {
        link: usize,
        call: Option<u64>,
        op: Op,
    },
    /// An answer reaches its asker.
    Reply(u64, Reply),
    /// An asker gives up waiting.
    Timeout(u64),
    /// A message may be due for a waiting pull.
    Serve,
    /// A worker's timer.
    Wake(usize, u32),
    Build(usize, u32, DeliveryId, BuildStep),
    /// A cancel poke reaches a worker.
    Poke(usize, usize),
    /// A pause is over.
    Resume(usize),
    Thaw(usize),
    Start(usize),
    Fault(Fault),
    /// An act of the schedule.
    Act(usize),
    /// An errand goes on after a pause.
    Continue(usize),
    Sweep,
}

struct Queued {
    at: Millis,
    tie: u64,
    what: Happening,
}

impl Ord for Queued {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.tie).cmp(&(self.at, self.tie))
    }
}

impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Queued {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Queued {}

pub(super) struct World {
    pub(super) now: Millis,
    pub(super) rng: Rng,
    pub(super) schedule: Schedule,
    pub(super) mutant: Option<Mutant>,
    pub(super) keys: Vec<JobKey>,
    pub(super) broker: Broker,
    pub(super) facts: Vec<Facts>,
    pub(super) workers: Vec<Worker>,
    pub(super) errands: Vec<Option<Errand>>,
    pub(super) calls: Calls,
    /// Nobody reaches the broker until then.
    pub(super) broker_back: Millis,
    /// Incarnations named so far.
    pub(super) named: u128,
    pub(super) healed: bool,
    pub(super) broken: Option<Broken>,
    pub(super) history: Option<Vec<String>>,
    /// Happenings so far.
    pub(super) steps: u64,
    queue: BinaryHeap<Queued>,
    queued: u64,
}

impl World {
    pub(super) fn new(seed: u64, mutant: Option<Mutant>, told: bool) -> Self {
        let mut rng = Rng::with_seed(seed);
        let schedule = Schedule::new(&mut rng);
        let keys = (0..schedule.jobs).map(job_key).collect();
        let mut world = Self {
            now: 0,
            rng,
            mutant,
            keys,
            broker: Broker::new(schedule.jobs),
            facts: (0..schedule.jobs).map(|_| Facts::default()).collect(),
            workers: (0..schedule.workers.len()).map(Worker::new).collect(),
            errands: Vec::new(),
            calls: Calls::default(),
            broker_back: 0,
            named: 0,
            healed: false,
            broken: None,
            history: told.then(Vec::new),
            steps: 0,
            queue: BinaryHeap::new(),
            queued: 0,
            schedule,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        self.note(|world| format!("{:?}", world.schedule));
        for worker in 0..self.workers.len() {
            self.later(self.now, Happening::Start(worker));
        }
        for (at, fault) in self.schedule.faults.clone() {
            self.later(at, Happening::Fault(fault));
        }
        for act in 0..self.schedule.acts.len() {
            self.later(self.schedule.acts[act].0, Happening::Act(act));
        }
        self.later(SECOND, Happening::Sweep);
    }

    pub(super) fn later(&mut self, at: Millis, what: Happening) {
        self.queued += 1;
        // What happens in the same millisecond happens in any order.
        let tie = (u64::from(self.rng.u32(..)) << 32) | self.queued;
        self.queue.push(Queued { at, tie, what });
    }

    /// Runs until all has come to rest or a rule is broken.
    pub(super) fn run(&mut self) -> Check {
        while let Some(Queued { at, what, .. }) = self.queue.pop() {
            if !self.healed && at >= self.schedule.heal_at {
                self.now = self.schedule.heal_at;
                self.heal();
            }
            self.now = at;
            self.steps += 1;
            self.happen(what);
            if let Some(broken) = self.broken.take() {
                self.note(|_| format!("BROKEN {:?}: {}", broken.rule, broken.why));
                return Err(broken);
            }
            if self.healed && self.at_rest() {
                return Ok(());
            }
            if at > self.schedule.heal_at + REST_WITHIN {
                break;
            }
        }
        let (left, why) = (self.broker.messages.len(), self.unrest());
        self.note(|_| format!("BROKEN Stuck: {left} messages left, {why}"));
        Err(Broken { rule: Rule::Stuck, why: format!("{left} messages left, {why}") })
    }

    pub(super) fn happen(&mut self, what: Happening) {
        if let Some(worker) = self.to_worker(&what)
            && self.workers[worker].frozen
        {
            self.workers[worker].meanwhile.push(what);
            return;
        }
        match what {
            Happening::Arrives { link, call, op } => self.arrives(link, call, op),
            Happening::Reply(call, reply) => self.replied(call, Some(reply)),
            Happening::Timeout(call) => self.replied(call, None),
            Happening::Serve => self.serve(),
            Happening::Wake(worker, life) => self.wake(worker, life),
            Happening::Build(worker, life, id, step) => self.build_step(worker, life, id, step),
            Happening::Poke(worker, job) => self.poked(worker, job),
            Happening::Resume(worker) => self.pause(worker, None),
            Happening::Thaw(worker) => self.thaw(worker),
            Happening::Start(worker) => self.start(worker),
            Happening::Fault(fault) => self.fault(&fault),
            Happening::Act(act) => self.act(act),
            Happening::Continue(errand) => self.go_on(errand, None),
            Happening::Sweep => self.sweep(),
        }
    }

    /// The worker that has to be awake for it.
    fn to_worker(&self, what: &Happening) -> Option<usize> {
        match what {
            Happening::Reply(call, _) | Happening::Timeout(call) => self.calls.worker(*call),
            Happening::Wake(worker, _)
            | Happening::Build(worker, ..)
            | Happening::Poke(worker, _)
            | Happening::Resume(worker)
            | Happening::Fault(Fault::Drain(worker) | Fault::Pause(worker, _)) => Some(*worker),
            _ => None,
        }
    }

    /// Faults are over: from here on all must come to rest.
    fn heal(&mut self) {
        self.note(|_| "---- faults stop ----".into());
        self.healed = true;
        self.broker_back = self.now;
        for worker in 0..self.workers.len() {
            self.workers[worker].back = self.now;
            self.thaw(worker);
            self.pause(worker, None);
        }
    }

    fn at_rest(&self) -> bool {
        self.broker.messages.is_empty()
            && self.calls.in_flight == 0
            && self.errands.iter().all(Option::is_none)
            && (0..self.schedule.jobs).all(|job| self.satisfied(job))
            && self.workers.iter().all(Worker::idle)
    }

    /// Nobody waits for a result of the job.
    fn satisfied(&self, job: usize) -> bool {
        let request = self.broker.requests[job].value.as_ref();
        let record = self.broker.records[job].value.as_ref();
        request.filter(|it| it.wanted()).is_none_or(|request| {
            record.is_some_and(|it| it.incarnation == request.incarnation && it.outcome().is_some())
        })
    }

    fn unrest(&self) -> String {
        let waits = (0..self.schedule.jobs).filter(|job| !self.satisfied(*job)).count();
        let busy = self.workers.iter().filter(|it| !it.idle()).count();
        let errands = self.errands.iter().flatten().count();
        format!("{waits} jobs unfinished, {busy} workers busy, {errands} errands under way")
    }

    pub(super) fn check(&mut self, check: Check) {
        if let Err(broken) = check {
            self.broken.get_or_insert(broken);
        }
    }

    /// A line of history, if somebody wants to read it.
    pub(super) fn note(&mut self, line: impl FnOnce(&Self) -> String) {
        if self.history.is_some() {
            let line = format!("{:>9.3}  {}", self.now as f64 / 1000.0, line(self));
            self.history.iter_mut().for_each(|lines| lines.push(line.clone()));
        }
    }

    /// Out of a thousand, and never once faults have stopped.
    pub(super) fn goes_wrong(&mut self, rate: u32) -> bool {
        rate > 0 && !self.healed && self.rng.u32(0..1000) < rate
    }
}

fn job_key(job: usize) -> JobKey {
    let host = ["a", "b"][job];
    super::super::subject(host, super::super::incarnation(0)).job
}
