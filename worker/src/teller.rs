//! Tells the world: events, in order, without ever holding up a job.
//!
//! A full queue drops events (they are for audit and metrics; the truth is in the records) and
//! says how many. What an event means it knows for the words in the log only.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bus::{Bus, Error};
use futures_util::future::join_all;
use proto::{
    Epoch, JobKey, V1, WorkerName,
    event::{JobEvent, What, WorkerEvent},
    subject::JobSubject,
};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use crate::metrics::Metrics;

/// News that wait to be told. A job tells about ten; a broker outage may last.
const NEWS_WAITING: usize = 4096;

/// News told at once.
const BATCH_MAX: usize = 64;

/// News that nobody takes for so long are given up.
const TELL_FOR: Duration = Duration::from_secs(15 * 60);

/// Pause between two tries.
const AGAIN: Duration = Duration::from_secs(1);

/// Something to tell.
#[derive(Debug)]
pub(crate) enum News {
    Event(Box<JobEvent>),
    Worker(WorkerEvent),
}

impl News {
    /// What happened to a job, told by `worker` now.
    pub(crate) fn of(worker: &WorkerName, subject: JobSubject, epoch: Epoch, what: What) -> Self {
        let JobSubject { job, incarnation, .. } = subject;
        let (at, worker) = (bus::clock::now(), worker.clone());
        Self::Event(Box::new(JobEvent { v: V1, at, job, incarnation, epoch, worker, what }))
    }
}

/// Takes news and returns at once.
#[derive(Clone)]
pub(crate) struct Teller {
    news: mpsc::Sender<News>,
    dropped: Arc<AtomicU64>,
    metrics: Metrics,
}

impl Teller {
    /// Starts telling; ends when all tellers are gone and all is told.
    pub(crate) fn start(bus: Bus, metrics: Metrics, tasks: &TaskTracker) -> Self {
        let (news, mut waiting) = mpsc::channel(NEWS_WAITING);
        tasks.spawn(async move {
            let mut batch = Vec::with_capacity(BATCH_MAX);
            while waiting.recv_many(&mut batch, BATCH_MAX).await > 0 {
                tell_all(&bus, &batch).await;
                batch.clear();
            }
        });
        Self { news, dropped: Arc::default(), metrics }
    }

    pub(crate) fn tell(&self, news: News) {
        if self.news.try_send(news).is_err() {
            self.metrics.event_dropped();
            let dropped = self.dropped.fetch_add(1, Ordering::Relaxed) + 1;
            warn!(dropped, "the broker is too slow for events, one is dropped");
        }
    }
}

/// Tells what waits at once, so that a round trip is not the price of each. The client sends them
/// in order; only those that got no answer are told again, in order, before anything newer.
async fn tell_all(bus: &Bus, batch: &[News]) {
    let told = join_all(batch.iter().map(|news| publish(bus, news))).await;
    for (news, told) in batch.iter().zip(told) {
        settle(bus, news, told).await;
    }
}

async fn publish(bus: &Bus, news: &News) -> Result<(), Error> {
    match news {
        News::Event(event) => bus.publish_event(event).await,
        News::Worker(event) => bus.publish_worker_event(event).await,
    }
}

async fn settle(bus: &Bus, news: &News, mut told: Result<(), Error>) {
    let give_up = Instant::now() + TELL_FOR;
    loop {
        match told {
            Err(error) if error.transient() && Instant::now() < give_up => {
                tokio::time::sleep(AGAIN).await;
                told = publish(bus, news).await;
            }
            Err(error) => return warn!("an event could not be told: {error}"),
            Ok(()) => return,
        }
    }
}

/// A line in the worker's log for each change of a job's state, fewer for its phases.
pub(crate) fn say(job: &JobKey, epoch: Epoch, what: &What) {
    let (kind, host) = (what.kind(), &job.host);
    match what {
        What::Phase { phase } => debug!(%job, %epoch, "{host}: {}", phase.name()),
        What::Claimed | What::HandedBack | What::Requeued | What::Pruned => {
            info!(%job, %epoch, "{host}: {kind}");
        }
        What::Finished { outcome } => info!(%job, %epoch, "{host}: {kind}, {outcome}"),
        What::Late { outcome } => info!(%job, %epoch, "{host}: {kind}, {outcome}"),
        What::Fenced => warn!(%job, %epoch, "{host}: another worker has it, or nobody answers"),
        What::Refused { reason } => warn!(%job, "{host}: left to other workers: {reason}"),
        What::Dead { reason } => warn!(%job, %epoch, "{host}: dead: {reason}"),
        What::Retrying { reason, message, delay_ms } => {
            let (reason, delay) = (reason.name(), Duration::from_millis(*delay_ms));
            warn!(%job, %epoch, "{host}: {reason}, again in {delay:?}: {message}");
        }
    }
}
