//! What the queue looks like from here: how many jobs of each class wait in nobody's hands, for
//! how long, and whether anybody could take them. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bus::OpenJob;
use proto::{Class, JobKey, Presence, Staff, Timestamp};

/// What waits of one class.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) jobs: BTreeMap<Staff, u64>,
    /// The one that has waited longest.
    pub(super) oldest: Duration,
}

/// What waits, by class. A job that a living worker says it has does not.
pub(super) fn queue(
    open: &[OpenJob],
    workers: &[Presence],
    now: Timestamp,
) -> BTreeMap<Class, Waiting> {
    let held: BTreeSet<&JobKey> =
        workers.iter().flat_map(|worker| worker.jobs.iter().map(|present| &present.job)).collect();
    let mut queue: BTreeMap<Class, Waiting> = BTreeMap::new();
    for open in open.iter().filter(|open| !held.contains(&open.job)) {
        let waiting = queue.entry(open.class.clone()).or_default();
        let staff = Staff::of(&open.class, &open.job.repo, workers);
        *waiting.jobs.entry(staff).or_default() += 1;
        waiting.oldest = waiting.oldest.max(now.since(open.since));
    }
    queue
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proto::{Instance, Phase, V1, worker::PresentJob};
    use uuid::Uuid;

    use super::*;

    fn job(host: &str) -> JobKey {
        format!("r.{}.{host}", "0".repeat(40)).parse().expect("a job")
    }

    fn open(host: &str, class: &str, since: u64) -> OpenJob {
        let class = class.parse().expect("a class");
        OpenJob { job: job(host), class, since: Timestamp(since) }
    }

    fn worker(class: &str, repo: &str) -> Presence {
        Presence {
            v: V1,
            worker: "w".parse().expect("a name"),
            instance: Instance(Uuid::nil()),
            classes: vec![class.parse().expect("a class")],
            repos: vec![repo.parse().expect("a repo")],
            slots: 1,
            labels: BTreeMap::new(),
            jobs: Vec::new(),
            draining: false,
            paused: None,
            room: None,
            version: "0".into(),
            since: Timestamp(0),
        }
    }

    #[test]
    fn what_waits_is_counted_by_who_could_build_it_and_the_oldest_tells_since_when() {
        let open = [open("a", "c", 1000), open("b", "c", 2000), open("x", "d", 3000)];
        let queue = queue(&open, &[worker("c", "r")], Timestamp(3500));
        let waiting: Vec<_> = queue.into_values().collect();
        let [c, d] = &waiting[..] else { panic!("two classes: {waiting:?}") };
        assert_eq!(
            (&c.jobs, c.oldest),
            (&[(Staff::Served, 2)].into(), Duration::from_millis(2500))
        );
        assert_eq!(
            (&d.jobs, d.oldest),
            (&[(Staff::NoWorker, 1)].into(), Duration::from_millis(500))
        );
    }

    #[test]
    fn a_job_in_the_hands_of_a_living_worker_does_not_wait() {
        let holder = Presence {
            jobs: vec![PresentJob {
                job: job("a"),
                phase: Phase::Build,
                since: None,
                progress: None,
            }],
            ..worker("d", "r")
        };
        let open = [open("a", "c", 0), open("b", "c", 0)];
        let queue = queue(&open, &[holder], Timestamp(1));
        let waiting = queue.into_values().next().expect("one class");
        assert_eq!(waiting.jobs, [(Staff::NoWorker, 1)].into());
    }
}
