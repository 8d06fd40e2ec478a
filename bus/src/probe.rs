//! Trying out, without harm, what an identity may do; and asking for the server's time.
//!
//! A right is tried by a message that the server lets through and that does nothing: a question, an
//! order that is no JSON, the ack of a delivery that never was, a record for a stream of another
//! name. So no job is taken, nothing is stored, and the answer or its denial tells all there is to
//! know.

use std::time::Duration;

use async_nats::{HeaderMap, Request, client::RequestErrorKind};
use proto::{Timestamp, topology};

use crate::{clock, connection::ANSWER_WAIT, connection::Bus, error::Error};

/// What came of a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probed {
    /// The server let it through.
    Allowed,
    /// The server denies it to this identity.
    Denied,
    /// Neither an answer nor a denial came.
    Silent,
}

/// One answer with the server's time in it; sent and answered by the steady clock.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// When it was asked for.
    pub sent: Duration,
    /// When the answer came.
    pub answered: Duration,
    /// What time it was there in between.
    pub stored: Timestamp,
}

/// A stream of ours has a name, and it is not this one.
const NO_STREAM: &str = "nbp-doctor-stores-nothing";

/// Stands for a wildcard, and is neither a host, a job nor a kind of event.
const NOBODY: &str = "doctor";

/// A message that tries a right and does nothing else.
#[derive(Debug, PartialEq, Eq)]
struct Trial {
    subject: String,
    payload: &'static [u8],
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The server answers it.
    Call,
    /// Nobody answers it.
    Ack,
    /// A stream answers that it is another one.
    Record,
}

impl Trial {
    /// For a rule of `proto::permission`.
    fn of(rule: &str) -> Self {
        let kind = match rule {
            rule if rule.starts_with("$JS.API.") => Kind::Call,
            rule if rule.starts_with("$JS.ACK.") => Kind::Ack,
            _ => Kind::Record,
        };
        let mut subject: Vec<&str> = rule.split('.').collect();
        for token in &mut subject {
            match *token {
                // Of sequence 0, which no message has.
                ">" if kind == Kind::Ack => *token = "0.0.0.0.0",
                "*" | ">" => *token = NOBODY,
                _ => {}
            }
        }
        let payload: &[u8] = match kind {
            Kind::Ack => b"+WPI",
            Kind::Record => b"",
            Kind::Call if rule.contains(".INFO.") => b"",
            Kind::Call if rule.contains(".MSG.GET.") => br#"{"last_by_subj":"doctor"}"#,
            // What the server cannot read it answers and does not do.
            Kind::Call => b"{",
        };
        Self { subject: subject.join("."), payload, kind }
    }
}

impl Bus {
    /// Tries the right to publish what a rule lets through. `known` is a rule of a question that
    /// anybody may ask who has any right: it shows when the server has heard what nobody answers.
    pub async fn may_publish(&self, rule: &str, known: &str) -> Probed {
        let Trial { subject, payload, kind } = Trial::of(rule);
        if kind == Kind::Ack {
            let sent = self.net.client.publish(subject.clone(), payload.into()).await;
            return match sent {
                Ok(()) => self.denied_before(&subject, known).await,
                Err(_) => Probed::Silent,
            };
        }
        self.try_request(&Trial { subject, payload, kind }).await
    }

    async fn try_request(&self, trial: &Trial) -> Probed {
        let Trial { subject, payload, kind } = trial;
        let mut request = Request::new().payload((*payload).into()).timeout(Some(ANSWER_WAIT));
        if *kind == Kind::Record {
            let mut headers = HeaderMap::new();
            headers.insert("Nats-Expected-Stream", NO_STREAM);
            request = request.headers(headers);
        }
        let answer = self.net.client.send_request(subject.clone(), request);
        let answer = tokio::select! {
            biased;
            () = self.net.denials.heard(subject) => return Probed::Denied,
            answer = tokio::time::timeout(ANSWER_WAIT, answer) => answer,
        };
        match answer {
            Ok(Ok(_)) => Probed::Allowed,
            // It got as far as finding nobody there.
            Ok(Err(error)) if error.kind() == RequestErrorKind::NoResponders => Probed::Allowed,
            _ if self.net.denials.take(subject) => Probed::Denied,
            _ => Probed::Silent,
        }
    }

