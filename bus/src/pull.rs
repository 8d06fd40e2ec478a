//! Pulling exactly as many jobs as the caller has room for, in an order the caller chooses.
//!
//! The client's own pull streams prefetch, and a dropped fetch can lose a delivery for the length
//! of `ack_wait`: what the server had sent before it read the UNSUB finds no reader any more. Here
//! a pull that waits asks for one message. One that is no longer wanted ends its subscription with
//! its next message, and asks the server for one that takes the delivery's place. So exactly one of
//! the two arrives; a delivery comes back to the caller as surplus.

use std::time::Duration;

use async_nats::{Message, StatusCode, Subscriber};
use bytes::Bytes;
use futures_util::{StreamExt as _, future::join_all, stream::FuturesUnordered};
use proto::topology;
use tokio::time::{Instant, timeout, timeout_at};

use crate::{
    connection::{ANSWER_WAIT, Bus},
    delivery::Delivery,
    error::Error,
};

/// What one round of pulling brought.
pub struct Pulled {
    /// The deliveries asked for; none when nothing came in the time given.
    pub taken: Vec<Delivery>,
    /// What else is on its way. To be awaited: what comes there has no other reader.
    pub rest: Rest,
}

/// Pulls that are open although another one has brought a delivery.
pub struct Rest {
    bus: Bus,
    open: Vec<Pull>,
}

impl Rest {
    /// Nothing else can come.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Takes the pulls back; gives the deliveries that were under way, which the caller has no
    /// room for, perhaps.
    pub async fn surplus(mut self) -> Vec<Delivery> {
        let bus = &self.bus;
        let back = join_all(self.open.iter_mut().map(|pull| pull.taken_back(bus)));
        back.await.into_iter().flatten().collect()
    }
}

/// The server says that a pull lives this often. Two missed mean that it was lost, as happens when
/// a consumer changes its leader.
const PULL_HEARTBEAT: Duration = Duration::from_secs(5);

/// A round ends this soon when a consumer could not be asked.
const FAILED_WAIT: Duration = Duration::from_secs(2);

/// Messages that are there already follow each other within this.
const NEXT_WAIT: Duration = Duration::from_millis(250);

const OPERATION: &str = "pull";

impl Bus {
    /// Takes up to `most` jobs from the first of `consumers` that has any; if none has, waits for
    /// one job of any of them, for `wait` or until `stop` is resolved.
    ///
    /// # Errors
    /// [`Error::NotServed`] when a consumer does not exist, [`Error::NoAnswer`] when the broker is
    /// away. Nothing is lost by either.
    pub async fn pull(
        &self,
        consumers: &[String],
        most: usize,
        wait: Duration,
        stop: impl Future,
    ) -> Result<Pulled, Error> {
        // One consumer that is gone or has no leader must not keep the jobs of the others waiting.
        let mut failed = None;
        let mut served = Vec::new();
        for consumer in consumers {
            match self.take_waiting(consumer, most).await {
                Ok(taken) if taken.is_empty() => served.push(consumer.as_str()),
                Ok(taken) => return Ok(self.brought(taken)),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        // A pause for the failed ones: they are asked again by the next round.
        let wait = if failed.is_some() { wait.min(FAILED_WAIT) } else { wait };
        let pulled = self.wait_for_any(&served, wait, stop).await?;
        match failed {
            Some(error) if pulled.taken.is_empty() => Err(error),
            _ => Ok(pulled),
        }
    }

    fn brought(&self, taken: Vec<Delivery>) -> Pulled {
        Pulled { taken, rest: Rest { bus: self.clone(), open: Vec::new() } }
    }

    /// Asks one consumer for messages that are there already.
    async fn take_waiting(&self, consumer: &str, most: usize) -> Result<Vec<Delivery>, Error> {
        let request = format!("{{\"batch\":{most},\"no_wait\":true}}");
        let mut pull = self.open(consumer, request.into_bytes()).await?;
        let mut taken = Vec::new();
        while taken.len() < most {
            // They come in one burst: what has come must not wait long for what may not.
            let patience = if taken.is_empty() { ANSWER_WAIT } else { NEXT_WAIT };
            match timeout(patience, pull.next()).await {
                Ok(Some(message)) => match read(&message) {
                    Sign::Job => taken.push(Delivery::new(self, message)),
                    Sign::Ended | Sign::Alive => break,
                    Sign::NotServed if taken.is_empty() => return Err(self.not_served(consumer)),
                    Sign::NotServed => break,
                },
                Ok(None) if taken.is_empty() => {
                    return Err(self.explain(&next(consumer), no_answer(consumer)));
                }
                Ok(None) => break,
                // The answer may still come; whatever it is must not be lost.
                Err(_) => {
                    taken.extend(pull.taken_back(self).await);
                    if taken.is_empty() {
                        return Err(self.explain(&next(consumer), no_answer(consumer)));
                    }
                    break;
                }
            }
        }
        Ok(taken)
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
        let rest = Rest { bus: self.clone(), open };
        if let Ok(Some(first)) = first {
            return Ok(Pulled { taken: vec![first], rest });
        }
        // Also after an error: what another pull had under way must not wait for ack_wait.
        let late = rest.surplus().await;
        match (first, failed) {
            (Err(error), _) | (_, Some(error)) if late.is_empty() => Err(error),
            _ => Ok(self.brought(late)),
        }
    }

    async fn open(&self, consumer: &str, request: Vec<u8>) -> Result<Pull, Error> {
        let open = async {
            let reply = self.net.client.new_inbox();
            let inbox =
                self.net.client.subscribe(reply.clone()).await.map_err(|_| no_answer(consumer))?;
            let sent = self
                .net
                .client
                .publish_with_reply(next(consumer), reply.clone(), request.into())
                .await;
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
        bus.net.client.publish_with_reply(subject, self.reply.clone(), Bytes::new()).await.ok()?;
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
