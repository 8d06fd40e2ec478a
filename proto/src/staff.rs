//! Who could build a job that waits, as far as the living workers tell.

use crate::{
    token::{Class, Repo},
    worker::Presence,
};

/// Who could build a job that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Staff {
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
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Served, Self::Paused, Self::NoRepo, Self::NoWorker];

    /// The name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::Paused => "paused",
            Self::NoRepo => "no-repo",
            Self::NoWorker => "no-worker",
        }
    }

    /// Of a job of this class and repo, among the living workers.
    pub fn of(class: &Class, repo: &Repo, workers: &[Presence]) -> Self {
        let serving = workers.iter().filter(|it| it.serves(class, repo));
        let paused: Vec<bool> = serving.map(|worker| worker.paused.is_some()).collect();
        if !paused.is_empty() {
            let all = paused.into_iter().all(|paused| paused);
            return if all { Self::Paused } else { Self::Served };
        }
        // A repo that nobody has is most likely a name that somebody mistyped.
        let of_class = |it: &Presence| !it.draining && it.classes.contains(class);
        if workers.iter().any(of_class) { Self::NoRepo } else { Self::NoWorker }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use uuid::Uuid;

    use super::*;
    use crate::{Instance, Timestamp, V1};

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
        let (class, repo) = ("c".parse().expect("a class"), "r".parse().expect("a repo"));
        assert_eq!(Staff::of(&class, &repo, workers), wanted);
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
}
