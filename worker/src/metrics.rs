//! What a worker counts of itself, for Prometheus.
//!
//! Everything is counted at the edges, from effects on their way out and answers on their way in:
//! the machine knows nothing of it. Counting never waits and never fails. Labels are names of the
//! config, words of our own, and tokens, of which only so many are taken ([`bounds`]).

mod bounds;
mod families;
mod pool;
mod site;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bus::{Swept, clock};
use proto::{
    Attempt, AttemptEnd, Class, Epoch, Finished, JobKey, Outcome, Presence, State, event::What,
};

use self::{
    bounds::Bounds,
    families::{Families, labels},
    site::Health,
};
use crate::{
    admission::{Admission, Reason, Room},
    config::Config,
    machine::io::{DeliveryId, Effect},
};

pub(crate) use self::site::listen;

/// The counters; clones share them.
#[derive(Clone)]
pub(crate) struct Metrics(Arc<Inner>);

struct Inner {
    families: Families,
    health: Health,
    state: Mutex<Counting>,
    /// Somebody may look: what costs the broker reads is read only then.
    watched: bool,
    /// What a sweep saw of the pool is told for so long.
    pool_age_max: Duration,
}

/// What counting has to remember.
struct Counting {
    bounds: Bounds,
    /// Ends on their way to the broker. At most one per slot: whatever settles a delivery takes
    /// it away.
    ending: HashMap<DeliveryId, Ending>,
    /// When the pool was looked at last, by the steady clock, while what was seen is told.
    looked: Option<Duration>,
}

/// In times of `sweep_every`. Sweeps are at most two of them apart, so a worker has missed one at
/// least. Eight minutes by default: jobs that wait with nobody to build them alert after ten.
const POOL_AGE_MAX: u32 = 4;
/// However often it sweeps: one that has to wait for its turn on a busy machine is not cut off.
const POOL_AGE_LEAST: Duration = Duration::from_secs(60);

struct Ending {
    job: JobKey,
    epoch: Epoch,
    finished: Finished,
}

impl Metrics {
    pub(crate) fn new(config: &Config) -> Self {
        let families = Families::new(config);
        let mut bounds = Bounds::new(config);
        for (repo, it) in &config.repos {
            for host in it.table.hosts.keys() {
                let (repo, host) = bounds.host(repo, host);
                families.know(&repo, &host);
            }
        }
        let state = Mutex::new(Counting { bounds, ending: HashMap::new(), looked: None });
        let (health, watched) = (Health::default(), config.listen.is_some());
        let pool_age_max = config.sweep_every.saturating_mul(POOL_AGE_MAX);
        let pool_age_max = pool_age_max.max(POOL_AGE_LEAST);
        Self(Arc::new(Inner { families, health, state, watched, pool_age_max }))
    }

    /// Whether anybody may ask for them.
    pub(crate) fn watched(&self) -> bool {
        self.0.watched
    }

    /// An effect is being carried out.
    pub(crate) fn performed(&self, effect: &Effect) {
        match effect {
            Effect::WriteRecord { id, job, record, .. } => {
                if let State::Finished(finished) = &record.state {
                    let (job, epoch) = (job.clone(), record.epoch);
                    let ending = Ending { job, epoch, finished: finished.clone() };
                    self.state().ending.insert(*id, ending);
                }
            }
            Effect::Ack(id) | Effect::Nak(id, _) | Effect::Abandon(id) => {
                self.state().ending.remove(id);
            }
            // The claim is made. A message that was only handed over again, because another has
            // its job or no slot was free, repeats nothing.
            Effect::Build { record, .. } if repeats(&record.attempts) => {
                self.0.families.redeliveries.inc();
            }
            Effect::Tell { subject, epoch, what } => self.told(&subject.job, *epoch, what),
            _ => {}
        }
    }

    fn told(&self, job: &JobKey, epoch: Epoch, what: &What) {
        let Inner { families, .. } = &*self.0;
        match what {
            What::Claimed => {
                let (repo, host) = self.state().bounds.host(&job.repo, &job.host);
                families.know(&repo, &host);
            }
            What::Finished { outcome } => {
                let mut state = self.state();
                let (repo, host) = state.bounds.host(&job.repo, &job.host);
                let ended = state.ending.values().find(|it| it.job == *job && it.epoch == epoch);
                families.finished(&repo, &host, outcome, ended.map(|it| &it.finished));
            }
            What::Retrying { reason, .. } => {
                families.retries.get_or_create(&labels([("reason", reason.name())])).inc();
            }
            What::Fenced => {
                families.fenced.inc();
            }
            What::Dead { .. } => self.buried(),
            What::Phase { .. }
            | What::Refused { .. }
            | What::HandedBack
            | What::Late { .. }
            | What::Requeued
            | What::Pruned => {}
        }
    }

