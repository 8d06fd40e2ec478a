//! What goes into the streams and comes out of them: jobs, logs, events and dead letters.

use std::time::Duration;

use async_nats::jetstream::message::StreamMessage;
use backon::{ExponentialBuilder, Retryable as _};
use bytes::Bytes;
use proto::{
    Class, JobKey, JobMessage, RunRecord, TraceParent, V1,
    event::{ClassChange, ClassEvent, DeadLetter, JobEvent, RunChange, RunEvent, WorkerEvent},
    log::LogChunk,
    record::Epoch,
    subject::{self, JobSubject},
    topology, trace,
};
use serde::Serialize;

use crate::{bucket::encode, clock, connection::Bus, error::Error, publish::Publish};

/// What a publish of a job message came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queued {
    /// It is in the stream now.
    Now,
    /// It was there before.
    Already,
}

/// A log chunk as the stream holds it.
#[derive(Clone, Debug)]
pub struct StoredChunk {
    /// Its place in the stream, for reading on.
    pub sequence: u64,
    /// The attempt that wrote it.
    pub epoch: Epoch,
    /// Its lines.
    pub chunk: LogChunk,
}

/// Four tries in about two seconds outlast a leader election; after that it is the caller's turn.
fn elections() -> ExponentialBuilder {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(Duration::from_secs(1))
        .with_max_times(4)
        .with_jitter()
}

impl Bus {
    /// Queues a job and waits until the stream has it. `trace` is what its build is a part of.
    ///
    /// # Errors
    /// Full, denied, not served, or no answer after some tries. Publishing again is safe.
    pub async fn publish_job(
        &self,
        subject: &JobSubject,
        message: &JobMessage,
        trace: Option<TraceParent>,
    ) -> Result<Queued, Error> {
        let address = subject.subject();
        let payload = encode("publish", &address, message)?;
        let publish = || async {
            // No message id: deduplication would swallow a legitimate asking after an ack.
            let mut publish = Publish::of(payload.clone()).into_stream(topology::JOBS);
            if let Some(trace) = trace {
                publish = publish.header(trace::HEADER, trace.to_string().as_str());
            }
            self.publish_acked("publish", &address, publish).await
        };
        match publish.retry(elections()).when(Error::transient).await {
            Ok(_) => Ok(Queued::Now),
            Err(Error::Duplicate { .. }) => Ok(Queued::Already),
            Err(error) => Err(error),
        }
    }

    /// Whether a job has any message in the queue, waiting or in somebody's hands.
    ///
    /// # Errors
    /// No answer.
    pub async fn queued(&self, job: &JobKey) -> Result<Vec<JobSubject>, Error> {
        let subjects = self.subjects(topology::JOBS, &subject::build_of_job(job)).await?;
        Ok(subjects.iter().filter_map(|subject| JobSubject::parse(subject).ok()).collect())
    }

    /// All queued jobs of a class, sorted.
    ///
    /// # Errors
    /// No answer.
    pub async fn queue(&self, filter: &str) -> Result<Vec<JobSubject>, Error> {
        let subjects = self.subjects(topology::JOBS, filter).await?;
        Ok(subjects.iter().filter_map(|subject| JobSubject::parse(subject).ok()).collect())
    }

    /// Publishes chunk `seq` of a build log, a [`LogChunk`] as JSON, and waits until the stream has
    /// it.
    ///
    /// # Errors
    /// No answer, full, denied.
    pub async fn publish_log(
        &self,
        job: &JobKey,
        epoch: Epoch,
        seq: u64,
        chunk: Bytes,
    ) -> Result<(), Error> {
        let address = subject::log(job, epoch);
        // A chunk that is published again after a lost answer is stored once.
        let id = format!("{job}.{epoch}.{seq}");
        let publish = Publish::of(chunk).once(&id);
        self.publish_acked("publish log", &address, publish).await.map(drop)
    }

    /// The first chunk at `sequence` or later of all attempts of a job, or of one.
    ///
    /// # Errors
    /// No answer, or it cannot be read.
    pub async fn next_log(
        &self,
        job: &JobKey,
        attempt: Option<Epoch>,
        sequence: u64,
    ) -> Result<Option<StoredChunk>, Error> {
        let filter = attempt.map_or_else(|| subject::log_of_job(job), |it| subject::log(job, it));
        self.next_message(topology::LOGS, &filter, sequence).await?.map(chunk).transpose()
    }

