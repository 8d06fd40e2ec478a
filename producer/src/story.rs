//! The whole story of one job: who wants it, every attempt with its end, how the time went, and
//! what it waits for now.
//!
//! [`read`] asks the broker, [`Story`] makes something of it, and nothing prints. What the record
//! says of an attempt counts; events add when it ended, its phases, and the askings before.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use bus::Bus;
use proto::{
    AttemptEnd, Class, Epoch, Incarnation, JobKey, Phase, Record, RunId, State, Timestamp, Wish,
    WorkerName,
    event::{JobEvent, What},
    subject,
};
use stand::{HostStatus, Look, Seen};

use crate::snapshot;

/// Events kept of one job, the newest ones: an asking has about ten.
const EVENTS_KEPT: usize = 1000;

/// One job, from its first asking that is known.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Story {
    /// How it stands, and why it waits if it does.
    pub(crate) status: HostStatus,
    /// Who wants it.
    pub(crate) wishes: BTreeMap<RunId, Wish>,
    /// The newer run that took the wishes away, if one did.
    pub(crate) superseded_by: Option<RunId>,
    /// This worker is left out for a while.
    pub(crate) avoid_worker: Option<WorkerName>,
    /// Oldest first; the last one is the current one.
    pub(crate) askings: Vec<Asking>,
}

/// One asking for the job.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Asking {
    pub(crate) incarnation: Incarnation,
    /// By the asker's clock.
    pub(crate) asked: Option<Timestamp>,
    /// By epoch.
    pub(crate) attempts: Vec<Try>,
    /// The name of its outcome, and when it ended.
    pub(crate) end: Option<(String, Timestamp)>,
    /// Why it went to the dead letters.
    pub(crate) dead: Option<String>,
}

/// One claim by a worker. Times are by that worker's clock.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Try {
    pub(crate) epoch: Epoch,
    pub(crate) worker: WorkerName,
    pub(crate) began: Timestamp,
    pub(crate) ended: Option<Timestamp>,
    /// When it came to each phase.
    pub(crate) phases: Vec<(Phase, Timestamp)>,
    pub(crate) end: End,
}

/// Why an attempt ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum End {
    /// It goes on.
    Running,
    /// With the job.
    Finished(String),
    /// The worker stopped and handed the job back; no attempt is lost.
    HandedBack,
    /// Its lease ran out, and another worker took the job over.
    WorkerLost,
    /// An infrastructure fault, which is tried again.
    Infra { kind: &'static str, message: String },
    /// Nobody remembers.
    Unknown,
}

/// How the time of an asking went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Times {
    /// From the asking to the first claim.
    pub(crate) queued: Duration,
    /// In workers' hands, all attempts together.
    pub(crate) building: Duration,
    /// Between attempts.
    pub(crate) between: Duration,
}

/// Reads the story of a job; `None` when nobody ever asked for it. `class` counts until its request
/// says otherwise.
pub(crate) async fn read(
    bus: &Bus,
    job: &JobKey,
    class: &Class,
) -> Result<Option<Story>, bus::Error> {
    let seen = snapshot::seen(bus, job).await?;
    let events = events(bus, job).await?;
    if seen.request.value.is_none() && seen.record.value.is_none() && events.is_empty() {
        return Ok(None);
    }
    let class = seen.request.value.as_ref().map_or(class, |request| &request.class).clone();
    let around = stand::around::read(bus, [class.clone()]).await?;
    let look = Look { around: &around, now: bus::clock::now() };
    let status = HostStatus::of(job.clone(), &class, &seen, look);
    Ok(Some(Story::of(status, seen, &events)))
}

/// What was told of a job, oldest first, the newest [`EVENTS_KEPT`].
pub(crate) async fn events(bus: &Bus, job: &JobKey) -> Result<Vec<JobEvent>, bus::Error> {
    let filter = subject::events_of_job(job);
    let (mut from, mut found) = (1, VecDeque::new());
    while let Some(event) = bus.next_event(&filter, from).await? {
        from = event.sequence + 1;
        let read = event.payload.ok().and_then(|it| serde_json::from_value::<JobEvent>(it).ok());
        // Only the subject says what it is about.
        let Some(read) = read.filter(|it| it.job == *job) else { continue };
        found.push_back(read);
        if found.len() > EVENTS_KEPT {
            found.pop_front();
        }
    }
    Ok(found.into())
}

impl Story {
    pub(crate) fn of(status: HostStatus, seen: Seen, events: &[JobEvent]) -> Self {
        let mut askings = Askings::default();
        for event in events {
            askings.hear(event);
        }
        if let Some(record) = &seen.record.value {
            askings.know(record);
        }
        let request = seen.request.value;
        if let Some(request) = &request {
            askings.of(request.incarnation);
        }
        let mut askings = askings.0;
        askings.iter_mut().for_each(Asking::close);
        askings.sort_by_key(|asking| asking.incarnation);
        // What the request asks for now is last, also where ids do not tell their time.
        if let Some(request) = &request {
            askings.sort_by_key(|asking| asking.incarnation == request.incarnation);
        }
        let (wishes, superseded_by, avoid_worker) =
            request.map(|it| (it.wanted_by, it.superseded_by, it.avoid_worker)).unwrap_or_default();
        Self { status, wishes, superseded_by, avoid_worker, askings }
    }

    /// How the time of the current asking went, until now or until its end.
    pub(crate) fn times(&self, now: Timestamp) -> Times {
        self.askings.last().map(|asking| asking.times(now)).unwrap_or_default()
    }
}

