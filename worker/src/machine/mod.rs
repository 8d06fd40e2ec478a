//! The worker's heart: what is done with deliveries, builds, timers and signals.
//!
//! [`Machine::step`] is synchronous, takes the time as an argument and returns effects as data. It
//! opens no socket, starts no process and reads no clock, so that every ack policy is a table test
//! and every interleaving can be simulated. [`io`] lists all that goes in and out, [`claim`] holds
//! the rules of claiming, `job` and `held` the life of one delivery.

pub mod claim;
mod held;
pub mod io;
mod job;
mod refused;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bus::PublicKey;
use proto::{
    Before, Class, Instance, Phase, Priority, Repo, WorkerName, topology, worker::PresentJob,
};

use self::{
    io::{Delivered, DeliveryId, Effect, Event, Now},
    job::{Context, Job},
    refused::Refused,
};

/// What the machine is told once.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its name.
    pub worker: WorkerName,
    /// Its life.
    pub instance: Instance,
    /// What it builds.
    pub classes: Vec<Class>,
    /// Where from.
    pub repos: BTreeSet<Repo>,
    /// Jobs at once.
    pub slots: usize,
    /// The length of a lease: the consumers' `ack_wait`.
    pub lease: Duration,
    /// Attempts an incarnation has.
    pub attempts_max: usize,
    /// Delay before the second attempt is up to this long.
    pub retry_delay_min: Duration,
    /// No delay is longer.
    pub retry_delay_max: Duration,
    /// A running build may go on for so long after the order to stop.
    pub drain_timeout: Duration,
    /// A build goes on for so long after its lease ran out unanswered.
    pub orphan_grace: Duration,
    /// A job whose request asks to avoid this worker is left to others for so long.
    pub avoid_max: Duration,
    /// What it signs its results with, if it does.
    pub key: Option<PublicKey>,
    /// The only worker of its data folder (DESIGN 5.13).
    pub standalone: bool,
    /// Seed of the retry jitter.
    pub seed: u64,
}

impl Settings {
    /// Four beats to a lease: two may be lost and a third be late.
    pub fn beat(&self) -> Duration {
        self.lease / 4
    }

    /// Full jitter over an exponential bound: after a shared outage the retries spread out.
    fn retry_delay(&self, attempts_used: usize, chance: &mut fastrand::Rng) -> Duration {
        let doublings = u32::try_from(attempts_used.saturating_sub(1)).unwrap_or(u32::MAX);
        let factor = 2_u32.saturating_pow(doublings);
        let bound = self.retry_delay_min.saturating_mul(factor).min(self.retry_delay_max);
        bound.mul_f64(chance.f64())
    }
}

/// Each eighth round asks the consumers in the opposite order, so that `low` never starves.
const LOW_FIRST_EVERY: u64 = 8;

/// A round takes at most this part of the free slots or of the jobs that wait, whichever is more,
/// and at least one job: while there are few jobs, workers that are idle share them out.
const PULL_SHARE: usize = 4;

/// Jobs beside those in slots of which only has to be seen that what was built is still there: a look
/// takes a moment, and other workers are to have theirs.
const REUSES_MAX: usize = 16;

/// A failed pull is tried again after this long.
const PULL_AGAIN: Duration = Duration::from_secs(1);

/// The state of one worker.
pub struct Machine {
    settings: Settings,
    jobs: BTreeMap<DeliveryId, Job>,
    pull: Pull,
    rounds: u64,
    /// So many jobs waited behind the newest that came.
    waiting: usize,
    /// The newest that came were all built before, by the word of who published them: those behind
    /// them, asked for by the same submit, are likely to be as well.
    reusing: bool,
    paused: Option<String>,
    drain: Option<Drain>,
    exited: bool,
    chance: fastrand::Rng,
    refused: Refused,
}

/// At most one round of pulling is under way.
#[derive(Debug, PartialEq)]
enum Pull {
    Idle,
    Open,
    /// Told to stop; its answer is awaited.
    Closing,
    Pausing(Duration),
}

/// Told to stop.
#[derive(Debug)]
struct Drain {
    /// Builds may go on until then; none once they were told to stop.
    builds_until: Option<Duration>,
    /// What the broker has not taken by then is left to the leases.
    cut_at: Duration,
}

/// After its builds were stopped a draining worker tries for so long to hand its jobs back.
const HAND_BACK_WAIT: Duration = Duration::from_secs(30);

impl Machine {
    /// A machine with nothing to do yet.
    pub fn new(settings: Settings) -> Self {
        let chance = fastrand::Rng::with_seed(settings.seed);
        Self {
            settings,
            jobs: BTreeMap::new(),
            pull: Pull::Idle,
            rounds: 0,
            waiting: 0,
            reusing: false,
            paused: None,
            drain: None,
            exited: false,
            chance,
            refused: Refused::default(),
        }
    }

