//! Presence in the registry, and what its round trip tells about the server's clock.

use std::{collections::BTreeMap, time::Duration};

use bus::{Bus, clock};
use proto::{Class, Instance, Presence, Repo, Timestamp, V1, WorkerName};
use tokio::{
    sync::mpsc,
    task::{AbortHandle, JoinSet},
};
use tracing::{debug, warn};

use crate::machine::Machine;

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

/// Puts presence without holding up the loop. One put is under way at a time.
pub(crate) struct Putter {
    bus: Bus,
    samples: mpsc::Sender<Sample>,
    running: Option<AbortHandle>,
    tasks: JoinSet<()>,
}

impl Putter {
    pub(crate) fn new(bus: Bus, samples: mpsc::Sender<Sample>) -> Self {
        Self { bus, samples, running: None, tasks: JoinSet::new() }
    }

    pub(crate) fn put(&mut self, presence: Presence) {
        // The newest one counts: one that still waits for the broker is out of date.
        if let Some(running) = self.running.take() {
            running.abort();
        }
        while self.tasks.try_join_next().is_some() {}
        let (bus, samples) = (self.bus.clone(), self.samples.clone());
        self.running = Some(self.tasks.spawn(async move {
            if let Some(sample) = put(&bus, &presence).await {
                samples.try_send(sample).ok();
            }
        }));
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
