//! Presence in the registry, and what its round trip tells about the server's clock.

use std::{collections::BTreeMap, time::Duration};

use bus::{Bus, clock};
use proto::{Class, Instance, Presence, Repo, Timestamp, V1, WorkerName, topology::PRESENCE_EVERY};
use tokio::{
    sync::mpsc,
    task::{AbortHandle, JoinSet},
    time::{Instant, Interval, MissedTickBehavior},
};
use tracing::{debug, warn};

use crate::machine::{Machine, io::DeliveryId};

/// Who is present.
#[derive(Clone, Debug)]
pub(crate) struct Who {
    pub(crate) worker: WorkerName,
    pub(crate) instance: Instance,
    pub(crate) classes: Vec<Class>,
    pub(crate) repos: Vec<Repo>,
    pub(crate) slots: usize,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) since: Timestamp,
}

impl Who {
    pub(crate) fn presence(&self, machine: &Machine) -> Presence {
        Presence {
            v: V1,
            worker: self.worker.clone(),
            instance: self.instance,
            classes: self.classes.clone(),
            repos: self.repos.clone(),
            slots: self.slots,
            labels: self.labels.clone(),
            jobs: machine.jobs(),
            draining: machine.draining(),
            paused: machine.paused().map(str::to_owned),
            room: None,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            since: self.since,
        }
    }
}

/// One write: sent and answered by the steady clock, stored by the server's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) sent: Duration,
    pub(crate) answered: Duration,
    pub(crate) stored: Timestamp,
}

/// What it has got or lost is told to the registry after this long, not with the next heartbeat
/// only. Of many jobs that come and go it is once a second.
const JOBS_TOLD_WITHIN: Duration = Duration::from_secs(1);

/// How long a put may take before the next one takes its place: longer than an answer may take, and
/// less than there is between two heartbeats.
const PUT_WITHIN: Duration = Duration::from_secs(10);

/// When presence is due: at each heartbeat, and soon after the jobs have changed.
pub(crate) struct Beat {
    timer: Interval,
    next: Instant,
    told: (usize, Option<DeliveryId>),
}

impl Beat {
    pub(crate) fn new(machine: &Machine) -> Self {
        let mut timer = tokio::time::interval(PRESENCE_EVERY);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { timer, next: Instant::now(), told: machine.turnover() }
    }

    pub(crate) async fn due(&mut self) {
        self.timer.tick().await;
    }

    pub(crate) fn at_once(&mut self) {
        self.next = Instant::now();
        self.timer.reset_immediately();
    }

    /// Presence was put.
    pub(crate) fn told(&mut self, machine: &Machine) {
        (self.next, self.told) = (Instant::now() + PRESENCE_EVERY, machine.turnover());
    }

    /// Looks whether there is anything to tell before the next heartbeat.
    pub(crate) fn look(&mut self, machine: &Machine) {
        let soon = Instant::now() + JOBS_TOLD_WITHIN;
        if soon < self.next && self.told != machine.turnover() {
            self.timer.reset_at(soon);
            self.next = soon;
        }
    }
}

/// Puts presence without holding up the loop. One put is under way at a time.
pub(crate) struct Putter {
    bus: Bus,
    samples: mpsc::Sender<Sample>,
    running: Option<(AbortHandle, Instant)>,
    tasks: JoinSet<()>,
}

impl Putter {
    pub(crate) fn new(bus: Bus, samples: mpsc::Sender<Sample>) -> Self {
        Self { bus, samples, running: None, tasks: JoinSet::new() }
    }

    pub(crate) fn put(&mut self, presence: Presence) {
        // The newest one counts: one that still waits for the broker is out of date. But one that
        // was begun just now is not given up for the next, or a slow broker would never hear any.
        match &self.running {
            Some((put, begun)) if !put.is_finished() && begun.elapsed() < PUT_WITHIN => return,
            Some((put, _)) => put.abort(),
            None => {}
        }
        while self.tasks.try_join_next().is_some() {}
        let (bus, samples) = (self.bus.clone(), self.samples.clone());
        let task = self.tasks.spawn(async move {
            if let Some(sample) = put(&bus, &presence).await {
                samples.try_send(sample).ok();
            }
        });
        self.running = Some((task, Instant::now()));
    }

    /// Takes the worker out of the registry, so that nobody waits for it to be forgotten.
    pub(crate) async fn leave(mut self, who: &Who) {
        self.tasks.shutdown().await;
        if let Err(error) = self.bus.workers().delete(who.worker.as_str()).await {
            debug!("the registry still lists this worker for a while: {error}");
        }
    }
}

/// Puts presence and reads it back from the leader.
pub(crate) async fn put(bus: &Bus, presence: &Presence) -> Option<Sample> {
    let (workers, key) = (bus.workers(), presence.worker.as_str());
    let sent = clock::steady();
    if let Err(error) = workers.put(key, presence).await {
        warn!("presence could not be told: {error}");
        return None;
    }
    let answered = clock::steady();
    let entry = workers.get(key).await.ok()?;
    if entry.value.as_ref()?.instance != presence.instance {
        warn!("another worker is running under the name {key}: names must differ");
        return None;
    }
    Some(Sample { sent, answered, stored: entry.time })
}