impl Asking {
    /// Over clocks of several machines: what they contradict each other by counts as nothing.
    pub(crate) fn times(&self, now: Timestamp) -> Times {
        let until = self.end.as_ref().map_or(now, |(_, at)| *at);
        let first = self.attempts.first().map(|attempt| attempt.began);
        let asked = self.asked.or(first).unwrap_or(until);
        let queued = first.unwrap_or(until).since(asked);
        let building = self.attempts.iter().map(|attempt| attempt.lasted(until)).sum();
        let between = until.since(asked).saturating_sub(queued).saturating_sub(building);
        Times { queued, building, between }
    }
}

impl Asking {
    /// No attempt lasts into the next one: a worker that was frozen told its end late. Of one that
    /// died nobody knows when it did.
    fn close(&mut self) {
        let next: Vec<Timestamp> = self.attempts.iter().skip(1).map(|it| it.began).collect();
        for (attempt, next) in self.attempts.iter_mut().zip(next) {
            attempt.ended = attempt.ended.map(|ended| ended.min(next));
        }
    }
}

impl Try {
    /// How long it took, as far as that is known; `until` counts for one that goes on.
    pub(crate) fn lasted(&self, until: Timestamp) -> Duration {
        let ended = match self.end {
            End::Running => Some(until),
            _ => self.ended,
        };
        ended.map(|ended| ended.since(self.began)).unwrap_or_default()
    }
}

impl End {
    fn of(end: &AttemptEnd) -> Self {
        match end {
            AttemptEnd::HandedBack => Self::HandedBack,
            AttemptEnd::WorkerLost => Self::WorkerLost,
            AttemptEnd::Infra { kind, message } => {
                Self::Infra { kind: kind.name(), message: message.clone() }
            }
        }
    }

    /// The name in output: that of the outcome, or why there was another attempt.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Running => "running",
            Self::Finished(outcome) => outcome,
            Self::HandedBack => "handed-back",
            Self::WorkerLost => "worker-lost",
            Self::Infra { kind, .. } => kind,
            Self::Unknown => "unknown",
        }
    }
}

/// Askings as they come to be known.
#[derive(Default)]
struct Askings(Vec<Asking>);

impl Askings {
    fn of(&mut self, incarnation: Incarnation) -> &mut Asking {
        let at = self.0.iter().position(|it| it.incarnation == incarnation);
        let at = at.unwrap_or_else(|| {
            let (asked, attempts) = (incarnation.asked_at(), Vec::new());
            self.0.push(Asking { incarnation, asked, attempts, end: None, dead: None });
            self.0.len() - 1
        });
        &mut self.0[at]
    }

    fn hear(&mut self, event: &JobEvent) {
        // What was forgotten has nobody who asked for it.
        if matches!(event.what, What::Pruned | What::Requeued | What::Refused { .. }) {
            return;
        }
        let asking = self.of(event.incarnation);
        match &event.what {
            What::Claimed => drop(asking.attempt(event.epoch, &event.worker, event.at)),
            What::Phase { phase } => {
                let attempt = asking.attempt(event.epoch, &event.worker, event.at);
                attempt.phases.push((*phase, event.at));
            }
            What::Retrying { reason, message, .. } => {
                let (kind, message) = (reason.name(), message.clone());
                asking.ended(event, End::Infra { kind, message });
            }
            What::HandedBack => asking.ended(event, End::HandedBack),
            What::Fenced => asking.ended(event, End::WorkerLost),
            What::Finished { outcome } => {
                asking.end = Some((outcome.clone(), event.at));
                if let Some(attempt) = asking.attempts.iter_mut().find(|it| it.epoch == event.epoch)
                {
                    attempt.ended = Some(event.at);
                    attempt.end = End::Finished(outcome.clone());
                }
            }
            What::Dead { reason } => asking.dead = Some(reason.clone()),
            What::Late { .. } | What::Requeued | What::Pruned | What::Refused { .. } => {}
        }
    }

    /// What stands in the record counts: events may be lost, and are only told.
    fn know(&mut self, record: &Record) {
        let asking = self.of(record.incarnation);
        for known in &record.attempts {
            let attempt = asking.attempt(known.epoch, &known.worker, known.at);
            (attempt.worker, attempt.began) = (known.worker.clone(), known.at);
            let last = known.epoch == record.epoch;
            match (&known.end, &record.state) {
                (Some(end), _) => attempt.end = End::of(end),
                (None, State::Running(_)) if last => attempt.end = End::Running,
                (None, State::Finished(finished)) if last => {
                    attempt.ended = Some(finished.at);
                    attempt.end = End::Finished(finished.outcome.name().into());
                }
                (None, _) => {}
            }
        }
        if let State::Finished(finished) = &record.state {
            asking.end = Some((finished.outcome.name().into(), finished.at));
        }
    }
}

impl Asking {
    fn attempt(&mut self, epoch: Epoch, worker: &WorkerName, at: Timestamp) -> &mut Try {
        let place = self.attempts.binary_search_by_key(&epoch, |attempt| attempt.epoch);
        let place = place.unwrap_or_else(|place| {
            let (worker, phases) = (worker.clone(), Vec::new());
            let new = Try { epoch, worker, began: at, ended: None, phases, end: End::Unknown };
            self.attempts.insert(place, new);
            place
        });
        &mut self.attempts[place]
    }

    fn ended(&mut self, event: &JobEvent, end: End) {
        let attempt = self.attempt(event.epoch, &event.worker, event.at);
        (attempt.ended, attempt.end) = (Some(event.at), end);
    }
}

#[cfg(test)]
pub(crate) mod tests;