    /// The newest chunk of an attempt.
    ///
    /// # Errors
    /// No answer, or it cannot be read.
    pub async fn last_log(
        &self,
        job: &JobKey,
        attempt: Epoch,
    ) -> Result<Option<StoredChunk>, Error> {
        let filter = subject::log(job, attempt);
        self.last_message(topology::LOGS, &filter).await?.map(chunk).transpose()
    }

    /// The attempts of a job whose log is kept, oldest first.
    ///
    /// # Errors
    /// No answer.
    pub async fn log_epochs(&self, job: &JobKey) -> Result<Vec<Epoch>, Error> {
        let subjects = self.subjects(topology::LOGS, &subject::log_of_job(job)).await?;
        let epochs = subjects.iter().filter_map(|subject| subject::log_epoch(subject).ok());
        let mut epochs: Vec<Epoch> = epochs.collect();
        epochs.sort_unstable();
        Ok(epochs)
    }

    /// Publishes what happened to a job.
    ///
    /// # Errors
    /// No answer, full, denied.
    pub async fn publish_event(&self, event: &JobEvent) -> Result<(), Error> {
        self.publish_news(subject::job_event(&event.job, &event.what), event).await
    }

    /// Publishes what happened to a worker.
    ///
    /// # Errors
    /// No answer, full, denied.
    pub async fn publish_worker_event(&self, event: &WorkerEvent) -> Result<(), Error> {
        self.publish_news(subject::worker_event(&event.worker, &event.what), event).await
    }

    /// Publishes what one did to a run. The run is what counts: a broker that does not take the
    /// news, or does not let one tell, costs a warning.
    pub async fn tell_of_run(&self, run: &RunRecord, what: RunChange) {
        let event = RunEvent::of(run, self.identity().clone(), clock::now(), what);
        self.try_to_tell(subject::run_event(&event), &event).await;
    }

    /// Publishes what one did to a class, as [`Bus::tell_of_run`] does.
    pub async fn tell_of_class(&self, class: &Class, what: ClassChange) {
        let (at, by) = (clock::now(), self.identity().clone());
        let event = ClassEvent { v: V1, at, class: class.clone(), by, what };
        self.try_to_tell(subject::class_event(&event), &event).await;
    }

    async fn try_to_tell(&self, address: String, event: &impl Serialize) {
        if let Err(error) = self.publish_news(address, event).await {
            tracing::warn!("done, but not told on nbp.event: failed to {error}");
        }
    }

    async fn publish_news(&self, address: String, event: &impl Serialize) -> Result<(), Error> {
        let payload = encode("publish event", &address, event)?;
        self.publish_acked("publish event", &address, Publish::of(payload)).await.map(drop)
    }

    /// Publishes a dead letter once: the same `id` within two minutes is stored once, and so is the
    /// one of a job whose newest letter says the same already.
    ///
    /// # Errors
    /// No answer, full, denied.
    pub async fn publish_dead(
        &self,
        job: Option<&JobKey>,
        id: &str,
        letter: &DeadLetter,
    ) -> Result<(), Error> {
        let address = job.map_or_else(|| subject::DEAD_UNKNOWN.to_owned(), subject::dead);
        if job.is_some()
            && let Some(newest) = self.last_message(topology::DEAD, &address).await?
            && let Ok(newest) = serde_json::from_slice::<DeadLetter>(&newest.payload)
            && (&newest.subject, &newest.attempts) == (&letter.subject, &letter.attempts)
        {
            return Ok(());
        }
        let payload = encode("publish dead letter", &address, letter)?;
        let publish = Publish::of(payload).once(id);
        self.publish_acked("publish dead letter", &address, publish).await.map(drop)
    }
}

fn chunk(message: StreamMessage) -> Result<StoredChunk, Error> {
    let undecodable = |reason: String| Error::Undecodable {
        subject: message.subject.to_string(),
        revision: message.sequence,
        reason,
    };
    let epoch = subject::log_epoch(&message.subject).map_err(|e| undecodable(e.to_string()))?;
    let chunk = serde_json::from_slice(&message.payload).map_err(|e| undecodable(e.to_string()))?;
    Ok(StoredChunk { sequence: message.sequence, epoch, chunk })
}
