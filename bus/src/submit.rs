//! Asking for jobs: the wish by compare-and-set, then the message. Used by whoever submits.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use proto::{
    Before, Class, Incarnation, JobKey, JobMessage, Priority, Request, RunId, RunRecord, V1, Wish,
    request::{self, Answer, Ask},
    run::run_key,
    subject::{self, JobSubject},
    topology::{self, Bucket},
};
use telemetry::span;
use tracing::{Instrument as _, Span};

use crate::{clock, connection::Bus, error::Error, patience::retried, streams::Queued};

/// What an asking came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// A worker will take it.
    Queued,
    /// It was queued or being built already; this run's wish is with it.
    Joined,
    /// A finished failure of the flake answers it.
    FromRecord,
}

impl Asked {
    /// The name in traces.
    fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Joined => "joined",
            Self::FromRecord => "known",
        }
    }
}

/// Tries to get a wish written against others who write the same request. Each lost race means
/// that another one won, so this only ends in an error when the broker misbehaves.
const RACES_MAX: usize = 200;

/// Asks in flight at once.
const ASKS_AT_ONCE: usize = 64;

/// Pause after a lost race, times the number of races lost, with jitter by the caller's position.
const RACE_PAUSE: Duration = Duration::from_millis(2);

impl Bus {
    /// Writes a run. Writing the same one again is fine; says whether it was not there before.
    ///
    /// # Errors
    /// No answer, denied, or another run under the same id.
    pub async fn record_run(&self, run: &RunRecord) -> Result<bool, Error> {
        let runs = self.runs();
        match runs.put_if(&run.key(), run, 0).await {
            Err(Error::Conflict { subject }) => {
                let same = runs.get(&run.key()).await?.value.as_ref() == Some(run);
                if same { Ok(false) } else { Err(Error::Conflict { subject }) }
            }
            other => other.map(|_| true),
        }
    }

    /// Finds a run by its id, under whatever identity.
    ///
    /// # Errors
    /// No answer, or it cannot be read.
    pub async fn find_run(&self, run: RunId) -> Result<Option<RunRecord>, Error> {
        let bucket = Bucket::Runs;
        let filter = subject::kv(bucket.name(), &format!("*.{run}"));
        let Some(message) = self.last_message(&bucket.stream(), &filter).await? else {
            return Ok(None);
        };
        let Some(key) = subject::kv_key(bucket.name(), &message.subject) else { return Ok(None) };
        let record = self.runs().get(key).await?.value;
        // Only the key says who wrote it: the server guards keys, not payloads.
        Ok(record.filter(|record| run_key(&record.by, record.run) == key))
    }

    /// Asks for one job of a run and queues it. Idempotent: asking again heals a crash anywhere.
    ///
    /// # Errors
    /// No answer, denied, full, not served; [`Error::Clash`].
    pub async fn ask(&self, job: &JobKey, ask: &Ask) -> Result<Asked, Error> {
        let span = span::publish(job, ask.run);
        let trace = telemetry::context(&span).or(ask.trace);
        let ask = Ask { trace, ..ask.clone() };
        self.asked(job, &ask, &span).instrument(span.clone()).await
    }

    async fn asked(&self, job: &JobKey, ask: &Ask, span: &Span) -> Result<Asked, Error> {
        let (requests, results) = (self.requests(), self.results());
        let key = job.to_string();
        let mut races = 0;
        loop {
            let fresh = Incarnation(uuid::Uuid::now_v7());
            let request = requests.get(&key).await?;
            let record = results.get(&key).await?;
            let (request, joined) =
                match request::ask(request.value.as_ref(), record.value.as_ref(), ask, fresh) {
                    Answer::FromRecord => return Ok(Asked::FromRecord),
                    Answer::Clash => return Err(Error::Clash { job: job.clone() }),
                    Answer::Stands(standing) => (standing, true),
                    Answer::Write(new) => {
                        match requests.put_if(&key, &new, request.revision).await {
                            Ok(_) => {
                                let joined = new.incarnation != fresh;
                                (new, joined)
                            }
                            // Lost to another writer, or perhaps written: read again to know.
                            Err(Error::Conflict { .. } | Error::NoAnswer { .. })
                                if races < RACES_MAX =>
                            {
                                races += 1;
                                tokio::time::sleep(race_pause(races)).await;
                                continue;
                            }
                            Err(error) => return Err(error),
                        }
                    }
                };
            let before = Before::of(record.value.as_ref(), &request);
            let Request { class, incarnation, trace, .. } = request;
            let priority = ask.wish.priority;
            let subject = JobSubject { class, priority, job: job.clone(), incarnation };
            let queued = self.publish_job(&subject, &message(&subject, before), trace).await?;
            let asked = match (joined, queued) {
                (false, Queued::Now) => Asked::Queued,
                _ => Asked::Joined,
            };
            span::asked(span, incarnation, asked.name(), trace);
            return Ok(asked);
        }
    }

