//! The newest message of a subject, from the leader, without what a record does not need: an answer
//! is read in place, its payload decoded once.

use std::{borrow::Cow, time::UNIX_EPOCH};

use async_nats::Request;
use data_encoding::BASE64;
use proto::{Timestamp, time::millis};
use serde::{Deserialize, Serialize};

use crate::{
    connection::{ANSWER_WAIT, Bus},
    error::Error,
    publish::failed,
};

/// A message as a bucket has it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Newest {
    pub(crate) sequence: u64,
    pub(crate) time: Timestamp,
    /// None in a marker: the key was deleted, purged or has expired.
    pub(crate) payload: Option<Vec<u8>>,
}

#[derive(Serialize)]
struct Question<'a> {
    last_by_subj: &'a str,
}

#[derive(Deserialize)]
struct Answer<'a> {
    error: Option<async_nats::jetstream::Error>,
    #[serde(borrow)]
    message: Option<Told<'a>>,
}

#[derive(Deserialize)]
struct Told<'a> {
    #[serde(rename = "seq")]
    sequence: u64,
    #[serde(borrow, default)]
    hdrs: Cow<'a, str>,
    #[serde(borrow, default)]
    data: Cow<'a, str>,
    #[serde(borrow)]
    time: Cow<'a, str>,
}

/// JetStream's code for "no message found".
const NO_MESSAGE: u64 = 10037;

/// Headers of a marker: delete, purge, and what the server leaves when a key expires.
pub(crate) const MARKS: [&str; 2] = ["KV-Operation", "Nats-Marker-Reason"];

const OPERATION: &str = "read";

impl Bus {
    /// The newest message of a subject, from the leader.
    pub(crate) async fn newest(
        &self,
        stream: &str,
        subject: &str,
    ) -> Result<Option<Newest>, Error> {
        let operation = OPERATION;
        let call = format!("$JS.API.STREAM.MSG.GET.{stream}");
        let server =
            |reason: String| Error::Server { operation, subject: subject.to_owned(), reason };
        let question = serde_json::to_vec(&Question { last_by_subj: subject });
        let question = question.map_err(|error| server(error.to_string()))?;
        let request = Request::new().payload(question.into()).timeout(None);
        let ask = self.net.client.send_request(call.clone(), request);
        let answer = match tokio::time::timeout(ANSWER_WAIT, ask).await {
            Ok(Ok(answer)) => read(subject, &answer.payload),
            Ok(Err(error)) => Err(failed(operation, subject, 0, &error)),
            Err(_) => Err(Error::NoAnswer { operation, subject: subject.to_owned() }),
        };
        answer.map_err(|error| self.explain(&call, error))
    }
}

fn read(subject: &str, answer: &[u8]) -> Result<Option<Newest>, Error> {
    let operation = OPERATION;
    let server = |reason: String| Error::Server { operation, subject: subject.to_owned(), reason };
    let Answer { error, message } =
        serde_json::from_slice(answer).map_err(|error| server(error.to_string()))?;
    match error {
        Some(error) if error.error_code().0 == NO_MESSAGE => return Ok(None),
        Some(error) => return Err(Error::api(operation, subject, 0, &error)),
        None => {}
    }
    let told = message.ok_or_else(|| server("the answer has no message".to_owned()))?;
    let time = humantime::parse_rfc3339(&told.time).ok();
    let since = time.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let since = since.ok_or_else(|| server(format!("{:?} is no time", told.time)))?;
    let revision = told.sequence;
    let undecodable =
        |reason: String| Error::Undecodable { subject: subject.to_owned(), revision, reason };
    let bytes =
        |text: &str| BASE64.decode(text.as_bytes()).map_err(|it| undecodable(it.to_string()));
    let marked = marks(&bytes(&told.hdrs)?).map_err(|why| undecodable(why.to_owned()))?;
    let payload = if marked { None } else { Some(bytes(&told.data)?) };
    Ok(Some(Newest { sequence: revision, time: Timestamp(millis(since)), payload }))
}

/// Whether these headers are those of a marker.
fn marks(headers: &[u8]) -> Result<bool, &'static str> {
    const NONE: &str = "its headers are none";
    if headers.is_empty() {
        return Ok(false);
    }
    let text = std::str::from_utf8(headers).map_err(|_| NONE)?;
    let mut lines = text.lines();
    lines.next().filter(|line| line.starts_with("NATS/1.0")).ok_or(NONE)?;
    let mut marked = false;
    for line in lines.filter(|line| !line.is_empty() && !line.starts_with([' ', '\t'])) {
        let (name, _) = line.split_once(':').ok_or(NONE)?;
        marked |= MARKS.iter().any(|mark| name.eq_ignore_ascii_case(mark));
    }
    Ok(marked)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: &str = "2026-01-02T03:04:05.678901234Z";

    fn told(headers: &str, payload: &str) -> String {
        let (headers, payload) =
            (BASE64.encode(headers.as_bytes()), BASE64.encode(payload.as_bytes()));
        format!(
            r#"{{"type":"t","message":{{"subject":"$KV.b.k","seq":7,"hdrs":"{headers}",
                "data":"{payload}","time":"{TIME}"}}}}"#
        )
    }

    #[track_caller]
    fn payload(answer: &str) -> Option<Vec<u8>> {
        let newest = read("$KV.b.k", answer.as_bytes()).expect("readable").expect("a message");
        assert_eq!((newest.sequence, newest.time), (7, Timestamp(1_767_323_045_678)));
        newest.payload
    }

    #[test]
    fn an_answer_is_a_value_or_a_marker() {
        let cas = "NATS/1.0\r\nNats-Expected-Last-Subject-Sequence: 6\r\n\r\n";
        assert_eq!(payload(&told(cas, "{}")).as_deref(), Some(&b"{}"[..]));
        assert_eq!(payload(&told("", "")).as_deref(), Some(&b""[..]));
        assert_eq!(payload(&told("NATS/1.0\r\nKV-Operation: DEL\r\n\r\n", "")), None);
        assert_eq!(payload(&told("NATS/1.0\r\nNats-Marker-Reason: MaxAge\r\n\r\n", "")), None);
        let bare = format!(r#"{{"message":{{"seq":7,"time":"{TIME}"}}}}"#);
        assert_eq!(payload(&bare).as_deref(), Some(&b""[..]));
    }

    #[test]
    fn what_is_not_there_is_none_and_what_cannot_be_read_is_named() {
        let of = |answer: &str| read("$KV.b.k", answer.as_bytes());
        let error = |code| format!(r#"{{"error":{{"code":404,"err_code":{code}}}}}"#);
        assert_eq!(of(&error(10037)).expect("an answer"), None);
        assert!(matches!(of(&error(10059)), Err(Error::NotServed { .. })));
        for headers in ["x", "NATS/1.0\r\nno colon\r\n\r\n"] {
            let read = of(&told(headers, ""));
            assert!(matches!(read, Err(Error::Undecodable { revision: 7, .. })), "{read:?}");
        }
        let broken = format!(r#"{{"message":{{"seq":7,"data":"*","time":"{TIME}"}}}}"#);
        assert!(matches!(of(&broken), Err(Error::Undecodable { .. })));
        for none in ["", "{}", r#"{"message":{"seq":7,"time":"soon"}}"#] {
            assert!(matches!(of(none), Err(Error::Server { .. })), "{none}");
        }
    }
}
