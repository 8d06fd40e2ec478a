//! Core messages as hints that something changed. A lost one costs time, never correctness.

use std::{collections::BTreeSet, future, time::Duration};

use futures_util::StreamExt as _;
use tokio::{
    sync::mpsc,
    task::AbortHandle,
    time::{Instant, sleep_until},
};
use tracing::debug;

use crate::{connection::Bus, error::Error};

/// Core messages on a subject, only as a hint that something changed: the truth is read from the
/// leader afterwards.
///
/// Each comes a little late, and twice. A server hands a message to those who listen while its stream
/// still stores it, so who reads at once may read what was there before, and would hear no more of
/// it.
pub struct Pokes {
    subjects: mpsc::Receiver<String>,
    task: AbortHandle,
}

/// Pokes that wait to be read. More add nothing: one is enough to read again.
const POKES_WAITING: usize = 256;

/// When the stream has it: soon on most disks, later on one that takes its time to sync a write, and
/// by the second of them for sure. Each is a look by everybody who listens, so there are no more.
const TOLD_AFTER: [Duration; 2] = [Duration::from_millis(10), Duration::from_millis(200)];

impl Bus {
    /// Listens on a subject, wildcards allowed. Survives reconnects.
    ///
    /// # Errors
    /// When the client is closed.
    pub async fn pokes(&self, subject: &str) -> Result<Pokes, Error> {
        let operation = "subscribe";
        let failed = |reason: String| {
            let subject = subject.to_owned();
            Error::Server { operation, subject, reason }
        };
        let mut subscriber = self
            .net
            .client
            .subscribe(subject.to_owned())
            .await
            .map_err(|e| failed(e.to_string()))?;
        let (sender, subjects) = mpsc::channel(POKES_WAITING);
        // Owned by the returned value, which aborts it.
        #[expect(clippy::disallowed_methods, reason = "the abort handle below owns it")]
        let task = tokio::spawn(async move {
            let mut waiting: BTreeSet<(Instant, String)> = BTreeSet::new();
            loop {
                tokio::select! {
                    message = subscriber.next() => {
                        let Some(message) = message else { return };
                        let subject = message.subject.to_string();
                        if waiting.len() < POKES_WAITING * TOLD_AFTER.len() {
                            let now = Instant::now();
                            waiting.extend(TOLD_AFTER.map(|after| (now + after, subject.clone())));
                        } else {
                            sender.try_send(subject).ok();
                        }
                    }
                    () = due(waiting.first()) => {
                        sender.try_send(waiting.pop_first().map_or_else(String::new, |it| it.1)).ok();
                    }
                }
            }
        });
        Ok(Pokes { subjects, task: task.abort_handle() })
    }

    /// Sends a poke; nobody may be listening.
    pub async fn poke(&self, subject: String) {
        if let Err(error) = self.net.client.publish(subject.clone(), bytes::Bytes::new()).await {
            debug!(%subject, %error, "a poke was not sent");
        }
    }
}

async fn due(poke: Option<&(Instant, String)>) {
    match poke {
        Some((at, _)) => sleep_until(*at).await,
        None => future::pending().await,
    }
}

impl Pokes {
    /// The subject of the next poke. Never ends while the connection lives.
    pub async fn next(&mut self) -> Option<String> {
        self.subjects.recv().await
    }

    /// The subject of one more poke, if one has come already: whoever reads for many subjects at
    /// once need not read for each poke.
    pub fn another(&mut self) -> Option<String> {
        self.subjects.try_recv().ok()
    }

    /// Forgets pokes that came in the meantime: one read answers them all.
    pub fn clear(&mut self) {
        while self.subjects.try_recv().is_ok() {}
    }
}

impl Drop for Pokes {
    fn drop(&mut self) {
        self.task.abort();
    }
}
