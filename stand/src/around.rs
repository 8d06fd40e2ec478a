//! What is around the jobs: the living workers, the queue, whether it is handed out, and a job's
//! place in it.
//!
//! [`read`] asks the broker, [`Around`] makes something of it, and nothing prints.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
};

use bus::{Bus, Lane, LaneState};
use proto::{
    Class, Incarnation, JobKey, Presence, Priority,
    subject::{self, JobSubject},
};

/// Characters of a worker's reason to take nothing that are kept: each host that waits for it says it.
const REASON_CHARS_MAX: usize = 300;

/// What one look found around the jobs: the living workers, the queue, and its lanes. The default is
/// that nobody has looked, and says nothing of anybody.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Around {
    looked: bool,
    pub workers: Vec<Presence>,
    /// All messages of the queue, those in workers' hands included.
    queued: Vec<JobSubject>,
    lanes: Vec<Lane>,
    places: HashMap<(JobKey, Incarnation), Place>,
}

/// A job's place among those of its class that wait, most urgent and oldest first. It is about
/// right: `low` never starves, and a delayed retry is passed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// 1 for the next one.
    pub position: usize,
    pub of: usize,
}

/// Reads the queue. `classes` are shown also when nothing of them is queued and no worker serves
/// them.
pub async fn read(
    bus: &Bus,
    classes: impl IntoIterator<Item = Class>,
) -> Result<Around, bus::Error> {
    let workers = workers(bus).await?;
    let queued = bus.queue(subject::BUILD_ALL).await?;
    let mut all: BTreeSet<Class> = classes.into_iter().collect();
    all.extend(workers.iter().flat_map(|worker| worker.classes.iter().cloned()));
    all.extend(queued.iter().map(|it| it.class.clone()));
    let lanes = bus.lanes(all).await?;
    Ok(Around::of(workers, queued, lanes))
}

/// The living workers.
pub async fn workers(bus: &Bus) -> Result<Vec<Presence>, bus::Error> {
    let found = bus.workers().list("*").await?;
    let mut workers: Vec<Presence> =
        found.into_iter().filter_map(|(_, entry)| entry.value).collect();
    for reason in workers.iter_mut().filter_map(|worker| worker.paused.as_mut()) {
        if let Some((end, _)) = reason.char_indices().nth(REASON_CHARS_MAX) {
            reason.truncate(end);
            reason.push('…');
        }
    }
    Ok(workers)
}

impl Around {
    pub fn of(workers: Vec<Presence>, queued: Vec<JobSubject>, lanes: Vec<Lane>) -> Self {
        let mut around = Self { looked: true, workers, queued, lanes, places: HashMap::new() };
        around.places = around.placed();
        around
    }

    /// Somebody has looked.
    pub fn is_known(&self) -> bool {
        self.looked
    }

    /// All messages of the queue, those in workers' hands included.
    pub fn queued(&self) -> &[JobSubject] {
        &self.queued
    }

    /// How the jobs of the classes that were asked about are handed out.
    pub fn lanes(&self) -> &[Lane] {
        &self.lanes
    }

    /// Leaves out messages that are not kept.
    pub fn retain(&mut self, keeps: impl FnMut(&JobSubject) -> bool) {
        self.queued.retain(keeps);
        self.places = self.placed();
    }

    /// The same queue, with workers of which more is known.
    pub fn with(&self, workers: Vec<Presence>) -> Self {
        Self { looked: self.looked, ..Self::of(workers, self.queued.clone(), self.lanes.clone()) }
    }

    /// Leaves out jobs of which more is known than workers told: a record says at once that it is
    /// taken, presence up to 15 s later.
    pub fn take_out(&mut self, taken: &HashSet<&JobKey>) {
        if self.has_any(taken) {
            self.retain(|it| !taken.contains(&it.job));
        }
    }

    /// The same of a copy, where there is anything to leave out.
    pub fn without(&self, taken: &HashSet<&JobKey>) -> Cow<'_, Self> {
        let mut around = Cow::Borrowed(self);
        if self.has_any(taken) {
            around.to_mut().take_out(taken);
        }
        around
    }

    fn has_any(&self, taken: &HashSet<&JobKey>) -> bool {
        self.places.keys().any(|(job, _)| taken.contains(job))
    }

    /// Where a job stands that waits to be taken.
    pub fn place(&self, job: &JobKey, incarnation: Incarnation) -> Option<Place> {
        self.places.get(&(job.clone(), incarnation)).copied()
    }

    /// How the jobs of a class and priority are handed out; `None` when nobody looked.
    pub fn lane(&self, class: &Class, priority: Priority) -> Option<LaneState> {
        let mut lanes = self.lanes.iter();
        lanes.find(|it| it.class == *class && it.priority == priority).map(|lane| lane.state)
    }

    /// Jobs that living workers say they have. Presence is up to 15 s old.
    pub fn in_hands(&self) -> HashSet<&JobKey> {
        self.workers.iter().flat_map(|worker| worker.jobs.iter().map(|it| &it.job)).collect()
    }

    fn placed(&self) -> HashMap<(JobKey, Incarnation), Place> {
        let in_hands = self.in_hands();
        let mut by_class: BTreeMap<&Class, Vec<&JobSubject>> = BTreeMap::new();
        // What no living worker could take keeps nobody waiting.
        let served = |it: &&JobSubject| {
            self.workers.iter().any(|worker| worker.serves(&it.class, &it.job.repo))
        };
        let waiting = self.queued.iter().filter(|it| !in_hands.contains(&it.job));
        for it in waiting.filter(served) {
            by_class.entry(&it.class).or_default().push(it);
        }
        let mut places = HashMap::new();
        for mut waiting in by_class.into_values() {
            // Incarnations are uuids of version 7: their order is the order of asking.
            waiting.sort_by_key(|it| (std::cmp::Reverse(it.priority), it.incarnation));
            let of = waiting.len();
            for (at, it) in waiting.into_iter().enumerate() {
                // A copy at another priority does not make it later.
                let place = Place { position: at + 1, of };
                places.entry((it.job.clone(), it.incarnation)).or_insert(place);
            }
        }
        places
    }
}

#[cfg(test)]
mod tests;