    /// Takes one event, changes state, says what to do.
    pub fn step(&mut self, now: Now, event: Event) -> Vec<Effect> {
        let mut out = Vec::new();
        match event {
            Event::Pulled(deliveries) => self.pulled(now, deliveries, &mut out),
            Event::Surplus(deliveries) => self.taken(now, deliveries, &mut out),
            Event::PullFailed => self.pull = Pull::Pausing(now.mono + PULL_AGAIN),
            Event::RecordRead(id, answer) => {
                self.with(id, now, &mut out, |job, ctx| job.record_read(answer, ctx));
            }
            Event::RequestRead(id, answer) => {
                self.with(id, now, &mut out, |job, ctx| job.request_read(answer, ctx));
            }
            Event::RecordWritten(id, written) => {
                self.with(id, now, &mut out, |job, ctx| job.written(written, ctx));
            }
            Event::Acked(id, confirmed) => {
                self.with(id, now, &mut out, |job, ctx| job.acked(confirmed, ctx));
            }
            Event::Buried(id, stored) => {
                self.with(id, now, &mut out, |job, ctx| job.buried(stored, ctx));
            }
            Event::Noticed(id, _) | Event::Ended(id, _) => {
                self.with(id, now, &mut out, |job, ctx| job.build(event, ctx));
            }
            Event::CancelPoked(key) => {
                let same = self.jobs.values().filter(|job| job.subject.job == key);
                for id in same.map(|job| job.id).collect::<Vec<_>>() {
                    let poked = Event::CancelPoked(key.clone());
                    self.with(id, now, &mut out, |job, ctx| job.build(poked, ctx));
                }
            }
            Event::Serves(class) => self.settings.classes.push(class),
            Event::Paused(why) => self.paused = why,
            Event::Drain => self.drain(now),
            Event::Tick => self.tick(now, &mut out),
        }
        self.pull_or_exit(&mut out);
        out
    }

    /// The next moment at which it wants a [`Event::Tick`].
    pub fn deadline(&self) -> Option<Duration> {
        let pull = match self.pull {
            Pull::Pausing(until) => Some(until),
            Pull::Idle | Pull::Open | Pull::Closing => None,
        };
        let drain = self.drain.as_ref().filter(|_| !self.exited);
        let drain = drain.map(|drain| drain.builds_until.unwrap_or(drain.cut_at));
        self.jobs.values().filter_map(Job::deadline).chain(pull).chain(drain).min()
    }

    /// Its jobs and how far they are, for the registry.
    pub fn jobs(&self) -> Vec<PresentJob> {
        let present = |job: &Job| {
            let key = job.subject.job.clone();
            match job.held() {
                Some(held) => held.present(key),
                None => PresentJob { job: key, phase: Phase::Claimed, since: None, progress: None },
            }
        };
        self.jobs.values().map(present).collect()
    }

    /// How many jobs it has in hand.
    pub fn in_hand(&self) -> usize {
        self.jobs.len()
    }

    /// Differs whenever it has got or lost a job.
    pub fn turnover(&self) -> (usize, Option<DeliveryId>) {
        (self.jobs.len(), self.jobs.keys().next_back().copied())
    }

    /// Told to stop.
    pub fn draining(&self) -> bool {
        self.drain.is_some()
    }

    /// Why it takes nothing new, if so.
    pub fn paused(&self) -> Option<&str> {
        self.paused.as_deref()
    }

