//! The queue and who could take from it: how much waits since when in each class and priority,
//! whether it is handed out, and which living workers serve it.
//!
//! [`QueueView`] makes this of what `stand` read around the jobs, and nothing prints.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use bus::{Bus, LaneState};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use proto::{
    Class, JobKey, Presence, Priority, Repo, Request, Timestamp, WorkerName, subject::JobSubject,
};
use stand::Around;

/// Questions to the broker at once.
const READS_AT_ONCE: usize = 64;

/// Leaves out what nobody wants any more: its messages wait for a worker that drops them, and one
/// of a class without a worker waits for long. One question for each message, so it is for who asks
/// once.
pub(crate) async fn only_wanted(bus: &Bus, around: &mut Around) -> Result<(), bus::Error> {
    let wanted = around.queued().iter().map(|it| async move {
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
    around.retain(|_| wanted.next().unwrap_or(true));
    Ok(())
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
            around.queued().iter().filter(|it| it.class == *class).collect();
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
        let classes: BTreeSet<&Class> = around.lanes().iter().map(|lane| &lane.class).collect();
        let in_hands = around.in_hands();
        let of_class = |class| ClassView::of(class, around, &in_hands);
        Self { classes: classes.into_iter().map(of_class).collect() }
    }
}

#[cfg(test)]
mod tests;
