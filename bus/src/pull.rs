//! Pulling exactly one job at a time, in an order the caller chooses.
//!
//! The client's own pull streams prefetch, and a dropped fetch can lose a delivery for the length
//! of `ack_wait`. Here every pull asks for one message, and a pull that is no longer wanted is
//! drained: what the server had already sent comes back to the caller as surplus.

use std::time::Duration;

use async_nats::{Message, StatusCode, Subscriber};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use proto::topology;
use tokio::time::{Instant, timeout, timeout_at};

use crate::{
    connection::{ANSWER_WAIT, Bus},
    delivery::Delivery,
    error::Error,
};

/// What one round of pulling brought.
#[derive(Default)]
pub struct Pulled {
    /// The delivery asked for; none when nothing came in the time given.
    pub first: Option<Delivery>,
    /// Deliveries that were on their way when the first one came. To be nak'd at once.
    pub surplus: Vec<Delivery>,
}

/// The server says that a pull lives this often. Two missed mean that it was lost, as happens when
/// a consumer changes its leader.
const PULL_HEARTBEAT: Duration = Duration::from_secs(5);

/// Time for what is in flight to arrive after a pull was given up.
const DRAIN_WAIT: Duration = Duration::from_secs(2);

const OPERATION: &str = "pull";

impl Bus {
    /// Takes one job from the first of `consumers` that has one; if none has, waits for any of
    /// them, for `wait` or until `stop` is resolved.
    ///
    /// # Errors
    /// [`Error::NotServed`] when a consumer does not exist, [`Error::NoAnswer`] when the broker is
    /// away. Nothing is lost by either.
    pub async fn pull(
        &self,
        consumers: &[String],
        wait: Duration,
        stop: impl Future,
    ) -> Result<Pulled, Error> {
        for consumer in consumers {
            if let Some(first) = self.take_waiting(consumer).await? {
                return Ok(Pulled { first: Some(first), surplus: Vec::new() });
            }
        }
        self.wait_for_any(consumers, wait, stop).await
    }

