//! The queue and who could take from it: how much waits since when in each class and priority,
//! whether it is handed out, which living workers serve it, and a job's place in it.
//!
//! [`read`] asks the broker, [`Around`] and [`QueueView`] make something of it, and nothing prints.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
};

use bus::{Bus, Lane, LaneState};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use proto::{
    Class, Incarnation, JobKey, Presence, Priority, Repo, Request, Timestamp, WorkerName,
    subject::{self, JobSubject},
};

use crate::snapshot;

/// Questions to the broker at once.
const READS_AT_ONCE: usize = 64;

/// What one look found around the jobs: the living workers, the queue, and its lanes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Around {
    pub(crate) workers: Vec<Presence>,
    /// All messages of the queue, those in workers' hands included.
    queued: Vec<JobSubject>,
    lanes: Vec<Lane>,
    places: HashMap<(JobKey, Incarnation), Place>,
}

/// A job's place among those of its class that wait, most urgent and oldest first. It is about
/// right: `low` never starves, and a delayed retry is passed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// 1 for the next one.
    pub(crate) position: usize,
    pub(crate) of: usize,
}

/// Reads the queue. `classes` are shown also when nothing of them is queued and no worker serves
/// them.
pub(crate) async fn read(
    bus: &Bus,
    classes: impl IntoIterator<Item = Class>,
) -> Result<Around, bus::Error> {
    let workers = snapshot::workers(bus).await?;
    let queued = bus.queue(subject::BUILD_ALL).await?;
    let mut all: BTreeSet<Class> = classes.into_iter().collect();
    all.extend(workers.iter().flat_map(|worker| worker.classes.iter().cloned()));
    all.extend(queued.iter().map(|it| it.class.clone()));
    let lanes = bus.lanes(all).await?;
    Ok(Around::of(workers, queued, lanes))
}

/// Leaves out what nobody wants any more: its messages wait for a worker that drops them, and one
/// of a class without a worker waits for long. One question for each message, so it is for who asks
/// once.
pub(crate) async fn only_wanted(bus: &Bus, around: &mut Around) -> Result<(), bus::Error> {
    let wanted = around.queued.iter().map(|it| async move {
        let request = match bus.requests().get(&it.job.to_string()).await {
            Ok(entry) => entry.value,
            // Nobody knows: it counts.
            Err(bus::Error::Undecodable { .. }) => None,
            Err(error) => return Err(error),
        };
        let same = |request: &Request| request.incarnation == it.incarnation && request.wanted();
        Ok::<_, bus::Error>(request.as_ref().is_none_or(same))
    });
    let wanted: Vec<bool> = stream::iter(wanted).buffered(READS_AT_ONCE).try_collect().await?;
    let mut wanted = wanted.into_iter();
    around.queued.retain(|_| wanted.next().unwrap_or(true));
    around.places = around.placed();
    Ok(())
}

impl Around {
    pub(crate) fn of(workers: Vec<Presence>, queued: Vec<JobSubject>, lanes: Vec<Lane>) -> Self {
        let mut around = Self { workers, queued, lanes, places: HashMap::new() };
        around.places = around.placed();
        around
    }

    /// All messages of the queue, those in workers' hands included.
    pub(crate) fn queued(&self) -> &[JobSubject] {
        &self.queued
    }

    /// The same queue, with workers of which more is known.
    pub(crate) fn with(&self, workers: Vec<Presence>) -> Self {
        Self::of(workers, self.queued.clone(), self.lanes.clone())
    }

    /// Leaves out jobs of which more is known than workers told: a record says at once that it is
    /// taken, presence up to 15 s later.
    pub(crate) fn take_out(&mut self, taken: &HashSet<&JobKey>) {
        if self.has_any(taken) {
            self.queued.retain(|it| !taken.contains(&it.job));
            self.places = self.placed();
        }
    }

    /// The same of a copy, where there is anything to leave out.
    pub(crate) fn without(&self, taken: &HashSet<&JobKey>) -> Cow<'_, Self> {
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
    pub(crate) fn place(&self, job: &JobKey, incarnation: Incarnation) -> Option<Place> {
        self.places.get(&(job.clone(), incarnation)).copied()
    }

    /// How the jobs of a class and priority are handed out; `None` when nobody looked.
    pub(crate) fn lane(&self, class: &Class, priority: Priority) -> Option<LaneState> {
        let mut lanes = self.lanes.iter();
        lanes.find(|it| it.class == *class && it.priority == priority).map(|lane| lane.state)
    }