    /// Asks for every job of a run; says what became of each asking.
    ///
    /// # Errors
    /// As [`Bus::ask`], when it goes on for longer than a broker needs to come back.
    pub async fn ask_all(&self, run: &RunRecord) -> Result<BTreeMap<JobKey, Asked>, Error> {
        let asks = run.jobs().map(|(job, class)| async move {
            let ask = ask_of(run, class);
            let asked = retried(|| self.ask(&job, &ask)).await?;
            tracing::info!(%job, ?asked, "asked");
            Ok::<_, Error>((job, asked))
        });
        stream::iter(asks).buffer_unordered(ASKS_AT_ONCE).try_collect().await
    }

    /// Those of these classes that have no consumer: their jobs would wait for ever.
    ///
    /// # Errors
    /// No answer, denied.
    pub async fn unserved<'a>(
        &self,
        classes: impl IntoIterator<Item = &'a Class>,
    ) -> Result<Vec<&'a Class>, Error> {
        let mut unserved = Vec::new();
        for class in classes.into_iter().collect::<BTreeSet<_>>() {
            if !retried(|| self.missing_consumers(class)).await?.is_empty() {
                unserved.push(class);
            }
        }
        Ok(unserved)
    }

    /// Takes one run's wish for a job away, for the sake of a newer run if it names one; says
    /// whether there was a wish.
    ///
    /// # Errors
    /// No answer, denied.
    pub async fn withdraw(
        &self,
        job: &JobKey,
        run: RunId,
        superseded_by: Option<RunId>,
    ) -> Result<bool, Error> {
        let requests = self.requests();
        let key = job.to_string();
        for race in 0..RACES_MAX {
            let request = requests.get(&key).await?;
            let without = request.value.and_then(|it| it.withdrawn(run, superseded_by));
            // Gone after a lost answer: it was ours that took it.
            let Some(new) = without else { return Ok(race > 0) };
            match requests.put_if(&key, &new, request.revision).await {
                Ok(_) => {
                    self.poke(subject::cancel(job)).await;
                    return Ok(true);
                }
                Err(Error::Conflict { .. } | Error::NoAnswer { .. }) => {
                    tokio::time::sleep(race_pause(race)).await;
                }
                Err(error) => return Err(error),
            }
        }
        Err(Error::Conflict { subject: subject::kv(Bucket::Requests.name(), &key) })
    }

    /// Puts a wanted job that is neither finished nor queued back into the queue; says whether it
    /// had to. A crash between wish and publish, or a lost message, leaves such a job.
    ///
    /// # Errors
    /// No answer, denied, full.
    pub async fn heal(&self, job: &JobKey) -> Result<bool, Error> {
        let key = job.to_string();
        // The queue first: a job that is taken and finished in between reads as finished.
        let queued = self.queued(job).await?;
        let record = self.results().get(&key).await?.value;
        let Some(request) = self.requests().get(&key).await?.value else { return Ok(false) };
        let finished = record.is_some_and(|record| {
            record.incarnation == request.incarnation && record.outcome().is_some()
        });
        if finished || queued.iter().any(|queued| queued.incarnation == request.incarnation) {
            return Ok(false);
        }
        let requeued = self.requeue(job, &request).await?;
        Ok(requeued.is_some_and(|(_, queued)| queued == Queued::Now))
    }

    /// Publishes a job again at its most urgent wish; `None` when nobody wants it.
    pub(crate) async fn requeue(
        &self,
        job: &JobKey,
        request: &Request,
    ) -> Result<Option<(JobSubject, Queued)>, Error> {
        let Some(priority) = request.priority() else { return Ok(None) };
        let (class, incarnation) = (request.class.clone(), request.incarnation);
        let subject = JobSubject { class, priority, job: job.clone(), incarnation };
        let message = message(&subject, Before::Unknown);
        let queued = self.publish_job(&subject, &message, request.trace).await?;
        Ok(Some((subject, queued)))
    }

    /// Which of a class's consumers are missing. A submit to such a class would wait for ever.
    ///
    /// # Errors
    /// No answer, denied.
    pub async fn missing_consumers(&self, class: &Class) -> Result<Vec<String>, Error> {
        let mut missing = Vec::new();
        for priority in Priority::ALL {
            let name = topology::consumer_name(class, priority);
            if self.consumer(&name).await?.is_none() {
                missing.push(name);
            }
        }
        Ok(missing)
    }
}

fn race_pause(races: usize) -> Duration {
    // A uuid's random half spreads the racers; no other source of chance is needed for it.
    let spread = uuid::Uuid::now_v7().as_u128() % 8 + 1;
    let spread = u32::try_from(spread).unwrap_or(1);
    RACE_PAUSE * spread * u32::try_from(races.min(16)).unwrap_or(16)
}

pub(crate) fn message(subject: &JobSubject, before: Before) -> JobMessage {
    let (job, incarnation) = (subject.job.clone(), subject.incarnation);
    JobMessage { v: V1, job, incarnation, at: clock::now(), before }
}

/// The ask of one run for one of its jobs.
pub fn ask_of(run: &RunRecord, class: &Class) -> Ask {
    Ask {
        run: run.run,
        wish: Wish { priority: run.priority, by: run.by.clone(), at: run.at },
        class: class.clone(),
        force: run.force,
        retry: false,
        avoid_worker: None,
        overrides: run.overrides.clone(),
        trace: run.trace,
    }
}
