//! How a host stands, from its request, its record and the living workers. Pure.
//!
//! It reads no bucket and prints nothing. What a state is called stands here too, so that table,
//! progress line, live display and JSON cannot disagree.

use std::time::Duration;

use bus::{Entry, LaneState};
use proto::{
    AttemptEnd, Built, Class, Epoch, Finished, JobKey, Outcome, Record, Request, Running, Staff,
    State, Tally, Timestamp, Work, WorkerName,
};

use crate::around::{Around, Place};

/// One host of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct HostStatus {
    pub job: JobKey,
    pub class: Class,
    /// Claims so far that count; `None` before the first.
    pub attempt: Option<usize>,
    /// The newest claim of its asking, whether it holds or not.
    pub claim: Option<Claim>,
    pub stand: Stand,
}

/// A claim of a job by a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    pub epoch: Epoch,
    /// By the worker's clock.
    pub at: Timestamp,
}

/// What was done for a host that was found built.
const NOTHING: &str = "nothing to build";

/// Where a host stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Stand {
    /// Wanted, and no worker has it.
    Queued(Queue),
    /// In a worker's hands.
    Running {
        running: Running,
        /// The lease ran out this long ago: the worker died, froze or lost the broker.
        silent: Option<Duration>,
        /// Nobody wants it any more: its worker kills it, unless it ends before that.
        unwanted: bool,
    },
    /// Between two attempts.
    Waiting {
        /// Of the last attempt.
        worker: Option<WorkerName>,
        reason: AttemptEnd,
        left: Duration,
    },
    /// Ended. A job that nobody wants any more, and nobody has, reads so at once.
    Finished(Box<Finished>),
}

/// Why a job is still queued.
#[derive(Clone, Debug, PartialEq)]
pub enum Queue {
    /// The run is recorded, and its submit did not come so far.
    Unasked,
    /// A living worker serves the class, as far as anybody looked; its place, if somebody did.
    Served(Option<Place>),
    /// No living worker does; asked for since.
    Unserved { since: Timestamp },
    /// Some do, and none of them has the repo in its config; asked for since.
    Elsewhere { since: Timestamp },
    /// All that serve the class take nothing now; the first of them and its reason.
    Paused { worker: WorkerName, reason: String },
    /// An operator paused the class, for so long yet.
    Held { left: Duration },
    /// No consumer hands the class out.
    NotSetUp,
}

/// A job as read from both buckets.
#[derive(Clone, Debug)]
pub struct Seen {
    pub request: Entry<Request>,
    pub record: Entry<Record>,
}

/// What is the same for all hosts of one look.
#[derive(Clone, Copy, Debug)]
pub struct Look<'a> {
    pub around: &'a Around,
    pub now: Timestamp,
}

impl Seen {
    /// No worker has still to take it: one has it, or it has ended.
    pub fn taken(&self) -> bool {
        self.fact().is_some_and(|record| !matches!(record.state, State::Waiting(_)))
    }

    /// What is so of the current asking. A record of another incarnation is history: it tells
    /// nothing of this one.
    fn fact(&self) -> Option<&Record> {
        let request = self.request.value.as_ref();
        let of_request = |record: &&Record| {
            request.is_none_or(|request| request.incarnation == record.incarnation)
        };
        self.record.value.as_ref().filter(of_request)
    }
}

impl HostStatus {
    /// A job that nobody looked at so far.
    pub fn unseen(job: JobKey, class: Class) -> Self {
        let stand = Stand::Queued(Queue::Served(None));
        Self { job, class, attempt: None, claim: None, stand }
    }

    /// Judges one job; `class` counts until its request says otherwise.
    pub fn of(job: JobKey, class: &Class, seen: &Seen, look: Look<'_>) -> Self {
        let request = seen.request.value.as_ref();
        let class = request.map_or(class, |request| &request.class).clone();
        let record = seen.fact();
        let stand = stand(&class, &job, seen, record, look);
        let used = record.map_or(0, |record| record.attempts_used(record.incarnation));
        let claim = record.and_then(|record| record.attempts.last());
        let claim = claim.map(|attempt| Claim { epoch: attempt.epoch, at: attempt.at });
        Self { job, class, attempt: (used > 0).then_some(used), claim, stand }
    }

    /// How it ended, if it did.
    pub fn outcome(&self) -> Option<&Outcome> {
        self.finished().map(|finished| &finished.outcome)
    }

