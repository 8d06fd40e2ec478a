//! Calls of the JetStream API that only a leader answers.
//!
//! Each call is bounded in time: while it is disconnected, the client queues.

use std::{
    collections::HashMap,
    time::{Duration, UNIX_EPOCH},
};

use async_nats::jetstream::{
    message::StreamMessage, response::Response, stream::RawMessageBuilder,
};
use proto::{Timestamp, time::millis};
use serde::Deserialize;
use serde_json::json;

use crate::{
    connection::{ANSWER_WAIT, Bus},
    error::Error,
    unreadable,
};

/// JetStream's codes for "no such stream", "no such consumer" and "no such message".
const NOTHING: [u64; 3] = [10059, 10014, 10037];

impl Bus {
    /// What time it is at the server that leads a stream: a description of it says when it was
    /// given.
    pub(crate) async fn stream_time(
        &self,
        operation: &'static str,
        stream: &str,
    ) -> Result<Timestamp, Error> {
        #[derive(Deserialize)]
        struct Described {
            ts: String,
        }
        let call = format!("STREAM.INFO.{stream}");
        let described: Option<Described> = self.api(operation, &call, &json!({})).await?;
        let described =
            described.ok_or_else(|| Error::NotServed { operation, subject: stream.to_owned() })?;
        let time = humantime::parse_rfc3339(&described.ts).ok();
        let since = time.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        since.map(|since| Timestamp(millis(since))).ok_or_else(|| Error::Server {
            operation,
            subject: stream.to_owned(),
            reason: format!("{:?} is no time", described.ts),
        })
    }

    /// The newest message of a subject, from the leader.
    pub(crate) async fn last_message(
        &self,
        stream: &str,
        subject: &str,
    ) -> Result<Option<StreamMessage>, Error> {
        let query = json!({ "last_by_subj": subject });
        self.read(stream, subject, query, |builder| builder.last_by_subject(subject)).await
    }

    /// The first message of a subject at `sequence` or later, from the leader.
    pub(crate) async fn next_message(
        &self,
        stream: &str,
        subject: &str,
        sequence: u64,
    ) -> Result<Option<StreamMessage>, Error> {
        let query = json!({ "seq": sequence, "next_by_subj": subject });
        let next = |builder: RawMessageBuilder| builder.sequence(sequence).next_by_subject(subject);
        self.read(stream, subject, query, next).await
    }

    /// The message at a sequence, from the leader.
    pub(crate) async fn message_at(
        &self,
        stream: &str,
        sequence: u64,
    ) -> Result<Option<StreamMessage>, Error> {
        let query = json!({ "seq": sequence });
        self.read(stream, stream, query, |builder| builder.sequence(sequence)).await
    }

    /// `query` asks the same as `which`, for a message that the client cannot read.
    async fn read(
        &self,
        stream: &str,
        subject: &str,
        query: serde_json::Value,
        which: impl FnOnce(RawMessageBuilder) -> RawMessageBuilder,
    ) -> Result<Option<StreamMessage>, Error> {
        let call = format!("$JS.API.STREAM.MSG.GET.{stream}");
        let mut unread = None;
        let read = async {
            let handle = self.stream("read", stream).await?;
            let answer = which(handle.raw_message_builder()).send().await;
            unread = answer.as_ref().err().and_then(unreadable::unread);
            Error::raw("read", subject, answer)
        };
        match (self.answered("read", &call, read).await, unread) {
            (_, Some(reason)) => Err(self.undecodable(stream, &query, reason).await),
            (answer, None) => answer,
        }
    }

    /// The subjects of a stream that match, sorted.
    pub(crate) async fn subjects(&self, stream: &str, filter: &str) -> Result<Vec<String>, Error> {
        let operation = "list subjects";
        let call = format!("STREAM.INFO.{stream}");
        let mut found: Vec<String> = Vec::new();
        loop {
            let request = json!({ "subjects_filter": filter, "offset": found.len() });
            let page: Option<SubjectsPage> = self.api(operation, &call, &request).await?;
            let page =
                page.ok_or_else(|| Error::NotServed { operation, subject: stream.to_owned() })?;
            let (before, total) = (found.len(), page.total);
            found.extend(page.state.subjects.unwrap_or_default().into_keys());
            // A page that brings nothing new would ask for ever.
            if found.len() >= total || found.len() == before {
                found.sort_unstable();
                found.dedup();
                return Ok(found);
            }
        }
    }

    /// One call of the JetStream API; `None` when the stream, consumer or message does not exist.
    pub(crate) async fn api<T: serde::de::DeserializeOwned>(
        &self,
        operation: &'static str,
        subject: &str,
        request: &impl serde::Serialize,
    ) -> Result<Option<T>, Error> {
        let call = async {
            let answer: Result<Response<T>, _> =
                self.net.js.request(subject.to_owned(), request).await;
            match answer.map_err(|error| Error::request(operation, subject, &error))? {
                Response::Ok(found) => Ok(Some(found)),
                Response::Err { error } if NOTHING.contains(&error.error_code().0) => Ok(None),
                Response::Err { error } => Err(Error::api(operation, subject, 0, &error)),
            }
        };
        self.answered(operation, &format!("$JS.API.{subject}"), call).await
    }

    async fn stream(
        &self,
        operation: &'static str,
        name: &str,
    ) -> Result<async_nats::jetstream::stream::Stream<()>, Error> {
        // Asks nobody: it only checks the name.
        let stream = self.net.js.get_stream_no_info(name).await;
        stream.map_err(|error| Error::Server {
            operation,
            subject: name.to_owned(),
            reason: error.to_string(),
        })
    }

    /// Bounds an operation in time: the client queues while it is disconnected. `sent_to` is the
    /// subject of the question.
    pub(crate) async fn answered<T>(
        &self,
        operation: &'static str,
        sent_to: &str,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let bounded = tokio::time::timeout(ANSWER_WAIT + Duration::from_millis(500), work).await;
        let subject = sent_to.to_owned();
        bounded
            .unwrap_or(Err(Error::NoAnswer { operation, subject }))
            .map_err(|error| self.explain(sent_to, error))
    }
}

/// The part of a stream's state that lists subjects; at most 100,000 a page.
#[derive(Deserialize)]
struct SubjectsPage {
    #[serde(default)]
    total: usize,
    state: SubjectsState,
}

#[derive(Deserialize)]
struct SubjectsState {
    subjects: Option<HashMap<String, u64>>,
}
