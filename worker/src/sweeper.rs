//! Every worker sweeps now and then, at a time of its own, so that a wanted job that fell between
//! two writes is found without anybody asking again (DESIGN 5.12). What to look for is `bus`'s.

use std::time::Duration;

use bus::{Bus, SweepMemory, SweepScope};
use proto::{Epoch, WorkerName, event::What};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::teller::{News, Teller};

/// One worker's sweeps.
pub(crate) struct Sweeper {
    pub(crate) bus: Bus,
    pub(crate) worker: WorkerName,
    pub(crate) scope: SweepScope,
    /// On average this far apart.
    pub(crate) every: Duration,
    pub(crate) teller: Teller,
}

impl Sweeper {
    /// Sweeps until told to stop.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut memory = SweepMemory::default();
        loop {
            // Full jitter: workers that started together do not sweep together.
            let pause = self.every.mul_f64(2.0 * fastrand::f64());
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.sweep(&mut memory) => {}
            }
        }
    }

    async fn sweep(&self, memory: &mut SweepMemory) {
        match self.bus.sweep(memory, &self.scope).await {
            Ok(swept) => {
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
}
