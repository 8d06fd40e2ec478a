//! Worker processes around the real machine: their lives, clocks, timers and steps.

use std::time::Duration;

use bus::Entry;
use proto::{Epoch, Incarnation, Instance, Request};
use uuid::Uuid;

use super::{
    broker::{BEGIN, server_time},
    builds::Build,
    checks::{Broken, Rule, worker_name},
    history,
    schedule::{ANSWER_WAIT, AVOID_MAX, LEASE, Millis},
    world::{Happening, World},
};
use crate::machine::{
    Machine, REUSES_MAX, Settings,
    io::{DeliveryId, Effect, Event, Now},
    tests,
};

/// One worker, life after life.
#[derive(Default)]
pub(super) struct Worker {
    number: usize,
    pub(super) life: u32,
    machine: Option<Machine>,
    born: Millis,
    /// The server's time as believed, minus the true one.
    pub(super) error: i64,
    pub(super) frozen: bool,
    /// What came in while it was frozen.
    pub(super) meanwhile: Vec<Happening>,
    /// No connection until then.
    pub(super) back: Millis,
    pub(super) hands: Vec<Hand>,
    pub(super) delivered: u64,
    wakes_at: Option<Millis>,
}

/// A delivery in the hands of a worker.
pub(super) struct Hand {
    pub(super) id: DeliveryId,
    pub(super) seq: u64,
    pub(super) job: usize,
    pub(super) incarnation: Incarnation,
    /// The claim that was sent for it.
    pub(super) claim: Option<Epoch>,
    /// The request as it stood before the record was read.
    pub(super) request_before: Option<Entry<Request>>,
    pub(super) build: Build,
    /// Its build needs no slot.
    pub(super) reuses: bool,
    pub(super) settled: bool,
}

impl Worker {
    pub(super) fn new(number: usize) -> Self {
        Self { number, ..Self::default() }
    }

    pub(super) fn instance(&self) -> Instance {
        Instance(Uuid::from_u128(self.number as u128 * 1000 + u128::from(self.life)))
    }

    /// It lives and has nothing to do.
    pub(super) fn idle(&self) -> bool {
        self.machine.as_ref().is_some_and(|it| it.jobs().is_empty())
    }

    pub(super) fn hand(&mut self, id: DeliveryId) -> Option<&mut Hand> {
        self.hands.iter_mut().find(|it| it.id == id)
    }
}

impl World {
    /// A new life begins.
    pub(super) fn start(&mut self, number: usize) {
        let (now, schedule) = (self.now, &self.schedule);
        let worker = &mut self.workers[number];
        worker.life += 1;
        worker.born = now;
        let settings = Settings {
            worker: worker_name(number).parse().expect("a name"),
            instance: worker.instance(),
            slots: schedule.workers[number].slots,
            lease: Duration::from_millis(LEASE),
            attempts_max: schedule.attempts_max,
            retry_delay_min: Duration::from_secs(1),
            retry_delay_max: Duration::from_secs(4),
            drain_timeout: Duration::from_secs(3),
            orphan_grace: Duration::from_millis(schedule.orphan_grace),
            avoid_max: Duration::from_millis(AVOID_MAX),
            standalone: schedule.standalone,
            seed: self.rng.u64(..),
            ..tests::settings()
        };
        worker.machine = Some(Machine::new(settings));
        self.step(number, Event::Tick);
    }

    /// All that the process knew is gone; what it sent is not.
    pub(super) fn crash(&mut self, number: usize, down: Millis) {
        if self.workers[number].machine.is_none() {
            return;
        }
        self.note(|world| format!("{} is gone", world.name_of(number)));
        self.calls.forget(number);
        // The server mostly notices that nobody is there any more.
        if self.rng.u8(0..4) > 0 {
            self.broker.pulls.retain(|it| it.link != number);
        }
        let worker = &mut self.workers[number];
        let (life, error, back) = (worker.life, worker.error, worker.back);
        *worker = Worker { life, error, back, ..Worker::new(number) };
        self.later(self.now + down, Happening::Start(number));
    }

    pub(super) fn freeze(&mut self, number: usize, time: Millis) {
        if self.healed || self.workers[number].frozen || self.workers[number].machine.is_none() {
            return;
        }
        self.note(|world| format!("{} freezes for {time} ms", world.name_of(number)));
        self.workers[number].frozen = true;
        self.later(self.now + time, Happening::Thaw(number));
    }

