//! Messages that the client cannot read: bytes in the subject that are no text, or headers that are
//! none. JetStream stores them for anybody who may publish, and hands them out as they are.
//!
//! In the queue they do harm: the client drops its connection over one, so nobody can be given it
//! and ack it, and each redelivery would cost some worker its connection, for ever. The API's
//! answers are JSON, in which such a message can be looked at and named by its sequence.

use async_nats::jetstream::stream::RawMessageError;
use proto::{subject, topology};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{connection::Bus, error::Error};

/// A queued message that no client can be given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Its place in the stream.
    pub sequence: u64,
    /// Its subject, as far as it is text.
    pub subject: String,
    /// Its payload in base64.
    pub payload: String,
    /// What is wrong with it.
    pub reason: String,
}

/// What JSON has in place of bytes that are no text.
const NO_TEXT: char = '\u{fffd}';

#[derive(Deserialize)]
struct Answer {
    message: Stored,
}

/// A message as the API tells it, its headers unread.
#[derive(Deserialize)]
struct Stored {
    subject: String,
    #[serde(rename = "seq")]
    sequence: u64,
    hdrs: Option<String>,
    #[serde(default)]
    data: String,
}

impl Bus {
    /// Looks at each queued message: one request or two for each, so only on a suspicion.
    ///
    /// # Errors
    /// No answer, denied.
    pub async fn unreadable(&self) -> Result<Vec<Unreadable>, Error> {
        let mut found = Vec::new();
        let mut from = 1;
        loop {
            let query = json!({ "seq": from, "next_by_subj": subject::BUILD_ALL });
            let Some(stored) = self.stored(topology::JOBS, &query).await? else { return Ok(found) };
            from = stored.sequence + 1;
            let reason = match &stored.hdrs {
                _ if stored.subject.contains(NO_TEXT) => "its subject is not text".to_owned(),
                None => continue,
                Some(_) => match self.message_at(topology::JOBS, stored.sequence).await {
                    Err(Error::Undecodable { reason, .. }) => reason,
                    // Read, or taken meanwhile.
                    Ok(_) => continue,
                    Err(error) => return Err(error),
                },
            };
            let Stored { sequence, subject, data: payload, .. } = stored;
            found.push(Unreadable { sequence, subject, payload, reason });
        }
    }

    /// Takes an unreadable message out of the queue. One that is gone already is fine.
    ///
    /// # Errors
    /// No answer, denied.
    pub async fn discard(&self, message: &Unreadable) -> Result<(), Error> {
        let request = json!({ "seq": message.sequence, "no_erase": true });
        let subject = format!("STREAM.MSG.DELETE.{}", topology::JOBS);
        let done: Result<Option<Value>, Error> = self.api("discard", &subject, &request).await;
        done.map(drop)
    }

    /// The error for a message whose headers the client could not read.
    pub(crate) async fn undecodable(&self, stream: &str, query: &Value, reason: String) -> Error {
        match self.stored(stream, query).await {
            Ok(Some(Stored { subject, sequence: revision, .. })) => {
                Error::Undecodable { subject, revision, reason }
            }
            // Gone between the two reads: the next one is about another message.
            Ok(None) => Error::NoAnswer { operation: "read", subject: stream.to_owned() },
            Err(error) => error,
        }
    }

    async fn stored(&self, stream: &str, query: &Value) -> Result<Option<Stored>, Error> {
        let subject = format!("STREAM.MSG.GET.{stream}");
        let answer: Option<Answer> = self.api("look at a message", &subject, query).await?;
        Ok(answer.map(|answer| answer.message))
    }
}

/// Why a message that the leader told could not be read, if that is what failed.
pub(crate) fn unread(error: &RawMessageError) -> Option<String> {
    use async_nats::jetstream::{context::RequestError, stream::RawMessageErrorKind};
    let source = std::error::Error::source(error)?;
    let told = error.kind() == RawMessageErrorKind::Other && !source.is::<RequestError>();
    told.then(|| format!("its headers are none: {source}"))
}
