//! Every worker sweeps now and then, at a time of its own, so that a wanted job that fell between
//! two writes is found without anybody asking again (DESIGN 5.12), and that a message which no
//! client can be given goes to the dead letters. What to look for is `bus`'s.

use std::time::Duration;

use bus::{Bus, Link, SweepMemory, SweepScope, Swept, Unreadable};
use proto::{
    Epoch, V1, WorkerName,
    event::{DeadLetter, What},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::{
    metrics::Metrics,
    teller::{News, Teller},
};

/// One worker's sweeps.
pub(crate) struct Sweeper {
    pub(crate) bus: Bus,
    pub(crate) worker: WorkerName,
    pub(crate) scope: SweepScope,
    /// On average this far apart.
    pub(crate) every: Duration,
    pub(crate) teller: Teller,
    pub(crate) metrics: Metrics,
}

impl Sweeper {
    /// Sweeps until told to stop.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut memory = SweepMemory::default();
        let mut link = self.bus.link();
        loop {
            // Full jitter: workers that started together do not sweep together.
            let pause = self.every.mul_f64(2.0 * fastrand::f64());
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = async {
                    self.sweep(&mut memory).await;
                    self.bury_unreadable(&mut link).await;
                } => {}
            }
        }
    }

    /// A connection that was lost is the only sign of such a message, and mostly has other reasons.
    async fn bury_unreadable(&self, link: &mut watch::Receiver<Link>) {
        if !link.has_changed().unwrap_or_default() {
            return;
        }
        link.mark_unchanged();
        let buried = async {
            for message in self.bus.unreadable().await? {
                let (subject, reason) = (&message.subject, &message.reason);
                warn!("a message that no client can be given goes to the dead letters: {reason}");
                debug!(subject, "and out of the queue");
                let id = format!("unreadable.{}", message.sequence);
                self.bus.publish_dead(None, &id, &self.letter(&message)).await?;
                self.metrics.buried();
                self.bus.discard(&message).await?;
            }
            Ok::<_, bus::Error>(())
        };
        if let Err(error) = buried.await {
            // It costs connections for as long as it is there, so it is looked for again.
            if error.transient() {
                link.mark_changed();
            }
            warn!("looking for messages that no client can be given was cut short: {error}");
        }
    }

    fn letter(&self, message: &Unreadable) -> DeadLetter {
        let Unreadable { subject, payload, reason, .. } = message.clone();
        let reason = format!("no client can be given it: {reason}; its payload is in base64");
        let (at, worker, attempts) = (bus::clock::now(), self.worker.clone(), Vec::new());
        DeadLetter { v: V1, at, worker, subject, payload, reason, attempts }
    }

    async fn sweep(&self, memory: &mut SweepMemory) {
        match self.bus.sweep(memory, &self.scope).await {
            Ok(mut swept) => {
                self.count(&mut swept).await;
                for subject in swept.requeued {
                    info!(job = %subject.job, "{}: was wanted and in no queue", subject.job.host);
                    let news = News::of(&self.worker, subject, Epoch::default(), What::Requeued);
                    self.teller.tell(news);
                }
                for subject in swept.pruned {
                    info!(job = %subject.job, "{}: its old request is forgotten", subject.job.host);
                    let news = News::of(&self.worker, subject, Epoch::default(), What::Pruned);
                    self.teller.tell(news);
                }
            }
            // The next sweep looks again; a broker that is away has been told of already.
            Err(error) => debug!("a sweep was cut short: {error}"),
        }
    }

    /// Tells the metrics what a sweep saw, and what else they want to know of the pool.
    async fn count(&self, swept: &mut Swept) {
        if !self.metrics.watched() {
            return;
        }
        if let Err(error) = self.add_last_good(swept).await {
            debug!("the last good builds could not be read: {error}");
        }
        // A broker whose rights were rendered for an older worker lets nobody count letters.
        let letters = self.bus.dead_letter_count().await.ok();
        match self.bus.workers().list("*").await {
            Ok(workers) => {
                let living: Vec<_> = workers.into_iter().filter_map(|(_, it)| it.value).collect();
                self.metrics.swept(swept, &living, letters);
            }
            Err(error) => debug!("the pool could not be counted: {error}"),
        }
    }

    /// A success outlives the request and the record that told of it, by its note as a last good
    /// build: of a host that is asked for again, that may be all there is.
    async fn add_last_good(&self, swept: &mut Swept) -> Result<(), bus::Error> {
        for (key, entry) in self.bus.last_good().list(">").await? {
            let (Some(good), Some((repo, host))) = (entry.value, key.split_once('.')) else {
                continue;
            };
            let (Ok(repo), Ok(host)) = (repo.parse(), host.parse()) else { continue };
            if let Some(newest) = swept.hosts.get_mut(&(repo, host)) {
                *newest = (*newest).max(Some(good.at));
            }
        }
        Ok(())
    }
}
