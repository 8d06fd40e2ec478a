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
    JobKey, State, Timestamp,
    gate::{HostResult, HostStanding},
};

use crate::pool::Seen;

/// The hosts that a gate waits for, as last seen.
pub(crate) struct Watching {
    live: Option<Live>,
    since: Timestamp,
    hosts: Mutex<BTreeMap<String, Stand>>,
}

enum Stand {
    Waits,
    Runs(Box<Running>),
    Ended(HostStanding, String),
}

impl Watching {
    pub(crate) fn on<'a>(console: &Console, labels: impl Iterator<Item = &'a String>) -> Self {
        let hosts = labels.map(|label| (label.clone(), Stand::Waits)).collect();
        let hosts = Mutex::new(hosts);
        Self { live: Live::on(console), since: bus::clock::now(), hosts }
    }

    /// Nobody sees rows, so lines have to tell that things go on.
    pub(crate) fn is_blind(&self) -> bool {
        self.live.is_none()
    }

    /// A host as just read, and how it ended if it did.
    pub(crate) fn sees(&self, label: &str, job: &JobKey, seen: &Seen, ended: Option<&HostResult>) {
        let stand = match ended {
            Some(result) => Stand::Ended(result.standing, result.outcome.clone()),
            None => match running(label, job, seen) {
                Some(running) => Stand::Runs(Box::new(running)),
                None => Stand::Waits,
            },
        };
        self.hosts().insert(label.to_owned(), stand);
    }

    pub(crate) fn show(&self) {
        if let Some(live) = &self.live {
            live.show(self.board());
        }
    }

    /// Draws for as long as it is polled.
    pub(crate) async fn keep(&self, bus: &Bus) -> std::convert::Infallible {
        match &self.live {
            Some(live) => live.keep(bus).await,
            None => std::future::pending().await,
        }
    }

    fn hosts(&self) -> MutexGuard<'_, BTreeMap<String, Stand>> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn board(&self) -> Board {
        let hosts = self.hosts();
        let mut board = Board { expected: hosts.len(), since: self.since, ..Board::default() };
        let mut ended: BTreeMap<(Mood, &str), usize> = BTreeMap::new();
        for stand in hosts.values() {
            match stand {
                Stand::Waits => *board.waiting.entry("queued".to_owned()).or_default() += 1,
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
}

/// The row of a host that a worker has for the asking that is current.
fn running(label: &str, job: &JobKey, seen: &Seen) -> Option<Running> {
    let record = seen.record.value.as_ref()?;
    let request = seen.request.value.as_ref();
    let State::Running(running) = &record.state else { return None };
    let attempt = record.attempts.last()?;
    (request.is_none_or(|it| it.incarnation == record.incarnation)).then(|| Running {
        name: label.to_owned(),
        job: job.clone(),
        epoch: record.epoch,
        worker: running.worker.clone(),
        silent: false,
        phase: running.phase,
        progress: running.progress,
        since: attempt.at,
        usual: None,
        said: None,
    })
}

fn mood(standing: HostStanding) -> Mood {
    match standing {
        HostStanding::Built => Mood::Good,
        HostStanding::Failed => Mood::Bad,
        HostStanding::Undecided | HostStanding::Missing => Mood::Unclear,
    }
}
