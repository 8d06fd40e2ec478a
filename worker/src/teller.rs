//! Tells the world: events, in order, without ever holding up a job.
//!
//! A full queue drops events (they are for audit and metrics; the truth is in the records) and
//! says how many. It does not know what an event means.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bus::Bus;
use proto::{
    Epoch, V1, WorkerName,
    event::{JobEvent, What, WorkerEvent},
    subject::JobSubject,
};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::task::TaskTracker;
use tracing::warn;

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
}

impl Teller {
    /// Starts telling; ends when all tellers are gone and all is told.
    pub(crate) fn start(bus: Bus, tasks: &TaskTracker) -> Self {
        let (news, mut waiting) = mpsc::channel(NEWS_WAITING);
        tasks.spawn(async move {
            while let Some(news) = waiting.recv().await {
                tell(&bus, &news).await;
            }
        });
        Self { news, dropped: Arc::default() }
    }

    pub(crate) fn tell(&self, news: News) {
        if self.news.try_send(news).is_err() {
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
