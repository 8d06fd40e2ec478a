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

use bus::Bus;
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
            while let Some(news) = waiting.recv().await {
                tell(&bus, &news).await;
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

async fn tell(bus: &Bus, news: &News) {
    let give_up = Instant::now() + TELL_FOR;
    loop {
        let told = match news {
            News::Event(event) => bus.publish_event(event).await,
            News::Worker(event) => bus.publish_worker_event(event).await,
        };
        match told {
            Err(error) if error.transient() && Instant::now() < give_up => {
                tokio::time::sleep(AGAIN).await;
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
