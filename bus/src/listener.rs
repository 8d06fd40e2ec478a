//! What the client tells of its connection: whether it is there, and what the server denied.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use async_nats::{Event, ServerError};
use proto::{Identity, account};
use tokio::sync::{Notify, watch};
use tracing::{debug, error, info, warn};

use crate::connection::{Link, whom};

/// Denied subjects kept, so that a request that got no answer can say why.
const DENIALS_KEPT: usize = 64;

/// Hears what the client tells of its connection, and says what a person should know.
pub(crate) struct Listener {
    identity: Identity,
    link: watch::Sender<Link>,
    denials: Denials,
    /// That the broker refuses this identity was said since it was last connected.
    refused: AtomicBool,
}

impl Listener {
    pub(crate) fn new(identity: Identity, link: watch::Sender<Link>, denials: Denials) -> Self {
        Self { identity, link, denials, refused: AtomicBool::new(false) }
    }

    pub(crate) fn hear(&self, event: &Event) {
        match event {
            Event::Connected => {
                self.link.send_replace(Link::Up);
                self.refused.store(false, Ordering::Relaxed);
                info!("connected to the broker");
            }
            Event::Disconnected => {
                self.link.send_replace(Link::Down);
                warn!("lost the broker, reconnecting");
            }
            Event::Closed => {
                self.link.send_replace(Link::Down);
                debug!("connection closed");
            }
            Event::ServerError(ServerError::Other(text)) => {
                if let Some(subject) = denied_subject(text) {
                    self.denials.add(&subject);
                    error!(%subject, "the broker denies this identity a subject: {text}");
                } else {
                    error!("the broker reports: {text}");
                }
            }
            Event::Draining => debug!("sending what is left"),
            Event::LameDuckMode => info!("the broker is about to stop"),
            // Each failed try to reconnect: that the broker is away was said when it went.
            Event::ClientError(error) if error.to_string().contains("IO error") => debug!(%error),
            other if other.to_string().to_lowercase().contains("authorization violation") => {
                // Not the end: a key that was taken away by mistake comes back, and so do we.
                if !self.refused.swap(true, Ordering::Relaxed) {
                    error!("the broker refuses {}; trying again", whom(&self.identity));
                }
            }
            other => warn!("connection: {other}"),
        }
    }
}

/// The server's error events look like `Permissions Violation for Publish to "nbp.build.x"`.
fn denied_subject(text: &str) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    let violation = lower.contains("permissions violation");
    violation.then(|| text.split('"').nth(1)).flatten().map(account::as_sent)
}

/// Subjects that the server denied lately.
#[derive(Clone, Default)]
pub(crate) struct Denials(Arc<Kept>);

#[derive(Default)]
struct Kept {
    subjects: Mutex<VecDeque<String>>,
    added: Notify,
}

impl Denials {
    fn add(&self, subject: &str) {
        let mut kept = self.0.subjects.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == DENIALS_KEPT {
            kept.pop_front();
        }
        kept.push_back(subject.to_owned());
        self.0.added.notify_waiters();
    }

    /// Returns when the server denies `subject`; whoever waits for an answer there need not wait
    /// until it is overdue.
    pub(crate) async fn heard(&self, subject: &str) {
        loop {
            let mut added = std::pin::pin!(self.0.added.notified());
            // Before the look: what is added after it wakes us.
            added.as_mut().enable();
            if self.take(subject) {
                return;
            }
            added.await;
        }
    }

    /// Each explains one silence: rights may be given later, and answers be lost after that.
    pub(crate) fn take(&self, subject: &str) -> bool {
        let mut kept = self.0.subjects.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.iter().position(|denied| denied == subject);
        at.and_then(|at| kept.remove(at)).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permission_error_names_its_subject() {
        let text = "Permissions Violation for Publish to \"nbp.build.x\"";
        assert_eq!(denied_subject(text).as_deref(), Some("nbp.build.x"));
        let mapped = "Permissions Violation for Publish to \"NBP.API.STREAM.INFO.X\"";
        assert_eq!(denied_subject(mapped).as_deref(), Some("$JS.API.STREAM.INFO.X"));
        assert_eq!(denied_subject("Maximum Connections Exceeded"), None);
    }

    #[test]
    fn a_denial_explains_one_silence() {
        let denials = Denials::default();
        denials.add("a");
        assert!(!denials.take("b"));
        assert!(denials.take("a"));
        assert!(!denials.take("a"));
    }

    #[tokio::test]
    async fn who_waits_for_a_denial_is_woken_by_its_own() {
        let denials = Denials::default();
        let soon = std::time::Duration::from_millis(20);
        denials.add("b");
        let waited = tokio::time::timeout(soon, denials.heard("a")).await;
        assert!(waited.is_err(), "woken by another one");
        let add = async { denials.add("a") };
        tokio::join!(denials.heard("a"), add);
    }
}
