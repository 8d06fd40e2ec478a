//! What a person sees while a gate waits for the pool: the hosts on a live display, if somebody
//! watches. It reads nothing and decides nothing.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bus::Bus;
use display::{Board, Live, Mood, Running};
use options::Console;
use proto::{
    Presence, State, Timestamp,
    gate::{HostResult, HostStanding, Required},
};

use crate::pool::Seen;

/// The hosts that a gate waits for, as last seen.
pub(crate) struct Watching {
    live: Option<Live>,
    since: Timestamp,
    shown: Mutex<Shown>,
}

#[derive(Default)]
struct Shown {
    hosts: BTreeMap<String, Stand>,
    /// Those alive, once somebody looked. They only explain why a host waits.
    workers: Option<Vec<Presence>>,
}

enum Stand {
    /// Until it was looked at, and while no worker has it.
    Queued(Required),
    /// Between two attempts, and why.
    Retries(&'static str),
    Runs(Box<Running>),
    Ended(HostStanding, String),
}

impl Watching {
    pub(crate) fn on(console: &Console, required: &BTreeMap<String, Required>) -> Self {
        let unseen = |(label, it): (&String, &Required)| (label.clone(), Stand::Queued(it.clone()));
        let shown = Shown { hosts: required.iter().map(unseen).collect(), workers: None };
        Self { live: Live::on(console), since: bus::clock::now(), shown: Mutex::new(shown) }
    }

    /// Nobody sees rows, so lines have to tell that things go on.
    pub(crate) fn is_blind(&self) -> bool {
        self.live.is_none()
    }

    /// Somebody sees rows, and some say that a host is queued.
    pub(crate) fn wonders_why(&self) -> bool {
        !self.is_blind() && self.shown().hosts.values().any(|it| matches!(it, Stand::Queued(_)))
    }

    /// The living workers, as just read.
    pub(crate) fn knows(&self, workers: Vec<Presence>) {
        self.shown().workers = Some(workers);
    }

    /// A host as just read, and how it ended if it did.
    pub(crate) fn sees(
        &self,
        label: &str,
        required: &Required,
        seen: &Seen,
        ended: Option<&HostResult>,
    ) {
        let stand = match ended {
            Some(result) => Stand::Ended(result.standing, result.outcome.clone()),
            None => stand(label, required, seen, bus::clock::now()),
        };
        self.shown().hosts.insert(label.to_owned(), stand);
    }

    pub(crate) fn show(&self) {
        if let Some(live) = &self.live {
            live.show(self.shown().board(self.since));
        }
    }

    /// Draws for as long as it is polled.
    pub(crate) async fn keep(&self, bus: &Bus) -> std::convert::Infallible {
        match &self.live {
            Some(live) => live.keep(bus).await,
            None => std::future::pending().await,
        }
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shown {
    fn board(&self, since: Timestamp) -> Board {
        let mut board = Board { expected: self.hosts.len(), since, ..Board::default() };
        let mut ended: BTreeMap<(Mood, &str), usize> = BTreeMap::new();
        let mut waits = |why: String| *board.waiting.entry(why).or_default() += 1;
        for stand in self.hosts.values() {
            match stand {
                Stand::Queued(required) => waits(self.why(required)),
                Stand::Retries(cause) => waits(format!("waiting: retry after {cause}")),
                Stand::Runs(running) => board.running.push((**running).clone()),
                Stand::Ended(standing, outcome) => {
                    *ended.entry((mood(*standing), outcome)).or_default() += 1;
                }
            }
        }
        let ended = ended.into_iter().map(|((mood, name), n)| (mood, name.to_owned(), n));
        board.ended = ended.collect();
        board
    }

    /// Why no worker has it yet, as far as the workers tell; `producer status` knows more.
    fn why(&self, required: &Required) -> String {
        let (class, repo) = (&required.class, &required.job.repo);
        let of_class = |it: &&Presence| !it.draining && it.classes.contains(class);
        match &self.workers {
            Some(workers) if !workers.iter().any(|it| of_class(&it)) => {
                format!("queued: no worker for class {class}")
            }
            Some(workers) if !workers.iter().any(|it| it.serves(class, repo)) => {
                format!("queued: no worker for repo {repo} of class {class}")
            }
            _ => "queued".to_owned(),
        }
    }
}

/// How a host stands that has not ended. A record of another asking than the current one is history.
fn stand(label: &str, required: &Required, seen: &Seen, now: Timestamp) -> Stand {
    let request = seen.request.value.as_ref();
    let record = seen.record.value.as_ref();
    let record =
        record.filter(|record| request.is_none_or(|it| it.incarnation == record.incarnation));
    let attempt = record.and_then(|record| record.attempts.last());
    match (record.map(|record| (record, &record.state)), attempt) {
        (Some((record, State::Running(running))), Some(attempt)) => {
            Stand::Runs(Box::new(Running {
                name: label.to_owned(),
                job: required.job.clone(),
                epoch: record.epoch,
                worker: running.worker.clone(),
                silent: running.silent(seen.record.time, now).is_some(),
                phase: running.phase,
                progress: running.progress,
                since: attempt.at,
                usual: None,
                said: None,
            }))
        }
        (Some((_, State::Waiting(waiting))), _) => Stand::Retries(waiting.reason.in_words()),
        _ => Stand::Queued(required.clone()),
    }
}

fn mood(standing: HostStanding) -> Mood {
    match standing {
        HostStanding::Built => Mood::Good,
        HostStanding::Failed => Mood::Bad,
        HostStanding::Undecided | HostStanding::Missing => Mood::Unclear,
    }
}

#[cfg(test)]
mod tests;