    /// All that came in meanwhile comes at once, in any order; only a build's own news keep theirs.
    pub(super) fn thaw(&mut self, number: usize) {
        if !std::mem::take(&mut self.workers[number].frozen) {
            return;
        }
        self.note(|world| format!("{} thaws", world.name_of(number)));
        let (mut builds, mut all): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.workers[number].meanwhile)
                .into_iter()
                .partition(|it| matches!(it, Happening::Build(..)));
        builds.reverse();
        self.rng.shuffle(&mut all);
        while !all.is_empty() || !builds.is_empty() {
            let build = all.is_empty() || !builds.is_empty() && self.rng.bool();
            let next = if build { builds.pop() } else { all.pop() };
            let Some(next) = next else { return };
            self.happen(next);
        }
    }

    fn clock(&self, number: usize) -> Now {
        let worker = &self.workers[number];
        let rate = self.schedule.workers[number].rate;
        let mono = Duration::from_micros((self.now - worker.born) * rate);
        let true_time = server_time(self.now);
        let server = proto::Timestamp(true_time.0.saturating_add_signed(worker.error));
        // Its own clock is for people: any nonsense will do.
        let local = proto::Timestamp(BEGIN.0 / (number as u64 + 1) + self.now);
        Now { mono, local, server }
    }

    pub(super) fn wake(&mut self, number: usize, life: u32) {
        if self.workers[number].life != life {
            return;
        }
        self.workers[number].wakes_at = None;
        let mono = self.clock(number).mono;
        let due = self.workers[number].machine.as_ref().and_then(Machine::deadline);
        if due.is_some_and(|due| due <= mono) {
            self.step(number, Event::Tick);
        } else {
            self.set_timer(number);
        }
    }

    fn set_timer(&mut self, number: usize) {
        let rate = self.schedule.workers[number].rate;
        let worker = &mut self.workers[number];
        let Some(due) = worker.machine.as_ref().and_then(Machine::deadline) else { return };
        let Ok(due) = u64::try_from(due.as_micros()) else { return };
        let at = (worker.born + due.div_ceil(rate)).max(self.now);
        if worker.wakes_at.is_none_or(|set| at < set) {
            worker.wakes_at = Some(at);
            let life = worker.life;
            self.later(at, Happening::Wake(number, life));
        }
    }

    /// One event through the machine, and all that it does about it.
    pub(super) fn step(&mut self, number: usize, event: Event) {
        let now = self.clock(number);
        if self.workers[number].machine.is_none() {
            return;
        }
        if let Some(told) = self.history.is_some().then(|| history::event(&event)).flatten() {
            self.note(|world| format!("{} < {told}", world.name_of(number)));
        }
        let machine = self.workers[number].machine.as_mut();
        let effects = machine.map(|it| it.step(now, event)).unwrap_or_default();
        let mut trips = false;
        for effect in effects {
            trips |= matches!(effect, Effect::WriteRecord { .. } | Effect::Ack(_));
            if let Some(told) = self.history.is_some().then(|| history::effect(&effect)).flatten() {
                self.note(|world| format!("{} > {told}", world.name_of(number)));
            }
            self.perform(number, effect);
        }
        let machine = self.workers[number].machine.as_ref();
        let jobs = machine.map_or(0, |it| it.jobs().len());
        let hands = self.workers[number].hands.iter();
        let builds = hands.filter(|it| it.build == Build::Running && !it.reuses).count();
        let most = 2 * self.schedule.workers[number].slots;
        if builds > most || jobs > most + REUSES_MAX {
            self.breaks(Rule::TooManyJobs, "more than twice its slots");
        }
        self.set_timer(number);
        if trips && self.goes_wrong(self.schedule.rates.tripped) {
            self.trip(number);
        }
    }

    /// Something befalls the worker at the worst moment.
    fn trip(&mut self, number: usize) {
        let time = self.rng.u64(100..2 * LEASE);
        match self.rng.u8(0..3) {
            0 => self.crash(number, time / 4),
            1 => self.freeze(number, time),
            _ => self.cut(number, time),
        }
    }

    pub(super) fn breaks(&mut self, rule: Rule, why: &str) {
        self.check(Err(Broken { rule, why: why.to_owned() }));
    }

    /// No connection for the time.
    pub(super) fn cut(&mut self, number: usize, time: Millis) {
        if self.healed {
            return;
        }
        self.note(|world| format!("{} is cut off for {time} ms", world.name_of(number)));
        self.workers[number].back = self.workers[number].back.max(self.now + time);
        self.drop_pulls(number);
    }

    /// The connection of an open pull is gone: it ends, here and there.
    pub(super) fn drop_pulls(&mut self, number: usize) {
        self.broker.pulls.retain(|it| it.link != number);
        if let Some(call) = self.calls.pull_of(number) {
            let end = self.now + self.rng.u64(1..ANSWER_WAIT);
            self.later(end, Happening::Timeout(call));
        }
    }
}
