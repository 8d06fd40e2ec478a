//! Carries one attempt's log to the broker, chunk by chunk.
//!
//! A slow broker never slows a build: while a chunk waits for its ack those behind it wait in the
//! [`LogChunks`], and when these are full, lines are dropped and counted.

use std::time::Duration;

use bus::Bus;
use proto::{JobKey, record::Epoch};
use tracing::warn;

use crate::{log_pump::Chunk, log_sink::LogChunks};

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
    pub(crate) chunks: LogChunks,
}

impl LogTask {
    /// The first chunk; none when the build has closed its sink and said nothing. Such a log is not
    /// stored: that its attempt is over stands in the record.
    pub(crate) async fn first(&mut self) -> Option<Chunk> {
        self.chunks.next().await
    }

    /// Runs until the build has closed its sink and the last chunk is stored or given up.
    pub(crate) async fn run(mut self, first: Chunk) {
        let mut next = Some(first);
        while let Some(chunk) = next {
            self.store(&chunk).await;
            self.chunks.done(chunk);
            next = self.chunks.next().await;
        }
    }

    /// One at a time: if one behind it were stored before it is, readers would take it for lost.
    async fn store(&self, chunk: &Chunk) {
        for _ in 0..CHUNK_TRIES {
            let json = chunk.json.clone();
            match self.bus.publish_log(&self.job, self.epoch, chunk.seq, json).await {
                Err(error) if error.transient() => tokio::time::sleep(AGAIN).await,
                Err(error) => return warn!(job = %self.job, "a log chunk is lost: {error}"),
                Ok(()) => return,
            }
        }
        warn!(job = %self.job, "a log chunk is lost: the broker was away for too long");
    }
}