    /// Tries the right to listen on a subject; `known` as for [`Bus::may_publish`].
    pub async fn may_subscribe(&self, subject: &str, known: &str) -> Probed {
        match self.net.client.subscribe(subject.to_owned()).await {
            Ok(_heard) => self.denied_before(subject, known).await,
            Err(_) => Probed::Silent,
        }
    }

    /// Whether the server denies a subject before it answers a question that comes after it, or
    /// denies that: what it says to one connection it says in order.
    async fn denied_before(&self, subject: &str, known: &str) -> Probed {
        let question = Trial::of(known);
        let answered = tokio::select! {
            biased;
            () = self.net.denials.heard(subject) => return Probed::Denied,
            answered = self.try_request(&question) => answered,
        };
        match answered {
            _ if self.net.denials.take(subject) => Probed::Denied,
            Probed::Silent => Probed::Silent,
            Probed::Allowed | Probed::Denied => Probed::Allowed,
        }
    }

    /// Asks the server what time it is. Nothing is written.
    ///
    /// # Errors
    /// No answer, denied, not set up, or a server that does not tell.
    pub async fn server_time(&self) -> Result<Sample, Error> {
        let sent = clock::steady();
        let stored = self.stream_time("ask for the time", topology::JOBS).await?;
        Ok(Sample { sent, answered: clock::steady(), stored })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_fits_its_rule_and_asks_for_nothing() {
        let check = |rule: &str, subject: &str, payload: &[u8], kind| {
            let trial = Trial::of(rule);
            assert_eq!(trial.subject, subject);
            assert_eq!((trial.payload, trial.kind), (payload, kind), "{rule}");
        };
        let next = "$JS.API.CONSUMER.MSG.NEXT.NBP_JOBS.x86_64-linux-high";
        check(next, next, b"{", Kind::Call);
        let delete = "$JS.API.STREAM.MSG.DELETE.NBP_JOBS";
        check(delete, delete, b"{", Kind::Call);
        let info = "$JS.API.STREAM.INFO.NBP_JOBS";
        check(info, info, b"", Kind::Call);
        check("$JS.ACK.NBP_JOBS.c.>", "$JS.ACK.NBP_JOBS.c.0.0.0.0.0", b"+WPI", Kind::Ack);
        let long = "$JS.ACK.doctor.doctor.NBP_JOBS.c.0.0.0.0.0";
        check("$JS.ACK.*.*.NBP_JOBS.c.>", long, b"+WPI", Kind::Ack);
        check("$KV.nbp-results.>", "$KV.nbp-results.doctor", b"", Kind::Record);
        check("nbp.event.worker.*.w1", "nbp.event.worker.doctor.w1", b"", Kind::Record);
        check("nbp.build.x86_64-linux.>", "nbp.build.x86_64-linux.doctor", b"", Kind::Record);
    }

    #[test]
    fn every_right_of_a_worker_can_be_tried() {
        let (name, identity) = ("w1".parse().expect("a name"), proto::Identity::local());
        let classes = ["x86_64-linux".parse().expect("a class")];
        let holder = proto::permission::Holder {
            role: proto::permission::Role::Worker,
            name: &name,
            identity: &identity,
            classes: &classes,
        };
        let rights = proto::permission::Permissions::of(&holder);
        for rule in &rights.publish.allow {
            let trial = Trial::of(rule);
            assert!(rights.may_publish(&trial.subject), "{rule}: {}", trial.subject);
            let ours = ["nbp.", "$KV.nbp-"].iter().any(|ours| rule.starts_with(ours));
            assert_eq!(trial.kind == Kind::Record, ours, "{rule}");
        }
    }
}
