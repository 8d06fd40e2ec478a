//! Pulling exactly one job at a time, in an order the caller chooses.
//!
//! The client's own pull streams prefetch, and a dropped fetch can lose a delivery for the length
//! of `ack_wait`: what the server had sent before it read the UNSUB finds no reader any more. Here
//! every pull asks for one message. A pull that is no longer wanted ends its subscription with its
//! next message, and asks the server for one that takes the delivery's place. So exactly one of
//! the two arrives; a delivery comes back to the caller as surplus.

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

/// A round ends this soon when a consumer could not be asked.
const FAILED_WAIT: Duration = Duration::from_secs(2);

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
        // One consumer that is gone or has no leader must not keep the jobs of the others waiting.
        let mut failed = None;
        let mut served = Vec::new();
        for consumer in consumers {
            match self.take_waiting(consumer).await {
                Ok(Some(first)) => return Ok(Pulled { first: Some(first), surplus: Vec::new() }),
                Ok(None) => served.push(consumer.as_str()),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        // A pause for the failed ones: they are asked again by the next round.
        let wait = if failed.is_some() { wait.min(FAILED_WAIT) } else { wait };
        let pulled = self.wait_for_any(&served, wait, stop).await?;
        match failed {
            Some(error) if pulled.first.is_none() => Err(error),
            _ => Ok(pulled),
        }
    }

    /// Asks one consumer for a message that is there already.
    async fn take_waiting(&self, consumer: &str) -> Result<Option<Delivery>, Error> {
        let mut pull = self.open(consumer, br#"{"batch":1,"no_wait":true}"#.to_vec()).await?;
        match timeout(ANSWER_WAIT, pull.next()).await {
            Ok(Some(message)) => match read(&message) {
                Sign::Job => Ok(Some(Delivery::new(self, message))),
                Sign::Ended | Sign::Alive => Ok(None),
                Sign::NotServed => Err(self.not_served(consumer)),
            },
            Ok(None) => Err(self.explain(&next(consumer), no_answer(consumer))),
            // The answer may still come; whatever it is must not be lost.
            Err(_) => match pull.taken_back(self).await {
                Some(late) => Ok(Some(late)),
                None => Err(self.explain(&next(consumer), no_answer(consumer))),
            },
        }
    }

    async fn wait_for_any(
        &self,
        consumers: &[&str],
        wait: Duration,
        stop: impl Future,
    ) -> Result<Pulled, Error> {
        let mut open = Vec::new();
        let mut failed = None;
        for consumer in consumers {
            match self.open(consumer, request(wait)).await {
                Ok(pull) => open.push(pull),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        let end = Instant::now() + wait + ANSWER_WAIT;
        let first = tokio::select! {
            first = first_of(self, &mut open, end) => first,
            _ = stop => Ok(None),
        };
        // Also after an error: what another pull had under way must not wait for ack_wait.
        let back = futures_util::future::join_all(open.iter_mut().map(|it| it.taken_back(self)));
        let mut surplus: Vec<Delivery> = back.await.into_iter().flatten().collect();
        match (first, failed) {
            (Ok(Some(first)), _) => Ok(Pulled { first: Some(first), surplus }),
            (Err(error), _) | (_, Some(error)) if surplus.is_empty() => Err(error),
            _ => Ok(Pulled { first: surplus.pop(), surplus }),
        }
    }

    async fn open(&self, consumer: &str, request: Vec<u8>) -> Result<Pull, Error> {
        let open = async {
            let reply = self.client.new_inbox();
            let inbox =
                self.client.subscribe(reply.clone()).await.map_err(|_| no_answer(consumer))?;
            let sent =
                self.client.publish_with_reply(next(consumer), reply.clone(), request.into()).await;
            sent.map_err(|_| no_answer(consumer))?;
            Ok(Pull { consumer: consumer.to_owned(), reply, inbox, seen: 0, ended: false })
        };
        self.answered(OPERATION, &next(consumer), open).await
    }

    fn not_served(&self, consumer: &str) -> Error {
        let subject = next(consumer);
        self.explain(&next(consumer), Error::NotServed { operation: OPERATION, subject })
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

/// The first delivery of any pull; none when all have ended without one. A pull that fails leaves
/// the others their time.
async fn first_of(bus: &Bus, open: &mut [Pull], end: Instant) -> Result<Option<Delivery>, Error> {
    let mut pulls: FuturesUnordered<_> = open.iter_mut().map(|pull| pull.first(bus, end)).collect();
    let mut failed = None;
    while let Some(ended) = pulls.next().await {
        match ended {
            Ok(None) => {}
            Ok(first) => return Ok(first),
            Err(error) => failed = Some(error),
        }
    }
    failed.map_or(Ok(None), Err)
}

/// Where a pull goes.
fn next(consumer: &str) -> String {
    format!("$JS.API.CONSUMER.MSG.NEXT.{}.{consumer}", topology::JOBS)
}

fn no_answer(consumer: &str) -> Error {
    Error::NoAnswer { operation: OPERATION, subject: consumer.to_owned() }
}

/// One open pull.
struct Pull {
    consumer: String,
    reply: String,
    inbox: Subscriber,
    /// Messages that came in so far.
    seen: u64,
    /// The server has answered it: nothing more can come.
    ended: bool,
}

impl Pull {
    async fn next(&mut self) -> Option<Message> {
        let next = self.inbox.next().await;
        self.seen += u64::from(next.is_some());
        next
    }

    /// Waits until the pull has its message, expires or is lost.
    async fn first(&mut self, bus: &Bus, end: Instant) -> Result<Option<Delivery>, Error> {
        loop {
            let quiet_until = end.min(Instant::now() + 2 * PULL_HEARTBEAT + ANSWER_WAIT);
            let Ok(next) = timeout_at(quiet_until, self.next()).await else {
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
    ///
    /// The subscription ends with its next message, for the server as for the client. The answer
    /// to a question about the consumer is that message, unless a delivery comes first. Should a
    /// heartbeat of the pull cross the order on its way, `ack_wait` brings the delivery back.
    async fn taken_back(&mut self, bus: &Bus) -> Option<Delivery> {
        if self.ended || self.inbox.unsubscribe_after(self.seen + 1).await.is_err() {
            return None;
        }
        let subject = format!("$JS.API.CONSUMER.INFO.{}.{}", topology::JOBS, self.consumer);
        bus.client.publish_with_reply(subject, self.reply.clone(), Bytes::new()).await.ok()?;
        let message = timeout(ANSWER_WAIT, self.next()).await.ok()??;
        (read(&message) == Sign::Job).then(|| Delivery::new(bus, message))
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
        // Only a delivery can be acked; the other message without a status is the answer that
        // ends the subscription.
        None if message.reply.is_some() => Sign::Job,
        None => Sign::Ended,
        Some(StatusCode::IDLE_HEARTBEAT) => Sign::Alive,
        Some(StatusCode::NO_RESPONDERS) => Sign::NotServed,
        // Nothing there, expired, too many pulls, consumer gone, leader changed: pull again.
        Some(_) => Sign::Ended,
    }
}
