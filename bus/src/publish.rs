//! Publishes that wait until their stream has them.
//!
//! They are requests of the plain client: its own JetStream publish keeps a permit, two more timers
//! and a second copy of each answer, which is a fifth of what a small write costs its sender.

use async_nats::{
    HeaderMap, HeaderValue, Request, RequestError, RequestErrorKind,
    header::{
        IntoHeaderName, IntoHeaderValue, NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_EXPECTED_STREAM,
        NATS_MESSAGE_ID,
    },
};
use bytes::Bytes;
use serde::Deserialize;
use tokio::sync::oneshot::error::RecvError;

use crate::{
    connection::{ANSWER_WAIT, Bus},
    error::Error,
};

/// What is published, without where.
pub(crate) struct Publish {
    payload: Bytes,
    headers: Option<HeaderMap>,
}

/// A stream's answer.
#[derive(Deserialize)]
struct Answer {
    error: Option<async_nats::jetstream::Error>,
    #[serde(rename = "seq")]
    sequence: Option<u64>,
}

impl Publish {
    pub(crate) fn of(payload: Bytes) -> Self {
        Self { payload, headers: None }
    }

    /// Only if the newest message of the subject is still this one; 0: if there is none.
    pub(crate) fn over(self, revision: u64) -> Self {
        self.header(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, HeaderValue::from(revision))
    }

    /// Only into this stream.
    pub(crate) fn into_stream(self, name: &str) -> Self {
        self.header(NATS_EXPECTED_STREAM, name)
    }

    /// Stored once, however often it is published within two minutes.
    pub(crate) fn once(self, id: &str) -> Self {
        self.header(NATS_MESSAGE_ID, id)
    }

    pub(crate) fn header(mut self, name: impl IntoHeaderName, value: impl IntoHeaderValue) -> Self {
        self.headers.get_or_insert_default().insert(name, value);
        self
    }
}

impl Bus {
    /// Publishes into a stream and waits for its ack; gives the sequence.
    pub(crate) async fn publish_acked(
        &self,
        operation: &'static str,
        subject: &str,
        publish: Publish,
    ) -> Result<u64, Error> {
        let Publish { payload, headers } = publish;
        let bytes = payload.len();
        let request = Request { payload: Some(payload), headers, timeout: Some(None), inbox: None };
        let send = self.net.client.send_request(subject.to_owned(), request);
        let stored = match tokio::time::timeout(ANSWER_WAIT, send).await {
            Ok(Ok(answer)) => stored(operation, subject, bytes, &answer.payload),
            Ok(Err(error)) => Err(failed(operation, subject, bytes, &error)),
            Err(_) => Err(Error::NoAnswer { operation, subject: subject.to_owned() }),
        };
        stored.map_err(|error| self.explain(subject, error))
    }
}

fn stored(
    operation: &'static str,
    subject: &str,
    bytes: usize,
    answer: &[u8],
) -> Result<u64, Error> {
    let odd = |reason: String| Error::Server { operation, subject: subject.to_owned(), reason };
    match serde_json::from_slice(answer) {
        Ok(Answer { error: Some(error), .. }) => Err(Error::api(operation, subject, bytes, &error)),
        Ok(Answer { sequence: Some(sequence), .. }) => Ok(sequence),
        Ok(_) => Err(odd("the answer is no ack of a stream".to_owned())),
        Err(error) => Err(odd(error.to_string())),
    }
}

/// What a question came to that got no answer.
pub(crate) fn failed(
    operation: &'static str,
    subject: &str,
    bytes: usize,
    error: &RequestError,
) -> Error {
    let (subject, reason) = (subject.to_owned(), error.to_string());
    match error.kind() {
        RequestErrorKind::NoResponders => Error::NotServed { operation, subject },
        RequestErrorKind::TimedOut => Error::NoAnswer { operation, subject },
        RequestErrorKind::MaxPayloadExceeded => Error::TooLarge { operation, subject, bytes },
        // The client has let go of the question: it may have been sent.
        RequestErrorKind::Other
            if std::error::Error::source(error).is_some_and(|it| it.is::<RecvError>()) =>
        {
            Error::NoAnswer { operation, subject }
        }
        RequestErrorKind::InvalidSubject | RequestErrorKind::Other => {
            Error::Server { operation, subject, reason }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(answer: &str) -> Result<u64, Error> {
        stored("publish", "$KV.b.k", 9, answer.as_bytes())
    }

    #[test]
    fn an_answer_is_a_place_in_the_stream_or_says_what_to_do_next() {
        assert!(matches!(of(r#"{"stream":"S","seq":7,"duplicate":true}"#), Ok(7)));
        let error = |code: u64, text: &str| {
            format!(
                r#"{{"error":{{"code":400,"err_code":{code},"description":"{text}"}},
                     "stream":"S","seq":0}}"#
            )
        };
        let wrong = of(&error(10071, "wrong last sequence: 3"));
        assert!(matches!(wrong, Err(Error::Conflict { .. })), "{wrong:?}");
        let queued = of(&error(10077, "maximum messages per subject exceeded"));
        assert!(matches!(queued, Err(Error::Duplicate { .. })), "{queued:?}");
        let large = of(&error(10054, "message size exceeds maximum allowed"));
        assert!(matches!(large, Err(Error::TooLarge { bytes: 9, .. })), "{large:?}");
        for none in ["PONG", "", "{}", r#"{"stream":"S"}"#] {
            assert!(matches!(of(none), Err(Error::Server { .. })), "{none}");
        }
    }
}
