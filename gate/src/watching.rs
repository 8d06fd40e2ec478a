//! What a person sees while a gate waits for the pool: the hosts on a live display if somebody
//! watches, else a line now and then. How a host stands is judged by `stand`. It asks nobody and
//! decides nothing.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    convert::Infallible,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bus::Bus;
use display::{Board, Live, Mood};
use options::Console;
use proto::{
    Class, JobKey, Timestamp,
    gate::{HostResult, HostStanding, Required},
};
use stand::{Around, HostStatus, Look, Queue, Seen, Stand, reasons};

/// Between two looks at why hosts wait, while somebody sees rows.
const LOOK: Duration = Duration::from_secs(5);
/// Between two signs of life, each with such a look, where nobody does.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// The hosts that a gate waits for, as last seen.
pub(crate) struct Watching<'a> {
    console: &'a Console,
    live: Option<Live>,
    since: Timestamp,
    shown: Mutex<Shown>,
}

#[derive(Default)]
struct Shown {
    hosts: BTreeMap<String, Host>,
    /// The queue and who is alive, as last read. They only explain why a host waits.
    around: Around,
}

enum Host {
    Open(Box<Open>),
    /// What counts is how the gate takes its end.
    Ended {
        job: JobKey,
        standing: HostStanding,
        outcome: String,
    },
}

/// A host that has not ended.
struct Open {
    /// What was seen of it, once somebody looked.
    seen: Option<Seen>,
    status: HostStatus,
}

impl<'a> Watching<'a> {
    pub(crate) fn on(console: &'a Console, required: &BTreeMap<String, Required>) -> Self {
        let (live, shown) = (Live::on(console), Mutex::new(Shown::unseen(required)));
        Self { console, live, since: bus::clock::now(), shown }
    }

    /// Nobody sees rows, so lines have to tell that things go on.
    pub(crate) fn is_blind(&self) -> bool {
        self.live.is_none()
    }

    /// Between two looks at why hosts wait.
    pub(crate) fn every(&self) -> Duration {
        if self.is_blind() { HEARTBEAT } else { LOOK }
    }

    /// The classes of all open hosts, if some wait for reasons that only the queue can tell.
    pub(crate) fn wonders_why(&self) -> Option<BTreeSet<Class>> {
        let nobody_listens = self.is_blind() && self.console.is_quiet();
        if nobody_listens { None } else { self.shown().wonders_why() }
    }

    /// What is around the hosts, as just read.
    pub(crate) fn knows(&self, around: Around) {
        self.shown().knows(around, bus::clock::now());
    }

    /// A host as just read, and how it ended if it did.
    pub(crate) fn sees(&self, label: &str, seen: Seen, ended: Option<&HostResult>) {
        self.shown().sees(label, seen, ended, bus::clock::now());
    }

    pub(crate) fn show(&self) {
        if let Some(live) = &self.live {
            live.show(self.shown().board(self.since));
        }
    }

    /// The same, or a sign of life where nothing is redrawn.
    pub(crate) fn tell(&self) {
        match &self.live {
            Some(_) => self.show(),
            None => {
                let line = self.shown().line();
                self.console.say(&line);
            }
        }
    }

    /// Draws for as long as it is polled.
    pub(crate) async fn keep(&self, bus: &Bus) -> Infallible {
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
    fn unseen(required: &BTreeMap<String, Required>) -> Self {
        let unseen = |(label, it): (&String, &Required)| {
            let status = HostStatus::unseen(it.job.clone(), it.class.clone());
            (label.clone(), Host::Open(Box::new(Open { seen: None, status })))
        };
        Self { hosts: required.iter().map(unseen).collect(), around: Around::default() }
    }

    fn wonders_why(&self) -> Option<BTreeSet<Class>> {
        // A retry whose time has come waits for what every queued job waits for.
        let queued = |status: &HostStatus| match &status.stand {
            Stand::Queued(_) => true,
            Stand::Waiting { left, .. } => left.is_zero(),
            Stand::Running { .. } | Stand::Finished(_) => false,
        };
        let open = || self.open().map(|(_, status)| status);
        open().any(queued).then(|| open().map(|status| status.class.clone()).collect())
    }

    fn sees(&mut self, label: &str, seen: Seen, ended: Option<&HostResult>, now: Timestamp) {
        let Some(Host::Open(open)) = self.hosts.get(label) else { return };
        let job = open.status.job.clone();
        let host = match ended {
            Some(HostResult { standing, outcome, .. }) => {
                Host::Ended { job, standing: *standing, outcome: outcome.clone() }
            }
            None => {
                let look = Look { around: &self.around, now };
                let status = judged(job, &open.status.class, &seen, look);
                Host::Open(Box::new(Open { seen: Some(seen), status }))
            }
        };
        self.hosts.insert(label.to_owned(), host);
    }

    /// Judges all of them anew. One that is taken is ahead of no other any more.
    fn knows(&mut self, mut around: Around, now: Timestamp) {
        let taken: HashSet<&JobKey> = self.hosts.values().filter_map(Host::taken).collect();
        around.take_out(&taken);
        self.around = around;
        let look = Look { around: &self.around, now };
        for host in self.hosts.values_mut() {
            if let Host::Open(open) = host
                && let Open { seen: Some(seen), status } = &mut **open
            {
                *status = judged(status.job.clone(), &status.class, seen, look);
            }
        }
    }

    fn open(&self) -> impl Iterator<Item = (&str, &HostStatus)> {
        self.hosts.iter().filter_map(|(label, host)| match host {
            Host::Open(open) => Some((label.as_str(), &open.status)),
            Host::Ended { .. } => None,
        })
    }

    fn board(&self, since: Timestamp) -> Board {
        let mut ended: BTreeMap<(Mood, &str), usize> = BTreeMap::new();
        for host in self.hosts.values() {
            if let Host::Ended { standing, outcome, .. } = host {
                *ended.entry((mood(*standing), outcome)).or_default() += 1;
            }
        }
        let ended = ended.into_iter().map(|((mood, name), n)| (mood, name.to_owned(), n));
        let ended = ended.collect();
        Board { ended, expected: self.hosts.len(), since, ..Board::of_open(self.open()) }
    }

    /// `3 of 9 hosts have ended, 2 queued: no worker for class aarch64-linux (…)`
    fn line(&self) -> String {
        let (all, open) = (self.hosts.len(), self.open().count());
        let stuck = reasons::stuck(self.open().map(|(_, status)| status));
        format!("{} of {all} hosts have ended{stuck}", all - open)
    }
}

/// What nobody has asked for so far the gate asks for by itself: it is nobody's to mend.
fn judged(job: JobKey, class: &Class, seen: &Seen, look: Look<'_>) -> HostStatus {
    let status = HostStatus::of(job, class, seen, look);
    match status.stand {
        Stand::Queued(Queue::Unasked) => HostStatus::unseen(status.job, status.class),
        _ => status,
    }
}

impl Host {
    /// No worker has still to take it.
    fn taken(&self) -> Option<&JobKey> {
        match self {
            Self::Open(open) => open.status.is_taken().then_some(&open.status.job),
            Self::Ended { job, .. } => Some(job),
        }
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