    /// So many builds are under way.
    pub(crate) fn building(&self, builds: usize) {
        self.0.families.builds_in_progress.set(count(builds));
    }

    /// A dead letter was written.
    pub(crate) fn buried(&self) {
        self.0.families.buried.inc();
    }

    /// An event was dropped.
    pub(crate) fn event_dropped(&self) {
        self.0.families.events_dropped.inc();
    }

    /// What the machine has left.
    pub(crate) fn measured(&self, admission: &Admission, rooms: &[Option<Room>]) {
        for (place, room) in admission.places.iter().zip(rooms) {
            if let Some(room) = room {
                self.0.families.measured(place.label, room.bytes, room.inodes);
            }
        }
    }

    /// Why no new jobs are taken now, if so.
    pub(crate) fn paused(&self, reason: Option<Reason>) {
        self.0.health.paused(reason);
        for one in Reason::ALL {
            self.0.families.paused(one, reason == Some(one));
        }
    }

    /// The worker was told to stop.
    pub(crate) fn draining(&self) {
        self.0.health.draining();
        self.0.families.draining.set(1.0);
    }

    /// The connection to the broker came or went.
    pub(crate) fn connected(&self, up: bool) {
        self.0.health.connected(up);
        self.0.families.broker_connected.set(if up { 1.0 } else { 0.0 });
    }

    /// The event loop has come round.
    pub(crate) fn beat(&self) {
        self.0.health.beat(clock::steady());
    }

    /// What a sweep saw of the pool, and who is alive. `letters`: dead ones, if they may be
    /// counted.
    pub(crate) fn swept(&self, swept: &Swept, workers: &[Presence], letters: Option<u64>) {
        let families = &self.0.families;
        let now = clock::now();
        let mut state = self.state();
        state.looked = Some(clock::steady());
        let mut successes = BTreeMap::new();
        for ((repo, host), built) in &swept.hosts {
            let (repo, host) = state.bounds.host(repo, host);
            families.know(&repo, &host);
            let newest: &mut f64 = successes.entry((repo, host)).or_default();
            *newest = newest.max(built.map_or(0.0, families::seconds));
        }
        let queue = pool::queue(&swept.open, workers, now);
        let queue = queue.into_iter().map(|(class, seen)| (state.bounds.class(&class), seen));
        families.queue(queue.collect());
        drop(state);
        families.successes(successes);
        if let Some(letters) = letters {
            families.dead_letters.get_or_create(&Vec::new()).set(families::float(letters));
        }
        families.swept.set(families::seconds(now));
    }

    /// All of it as text. What was seen of the pool too long ago is withdrawn: whoever takes the
    /// highest word of all workers must not hear for ever from one that is cut off.
    fn page(&self, steady: Duration) -> String {
        let mut state = self.state();
        let old = |at: &Duration| steady.saturating_sub(*at) > self.0.pool_age_max;
        if state.looked.take_if(|at| old(at)).is_some() {
            self.0.families.forget_pool();
        }
        drop(state);
        exposition::text(&self.0.families.registry)
    }

    fn state(&self) -> MutexGuard<'_, Counting> {
        // Counting is no reason to fail, whatever happened to another thread.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn count(number: usize) -> f64 {
    families::float(u64::try_from(number).unwrap_or(u64::MAX))
}

/// The classes that are told of from the beginning, with a zero.
fn own_classes(config: &Config) -> impl Iterator<Item = &Class> {
    config.classes.iter()
}

/// It was built, and not only found to be built already.
fn really_built(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Built(built) if built.is_real())
}

/// The newest of these attempts repeats one that was lost. What a worker that stops has handed back
/// is no attempt.
fn repeats(attempts: &[Attempt]) -> bool {
    let before = attempts.iter().rev().nth(1);
    before.is_some_and(|before| before.end.as_ref().is_none_or(AttemptEnd::counts))
}

#[cfg(test)]
mod tests;
