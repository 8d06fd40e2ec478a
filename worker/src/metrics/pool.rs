//! What the queue looks like from here: how many jobs of each class wait in nobody's hands, for
//! how long, and whether anybody could take them. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bus::OpenJob;
use proto::{Class, JobKey, Presence, Timestamp};

/// Who could build a job that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Staff {
    /// A living worker has class and repo: it waits for its turn.
    Served,
    /// Those that have both take nothing now.
    Paused,
    /// Those that have the class do not have the repo in their configs.
    NoRepo,
    /// No living worker has the class.
    NoWorker,
}

impl Staff {
    pub(super) const ALL: [Self; 4] = [Self::Served, Self::Paused, Self::NoRepo, Self::NoWorker];

    /// The name in metrics.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::Paused => "paused",
            Self::NoRepo => "no-repo",
            Self::NoWorker => "no-worker",
        }
    }

    fn of(open: &OpenJob, workers: &[Presence]) -> Self {
        let serving = workers.iter().filter(|it| it.serves(&open.class, &open.job.repo));
        let paused: Vec<bool> = serving.map(|worker| worker.paused.is_some()).collect();
        if !paused.is_empty() {
            let all = paused.into_iter().all(|paused| paused);
            return if all { Self::Paused } else { Self::Served };
        }
        let of_class = |it: &Presence| !it.draining && it.classes.contains(&open.class);
        if workers.iter().any(of_class) { Self::NoRepo } else { Self::NoWorker }
    }
}

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
        *waiting.jobs.entry(Staff::of(open, workers)).or_default() += 1;
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

    #[track_caller]
    fn check(workers: &[Presence], wanted: Staff) {
        let queue = queue(&[open("a", "c", 1000)], workers, Timestamp(3500));
        let waiting = queue.into_values().next().expect("one class");
        assert_eq!(waiting.jobs, [(wanted, 1)].into());
        assert_eq!(waiting.oldest, Duration::from_millis(2500));
    }

    #[test]
    fn who_could_build_a_waiting_job_is_told() {
        let served = || worker("c", "r");
        let paused = || Presence { paused: Some("no room".into()), ..served() };
        let draining = || Presence { draining: true, ..served() };
        check(&[], Staff::NoWorker);
        check(&[worker("d", "r")], Staff::NoWorker);
        check(&[draining()], Staff::NoWorker);
        check(&[worker("c", "q"), draining()], Staff::NoRepo);
        check(&[paused(), worker("d", "r")], Staff::Paused);
        check(&[paused(), served()], Staff::Served);
        check(&[Presence { repos: Vec::new(), ..served() }], Staff::Served);
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