    fn with(
        &mut self,
        id: DeliveryId,
        now: Now,
        out: &mut Vec<Effect>,
        act: impl FnOnce(&mut Job, &mut Context<'_>),
    ) {
        let (draining, rival) = (self.draining(), self.has_rival(id));
        let crowded = self.crowds(id);
        // An answer for a delivery that is settled by now is of no use to anybody.
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let (settings, chance, refused) = (&self.settings, &mut self.chance, &mut self.refused);
        let reuses = job.reuses;
        act(job, &mut Context { settings, now, draining, rival, crowded, chance, refused, out });
        // One was built after all: so may those be that wait behind it.
        self.reusing &= job.reuses || !reuses;
        if job.settled() {
            self.jobs.remove(&id);
        }
    }

    /// Another delivery of the same job has a claim here. Looked at only where it matters: a worker
    /// may have many jobs in hand, and each of them has many events.
    fn has_rival(&self, id: DeliveryId) -> bool {
        let Some(job) = self.jobs.get(&id).filter(|job| job.decides()) else { return false };
        // The host first: all else is mostly the same.
        let same = |other: &Job| {
            other.subject.job.host == job.subject.job.host && other.subject.job == job.subject.job
        };
        self.jobs.values().any(|other| other.id != id && other.claims() && same(other))
    }

    /// It was taken without a slot, on a hint, and there is none left.
    fn crowds(&self, id: DeliveryId) -> bool {
        let hinted = self.jobs.get(&id).is_some_and(|job| job.decides() && job.reuses);
        hinted && self.free() == 0
    }

    fn pulled(&mut self, now: Now, deliveries: Vec<Delivered>, out: &mut Vec<Effect>) {
        self.pull = Pull::Idle;
        let waiting = deliveries.last().map_or(0, |newest| newest.waiting);
        self.waiting = usize::try_from(waiting).unwrap_or(usize::MAX);
        let mut hints = deliveries.iter().map(|delivered| delivered.before);
        self.reusing = waiting > 0 && hints.all(|before| before == Before::Built);
        self.taken(now, deliveries, out);
    }

    fn taken(&mut self, now: Now, deliveries: Vec<Delivered>, out: &mut Vec<Effect>) {
        for delivered in deliveries {
            if self.draining() || self.paused.is_some() || self.free() == 0 {
                out.push(Effect::Nak(delivered.id, Duration::ZERO));
                continue;
            }
            let (id, draining) = (delivered.id, self.draining());
            let settings = &self.settings;
            let (rival, crowded) = (false, false);
            let (chance, refused) = (&mut self.chance, &mut self.refused);
            let mut ctx = Context { settings, now, draining, rival, crowded, chance, refused, out };
            self.jobs.insert(id, Job::new(delivered, &mut ctx));
        }
    }

    /// Slots without a job. A reuse needs none. A build that only waits for another's lock in the
    /// same store, or is past its build, lends its slot out; at most as many are lent as there are,
    /// so that builds are bounded by twice that.
    fn free(&self) -> usize {
        let (slots, reuses) = (self.settings.slots, self.reuses());
        let idle = |job: &&Job| !job.reuses && job.held().is_some_and(|held| held.idle);
        let lent = self.jobs.values().filter(idle).count().min(slots);
        (slots + reuses + lent).saturating_sub(self.jobs.len())
    }

    /// Jobs that take no slot since they build nothing.
    fn reuses(&self) -> usize {
        self.jobs.values().filter(|job| job.reuses).count().min(REUSES_MAX)
    }

    fn drain(&mut self, now: Now) {
        if self.drain.is_none() {
            let until = now.mono + self.settings.drain_timeout;
            self.drain = Some(Drain { builds_until: Some(until), cut_at: until + HAND_BACK_WAIT });
        }
    }

    fn tick(&mut self, now: Now, out: &mut Vec<Effect>) {
        if matches!(self.pull, Pull::Pausing(until) if until <= now.mono) {
            self.pull = Pull::Idle;
        }
        let ids: Vec<_> = self.jobs.keys().copied().collect();
        for id in ids {
            self.with(id, now, out, Job::tick);
        }
        let Some(drain) = &mut self.drain else { return };
        if drain.cut_at <= now.mono {
            // The builds end with the process; a job whose end nobody took is found by its lease.
            for job in std::mem::take(&mut self.jobs).into_values() {
                out.extend(job.left());
            }
            self.pull = Pull::Idle;
        } else if drain.builds_until.take_if(|until| *until <= now.mono).is_some() {
            for job in self.jobs.keys().copied().collect::<Vec<_>>() {
                self.with(job, now, out, Job::stop_for_drain);
            }
        }
    }

    fn pull_or_exit(&mut self, out: &mut Vec<Effect>) {
        let closed = self.draining() || self.paused.is_some();
        match self.pull {
            Pull::Open if closed => {
                self.pull = Pull::Closing;
                out.push(Effect::StopPull);
            }
            Pull::Idle if !closed && self.free() > 0 => {
                self.pull = Pull::Open;
                let (consumers, most) = self.order();
                out.push(Effect::Pull(consumers, most));
            }
            Pull::Open | Pull::Closing => {}
            Pull::Idle | Pull::Pausing(_) => {
                if self.draining() && self.jobs.is_empty() && !self.exited {
                    self.exited = true;
                    out.push(Effect::Exit);
                }
            }
        }
    }

    /// The consumers in the order in which they are asked, by priority, then by class; and how many
    /// jobs the first of them that has any may give.
    fn order(&mut self) -> (Vec<String>, usize) {
        self.rounds += 1;
        let mut priorities = Priority::ALL;
        let mut free = self.free();
        if self.reusing {
            free += REUSES_MAX - self.reuses();
        }
        let mut most = (free.max(self.waiting) / PULL_SHARE).min(free).max(1);
        if self.rounds.is_multiple_of(LOW_FIRST_EVERY) {
            priorities.reverse();
            most = 1;
        }
        let consumers = |priority| {
            self.settings.classes.iter().map(move |class| topology::consumer_name(class, priority))
        };
        (priorities.into_iter().flat_map(consumers).collect(), most)
    }
}