    /// Jobs that living workers say they have. Presence is up to 15 s old.
    fn in_hands(&self) -> HashSet<&JobKey> {
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

/// The queue by class.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct QueueView {
    pub(crate) classes: Vec<ClassView>,
}

/// What waits for one kind of worker, and which there are.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ClassView {
    pub(crate) class: Class,
    /// One for each priority, most urgent first.
    pub(crate) lanes: Vec<LaneView>,
    /// Living workers that have the class.
    pub(crate) builders: Vec<Builder>,
    /// Queued jobs of repos that none of these workers has.
    pub(crate) nobody_has: BTreeMap<Repo, usize>,
}

/// What waits with one priority.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LaneView {
    pub(crate) priority: Priority,
    pub(crate) state: LaneState,
    /// Messages that no living worker has taken, delayed retries included.
    pub(crate) queued: usize,
    /// Messages in living workers' hands.
    pub(crate) building: usize,
    /// The one that waits longest, and since when it is asked for.
    pub(crate) oldest: Option<(JobKey, Timestamp)>,
}

/// A living worker of a class. Its slots are for all its classes together.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Builder {
    pub(crate) worker: WorkerName,
    pub(crate) slots: usize,
    pub(crate) busy: usize,
    pub(crate) taking: Taking,
}

/// Whether a worker takes jobs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Taking {
    /// When it has a free slot.
    Jobs,
    /// Not now, and why.
    Paused(String),
    /// No more: it was told to stop.
    Draining,
}

impl Taking {
    pub(crate) fn of(presence: &Presence) -> Self {
        match &presence.paused {
            _ if presence.draining => Self::Draining,
            Some(why) => Self::Paused(why.clone()),
            None => Self::Jobs,
        }
    }
}

impl Builder {
    fn of(presence: &Presence) -> Self {
        let (worker, slots) = (presence.worker.clone(), presence.slots);
        Self { worker, slots, busy: presence.jobs.len(), taking: Taking::of(presence) }
    }

    /// Jobs that it would take now. (One that waits for another's lock lends its slot out, so more
    /// may be in its hands than it has slots.)
    pub(crate) fn free(&self) -> usize {
        match self.taking {
            Taking::Jobs => self.slots.saturating_sub(self.busy),
            Taking::Paused(_) | Taking::Draining => 0,
        }
    }
}

impl ClassView {
    pub(crate) fn free(&self) -> usize {
        self.builders.iter().map(Builder::free).sum()
    }

    pub(crate) fn queued(&self) -> usize {
        self.lanes.iter().map(|lane| lane.queued).sum()
    }

    pub(crate) fn building(&self) -> usize {
        self.lanes.iter().map(|lane| lane.building).sum()
    }

    fn of(class: &Class, around: &Around, in_hands: &HashSet<&JobKey>) -> Self {
        let serving = || around.workers.iter().filter(|it| it.classes.contains(class));
        let of_class: Vec<&JobSubject> =
            around.queued.iter().filter(|it| it.class == *class).collect();
        let mut nobody_has = BTreeMap::new();
        for it in of_class.iter().filter(|it| !in_hands.contains(&it.job)) {
            if !serving().any(|worker| worker.serves(class, &it.job.repo)) {
                *nobody_has.entry(it.job.repo.clone()).or_default() += 1;
            }
        }
        let lanes = Priority::ALL.map(|priority| {
            let of_lane = of_class.iter().filter(|it| it.priority == priority);
            let (held, waiting): (Vec<&JobSubject>, Vec<&JobSubject>) =
                of_lane.partition(|it| in_hands.contains(&it.job));
            let asked = waiting.iter().filter_map(|it| Some((it.incarnation.asked_at()?, &it.job)));
            LaneView {
                priority,
                state: around.lane(class, priority).unwrap_or(LaneState::Missing),
                queued: waiting.len(),
                building: held.len(),
                oldest: asked.min().map(|(at, job)| (job.clone(), at)),
            }
        });
        let builders = serving().map(Builder::of).collect();
        Self { class: class.clone(), lanes: lanes.into(), builders, nobody_has }
    }
}

impl QueueView {
    pub(crate) fn of(around: &Around) -> Self {
        let classes: BTreeSet<&Class> = around.lanes.iter().map(|lane| &lane.class).collect();
        let in_hands = around.in_hands();
        let of_class = |class| ClassView::of(class, around, &in_hands);
        Self { classes: classes.into_iter().map(of_class).collect() }
    }
}

#[cfg(test)]
mod tests;
