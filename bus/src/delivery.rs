//! One hand-over of a job message, settled exactly once.

use std::time::Duration;

use async_nats::{
    HeaderMap,
    jetstream::{AckKind, Message},
};
use bytes::Bytes;
use proto::{Timestamp, TraceParent, trace};
use tokio::{sync::mpsc, task::AbortHandle};
use tracing::warn;

use crate::{
    connection::{ANSWER_WAIT, Bus},
    error::Error,
};

/// A delivered job message. Exactly one of `ack`, `nak` and `abandon` ends it; dropped without
/// one, it is nak'd with a delay as a safety net.
pub struct Delivery {
    message: Message,
    dropped: Dropped,
    settled: bool,
}

/// A delivery that nobody settled comes back after this long: not at once, so that a crash loop
/// cannot spin.
const DROPPED_DELAY: Duration = Duration::from_secs(10);

/// Unsettled deliveries on their way to the net. There are never more deliveries than slots and
/// consumers; beyond this the server's `ack_wait` brings them back.
const DROPPED_WAITING: usize = 256;

/// Where dropped deliveries go.
#[derive(Clone)]
pub(crate) struct Dropped(mpsc::Sender<String>);

pub(crate) fn safety_net(client: async_nats::Client) -> (Dropped, AbortHandle) {
    let (sender, mut replies) = mpsc::channel::<String>(DROPPED_WAITING);
    #[expect(clippy::disallowed_methods, reason = "the abort handle in Bus owns it")]
    let task = tokio::spawn(async move {
        while let Some(reply) = replies.recv().await {
            warn!("a delivery was dropped without being settled; it is handed back");
            client.publish(reply, Bytes::from(AckKind::Nak(Some(DROPPED_DELAY)))).await.ok();
        }
    });
    (Dropped(sender), task.abort_handle())
}

impl Delivery {
    pub(crate) fn new(bus: &Bus, message: async_nats::Message) -> Self {
        let message = Message { message, context: bus.net.js.clone() };
        Self { message, dropped: bus.net.dropped.clone(), settled: false }
    }

    /// The subject: the only source of the job's identity.
    pub fn subject(&self) -> &str {
        &self.message.subject
    }

    /// The payload as it came.
    pub fn payload(&self) -> &[u8] {
        &self.message.payload
    }

    /// When the server stored the message; `None` if the reply subject cannot be read.
    pub fn published(&self) -> Option<Timestamp> {
        let nanos = self.message.info().ok()?.published.unix_timestamp_nanos();
        u64::try_from(nanos / 1_000_000).ok().map(Timestamp)
    }

    /// Its place in the queue, the same however often it is handed over; `None` if the reply subject
    /// cannot be read.
    pub fn sequence(&self) -> Option<u64> {
        self.message.info().ok().map(|info| info.stream_sequence)
    }

    /// How often the message was handed over, this time included, as the server counts. A hint.
    pub fn deliveries(&self) -> i64 {
        self.message.info().map_or(1, |info| info.delivered)
    }

    /// So many messages waited behind it when the server handed it over. A hint.
    pub fn waiting(&self) -> u64 {
        self.message.info().map_or(0, |info| info.pending)
    }

    /// The span that asked for the job, if its asker says so in a way that can be read.
    pub fn trace(&self) -> Option<TraceParent> {
        self.message.headers.as_ref().and_then(trace_in)
    }

    /// Tells the server that the work goes on. Not confirmed: the lease is what counts.
    pub fn progress(&self) -> impl Future<Output = ()> + Send + 'static {
        let (client, reply) = (self.message.context.client(), self.message.reply.clone());
        async move {
            if let Some(reply) = reply {
                client.publish(reply, Bytes::from(AckKind::Progress)).await.ok();
            }
        }
    }

    /// Acks, confirmed by the server. Idempotent, so the caller tries again on an error; the
    /// delivery counts as settled by success only.
    ///
    /// # Errors
    /// When no confirmation came.
    pub async fn ack(&mut self) -> Result<(), Error> {
        let operation = "ack";
        let subject = self.subject().to_owned();
        let Some(reply) = self.message.reply.clone() else {
            let reason = "the delivery has no reply subject".into();
            return Err(Error::Server { operation, subject, reason });
        };
        // Not `double_ack` of the client: that takes "no responders" for a confirmation.
        let client = self.message.context.client();
        let ack = client.request(reply, Bytes::from(AckKind::Ack));
        match tokio::time::timeout(ANSWER_WAIT, ack).await {
            Ok(Ok(_)) => {
                self.settled = true;
                Ok(())
            }
            Ok(Err(_)) | Err(_) => Err(Error::NoAnswer { operation, subject }),
        }
    }

    /// Hands the message back, to come again after `delay`. A lost nak costs `ack_wait`.
    pub async fn nak(mut self, delay: Duration) {
        self.settled = true;
        let _sent = self.message.ack_with(AckKind::Nak(Some(delay))).await;
    }

    /// Leaves the message alone: another worker has taken the job over and settles it.
    pub fn abandon(mut self) {
        self.settled = true;
    }
}

/// The span in a job message's headers; anything that is none is as good as no header.
pub(crate) fn trace_in(headers: &HeaderMap) -> Option<TraceParent> {
    headers.get(trace::HEADER)?.as_str().parse().ok()
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if let (false, Some(reply)) = (self.settled, &self.message.reply) {
            self.dropped.0.try_send(reply.to_string()).ok();
        }
    }
}