    /// Asks one consumer for a message that is there already.
    async fn take_waiting(&self, consumer: &str) -> Result<Option<Delivery>, Error> {
        let mut pull = self.open(consumer, br#"{"batch":1,"no_wait":true}"#.to_vec()).await?;
        match timeout(ANSWER_WAIT, pull.inbox.next()).await {
            Ok(Some(message)) => match read(&message) {
                Sign::Job => Ok(Some(Delivery::new(self, message))),
                Sign::Ended | Sign::Alive => Ok(None),
                Sign::NotServed => Err(self.not_served(consumer)),
            },
            Ok(None) => Err(no_answer(consumer)),
            Err(_) => {
                // The answer may still come; whatever it is must not be lost.
                let late = pull.drained(self).await;
                late.into_iter().next().map(Some).ok_or_else(|| no_answer(consumer))
            }
        }
    }

    async fn wait_for_any(
        &self,
        consumers: &[String],
        wait: Duration,
        stop: impl Future,
    ) -> Result<Pulled, Error> {
        let mut open = Vec::new();
        for consumer in consumers {
            open.push(self.open(consumer, request(wait)).await?);
        }
        let end = Instant::now() + wait + ANSWER_WAIT;
        let first = tokio::select! {
            first = first_of(self, &mut open, end) => first,
            _ = stop => Ok(None),
        };
        // Also after an error: what another pull had under way must not wait for ack_wait.
        let drained = futures_util::future::join_all(open.iter_mut().map(|it| it.drained(self)));
        let mut surplus: Vec<Delivery> = drained.await.into_iter().flatten().collect();
        match first {
            Ok(Some(first)) => Ok(Pulled { first: Some(first), surplus }),
            Err(error) if surplus.is_empty() => Err(error),
            Ok(None) | Err(_) => Ok(Pulled { first: surplus.pop(), surplus }),
        }
    }

    async fn open(&self, consumer: &str, request: Vec<u8>) -> Result<Pull, Error> {
        let open = async {
            let reply = self.client.new_inbox();
            let failed = |_| no_answer(consumer);
            let inbox =
                self.client.subscribe(reply.clone()).await.map_err(|_| no_answer(consumer))?;
            let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{}.{consumer}", topology::JOBS);
            let sent = self.client.publish_with_reply(subject, reply, Bytes::from(request)).await;
            sent.map_err(failed)?;
            Ok(Pull { consumer: consumer.to_owned(), inbox, ended: false })
        };
        self.answered(OPERATION, consumer, open).await
    }

    fn not_served(&self, consumer: &str) -> Error {
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{}.{consumer}", topology::JOBS);
        self.explain(Error::NotServed { operation: OPERATION, subject })
    }
}

/// The body of a pull for one message.
fn request(wait: Duration) -> Vec<u8> {
    let expires = wait.as_nanos();
    let heartbeat = PULL_HEARTBEAT.as_nanos();
    // The server wants at least two heartbeats to a pull.
    let beats = if wait > 2 * PULL_HEARTBEAT {
        format!(",\"idle_heartbeat\":{heartbeat}")
    } else {
        String::new()
    };
    format!("{{\"batch\":1,\"expires\":{expires}{beats}}}").into_bytes()
}

/// The first delivery of any pull; none when all have ended without one.
async fn first_of(bus: &Bus, open: &mut [Pull], end: Instant) -> Result<Option<Delivery>, Error> {
    let mut pulls: FuturesUnordered<_> = open.iter_mut().map(|pull| pull.first(bus, end)).collect();
    while let Some(ended) = pulls.next().await {
        if let Some(first) = ended? {
            return Ok(Some(first));
        }
    }
    Ok(None)
}

fn no_answer(consumer: &str) -> Error {
    Error::NoAnswer { operation: OPERATION, subject: consumer.to_owned() }
}

/// One open pull.
struct Pull {
    consumer: String,
    inbox: Subscriber,
    /// The server has answered it: nothing more can come.
    ended: bool,
}

impl Pull {
    /// Waits until the pull has its message, expires or is lost.
    async fn first(&mut self, bus: &Bus, end: Instant) -> Result<Option<Delivery>, Error> {
        loop {
            let quiet_until = end.min(Instant::now() + 2 * PULL_HEARTBEAT + ANSWER_WAIT);
            let Ok(next) = timeout_at(quiet_until, self.inbox.next()).await else {
                return Ok(None);
            };
            let Some(message) = next else { return Ok(None) };
            match read(&message) {
                Sign::Job => {
                    self.ended = true;
                    return Ok(Some(Delivery::new(bus, message)));
                }
                Sign::Alive => {}
                Sign::Ended => {
                    self.ended = true;
                    return Ok(None);
                }
                Sign::NotServed => {
                    self.ended = true;
                    return Err(bus.not_served(&self.consumer));
                }
            }
        }
    }

    /// Takes the pull back; gives what the server had sent before it heard of it.
    async fn drained(&mut self, bus: &Bus) -> Vec<Delivery> {
        let mut late = Vec::new();
        if self.ended || self.inbox.drain().await.is_err() {
            return late;
        }
        let end = Instant::now() + DRAIN_WAIT;
        while let Ok(Some(message)) = timeout_at(end, self.inbox.next()).await {
            if read(&message) == Sign::Job {
                late.push(Delivery::new(bus, message));
            }
        }
        late
    }
}

/// What a message on a pull's inbox means.
#[derive(PartialEq, Eq)]
enum Sign {
    Job,
    Alive,
    Ended,
    NotServed,
}

fn read(message: &Message) -> Sign {
    match message.status {
        None => Sign::Job,
        Some(StatusCode::IDLE_HEARTBEAT) => Sign::Alive,
        Some(StatusCode::NO_RESPONDERS) => Sign::NotServed,
        // Nothing there, expired, too many pulls, consumer gone, leader changed: pull again.
        Some(_) => Sign::Ended,
    }
}