    /// What it was built as, if it was.
    pub fn built(&self) -> Option<&Built> {
        match self.outcome() {
            Some(Outcome::Built(built)) => Some(built),
            _ => None,
        }
    }

    /// What was done for it, in words, if its worker counted and its state does not say it already.
    pub fn done(&self) -> Option<String> {
        let built = self.built().filter(|built| built.is_real())?;
        built.work.map(done)
    }

    /// Its place in the queue, while it waits there and somebody looked.
    pub fn place(&self) -> Option<Place> {
        match &self.stand {
            Stand::Queued(Queue::Served(place)) => *place,
            _ => None,
        }
    }

    /// No worker has still to take it: one has it, or it has ended.
    pub fn is_taken(&self) -> bool {
        matches!(self.stand, Stand::Running { .. } | Stand::Finished(_))
    }

    /// Nobody can take it as things are: somebody has to do something about it.
    pub fn is_stuck(&self) -> bool {
        match &self.stand {
            Stand::Queued(queue) => !matches!(queue, Queue::Served(_)),
            Stand::Running { .. } | Stand::Waiting { .. } | Stand::Finished(_) => false,
        }
    }

    /// Its result, if it ended.
    pub fn finished(&self) -> Option<&Finished> {
        match &self.stand {
            Stand::Finished(finished) => Some(finished),
            Stand::Queued(_) | Stand::Running { .. } | Stand::Waiting { .. } => None,
        }
    }

    /// The worker that has it, or had it last.
    pub fn worker(&self) -> Option<&WorkerName> {
        match &self.stand {
            Stand::Queued(_) => None,
            Stand::Running { running, .. } => Some(&running.worker),
            Stand::Waiting { worker, .. } => worker.as_ref(),
            Stand::Finished(finished) => finished.worker.as_ref(),
        }
    }

    /// The state in JSON output.
    pub fn state(&self) -> &'static str {
        match &self.stand {
            Stand::Queued(_) => "queued",
            Stand::Running { .. } => "running",
            Stand::Waiting { .. } => "waiting",
            Stand::Finished(_) => "finished",
        }
    }

    /// The state in words. Two looks at a host that did not move give the same words.
    pub fn phrase(&self) -> String {
        match self.asked() {
            Some(at) => format!("{} (asked for {})", self.timeless(), utc(at)),
            None => self.timeless(),
        }
    }

    /// When it was asked for, where nobody has been there to take it since.
    pub fn asked(&self) -> Option<Timestamp> {
        match &self.stand {
            Stand::Queued(Queue::Unserved { since } | Queue::Elsewhere { since }) => Some(*since),
            _ => None,
        }
    }

    /// The state in words without a point in time: the same for all hosts of which the same is so.
    pub fn timeless(&self) -> String {
        let (repo, class) = (&self.job.repo, &self.class);
        match &self.stand {
            Stand::Queued(Queue::Served(_)) => "queued".into(),
            Stand::Queued(Queue::Unasked) => "queued: its submit did not end; run it again".into(),
            Stand::Queued(Queue::Unserved { .. }) => format!("queued: no worker for class {class}"),
            Stand::Queued(Queue::Elsewhere { .. }) => {
                format!("queued: no worker for repo {repo} of class {class}")
            }
            Stand::Queued(Queue::Paused { worker, reason }) => {
                format!("queued: {worker} takes nothing now: {reason}")
            }
            Stand::Queued(Queue::Held { .. }) => {
                format!("queued: class {class} is paused; `producer resume {class}`")
            }
            Stand::Queued(Queue::NotSetUp) => {
                format!("queued: nobody set class {class} up; `producer setup --classes {class}`")
            }
            Stand::Running { running, silent: None, unwanted } => {
                let cancelled = if *unwanted { ", being cancelled" } else { "" };
                format!("running ({}) on {}{cancelled}", running.phase.name(), running.worker)
            }
            Stand::Running { running, silent: Some(_), .. } => {
                format!("running ({}), but {} is silent", running.phase.name(), running.worker)
            }
            Stand::Waiting { reason, .. } => format!("waiting: retry after {}", reason.in_words()),
            Stand::Finished(finished) => match &finished.outcome {
                Outcome::Built(built) if built.reused => "built (reused)".into(),
                Outcome::Built(built) if !built.is_real() => format!("built ({NOTHING})"),
                outcome => outcome.name().into(),
            },
        }
    }
}

