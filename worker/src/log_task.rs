//! Carries one attempt's log to the broker: lines in, numbered chunks out.
//!
//! A slow broker never slows a build: while a chunk waits for its ack the sink fills, and then
//! lines are dropped and counted.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bus::Bus;
use proto::{JobKey, log::LogChunk, record::Epoch};
use tokio::time::{Instant, timeout};
use tracing::warn;

use crate::log_pump::{CHUNK_AGE_MAX, LogLines, LogPump};

/// Tries to store one chunk. The chunks behind it wait in a bounded queue, so this bounds how long
/// an outage may last before lines are lost: about the default `orphan_grace`.
const CHUNK_TRIES: u32 = 150;

/// Pause between two tries; a try that gets no answer takes five seconds by itself.
const AGAIN: Duration = Duration::from_secs(1);

/// The log of one attempt on its way.
pub(crate) struct LogTask {
    pub(crate) bus: Bus,
    pub(crate) job: JobKey,
    pub(crate) epoch: Epoch,
    pub(crate) lines: LogLines,
    pub(crate) dropped: Arc<AtomicU64>,
}

impl LogTask {
    /// Runs until the build has closed its sink and the last chunk is stored or given up.
    pub(crate) async fn run(mut self, mut pump: LogPump) {
        let start = Instant::now();
        loop {
            let next = timeout(CHUNK_AGE_MAX, self.lines.recv()).await;
            let now = start.elapsed();
            let gap = pump.dropped(now, self.dropped.swap(0, Ordering::Relaxed));
            let chunk = match next {
                Ok(Some(line)) => pump.push(now, line),
                Ok(None) => {
                    self.store(gap).await;
                    break;
                }
                Err(_) => pump.tick(now),
            };
            self.store(gap).await;
            self.store(chunk).await;
        }
        // More than one when the ring held a tail.
        while let Some(chunk) = pump.end(start.elapsed()) {
            self.store(Some(chunk)).await;
        }
    }

    async fn store(&self, chunk: Option<LogChunk>) {
        let Some(chunk) = &chunk else { return };
        for _ in 0..CHUNK_TRIES {
            match self.bus.publish_log(&self.job, self.epoch, chunk).await {
                Err(error) if error.transient() => tokio::time::sleep(AGAIN).await,
                Err(error) => return warn!(job = %self.job, "a log chunk is lost: {error}"),
                Ok(()) => return,
            }
        }
        warn!(job = %self.job, "a log chunk is lost: the broker was away for too long");
    }
}