/// What was done for a host, in words: `3 derivations built, 1 path downloaded`.
pub fn done(work: Work) -> String {
    let counted = |n: u32, one: &str, did: &str| {
        let s = if n == 1 { "" } else { "s" };
        (n > 0).then(|| format!("{n} {one}{s} {did}"))
    };
    let built = counted(work.derivations, "derivation", "built");
    let parts = [built, counted(work.downloads, "path", "downloaded")];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    if parts.is_empty() { NOTHING.into() } else { parts.join(", ") }
}

/// The same in at most two words, for a table.
pub fn mainly_done(work: Work) -> String {
    match (work.derivations, work.downloads) {
        (0, 0) => NOTHING.into(),
        (0, downloads) => format!("{downloads} downloaded"),
        (derivations, _) => format!("{derivations} built"),
    }
}

/// Counts the hosts.
pub fn tally(hosts: &[HostStatus]) -> Tally {
    Tally::of(hosts.iter().map(HostStatus::outcome))
}

fn stand(
    class: &Class,
    job: &JobKey,
    seen: &Seen,
    record: Option<&Record>,
    look: Look<'_>,
) -> Stand {
    let over = |ms: u64| seen.record.time.plus(Duration::from_millis(ms));
    match (record.map(|record| &record.state), seen.request.value.as_ref()) {
        (Some(State::Finished(finished)), _) => Stand::Finished(Box::new(finished.clone())),
        // Who has it may end it yet; nobody else may.
        (None | Some(State::Waiting(_)), Some(request)) if !request.wanted() => {
            Stand::Finished(Box::new(withdrawn(request, seen.request.time)))
        }
        (None, request) => Stand::Queued(queue(class, job, request, look.around)),
        (Some(State::Running(running)), request) => {
            let silent = running.silent(seen.record.time, look.now);
            let unwanted = request.is_some_and(|request| !request.wanted());
            Stand::Running { running: running.clone(), silent, unwanted }
        }
        (Some(State::Waiting(waiting)), _) => {
            let last = record.and_then(|record| record.attempts.last());
            let worker = last.map(|attempt| attempt.worker.clone());
            let left = over(waiting.delay_ms).since(look.now);
            // Its delay is over: it waits for what every queued job waits for.
            if left.is_zero() {
                match queue(class, job, seen.request.value.as_ref(), look.around) {
                    Queue::Served(_) | Queue::Unasked => {}
                    reason => return Stand::Queued(reason),
                }
            }
            Stand::Waiting { worker, reason: waiting.reason.clone(), left }
        }
    }
}

fn withdrawn(request: &Request, at: Timestamp) -> Finished {
    let outcome = match request.superseded_by {
        Some(_) => Outcome::Superseded,
        None => Outcome::Cancelled,
    };
    let (worker, signature, phases) = (None, None, Vec::new());
    let overrides = request.overrides.clone();
    Finished { outcome, at, worker, queue_ms: 0, build_ms: 0, phases, overrides, signature }
}

fn queue(class: &Class, job: &JobKey, request: Option<&Request>, around: &Around) -> Queue {
    let Some(request) = request else { return Queue::Unasked };
    if !around.is_known() {
        return Queue::Served(None);
    }
    let lane = around.lane(class, request.priority().unwrap_or_default());
    if lane == Some(LaneState::Missing) {
        return Queue::NotSetUp;
    }
    let since = request.wanted_by.values().map(|wish| wish.at).min().unwrap_or_default();
    match (Staff::of(class, &job.repo, &around.workers), lane) {
        (Staff::NoWorker, _) => Queue::Unserved { since },
        (Staff::NoRepo, _) => Queue::Elsewhere { since },
        (_, Some(LaneState::Paused(left))) => Queue::Held { left },
        (Staff::Served, _) => Queue::Served(around.place(job, request.incarnation)),
        (Staff::Paused, _) => {
            let first = around.workers.iter().find(|it| it.serves(class, &job.repo));
            let paused = first.and_then(|it| Some((it.worker.clone(), it.paused.clone()?)));
            let (worker, reason) = paused.expect("all that serve it are paused, and one does");
            Queue::Paused { worker, reason }
        }
    }
}

/// A point in time for people: UTC, to the second.
pub fn utc(at: Timestamp) -> String {
    let since = Duration::from_millis(at.0);
    let time = std::time::UNIX_EPOCH.checked_add(since).unwrap_or(std::time::UNIX_EPOCH);
    humantime::format_rfc3339_seconds(time).to_string()
}

#[cfg(test)]
mod tests;
