//! Typed buckets: compare-and-set writes, and reads from the leader.
//!
//! A bucket is a stream; `get` of the client's own bucket type may be answered by a replica that
//! lags, so decisions are never made on it. Reads here are `STREAM.MSG.GET`, which only the leader
//! answers.

use std::marker::PhantomData;

use async_nats::jetstream::message::StreamMessage;
use bytes::Bytes;
use proto::{Timestamp, subject, topology::Bucket};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::json;

use crate::{
    connection::Bus,
    error::Error,
    newest::{MARKS, Newest},
    publish::Publish,
};

/// A key as the leader has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<T> {
    /// The record; none when the key was never written or was deleted.
    pub value: Option<T>,
    /// What a compare-and-set compares; 0 for a key that was never written.
    pub revision: u64,
    /// When the server stored it.
    pub time: Timestamp,
}

impl<T> Entry<T> {
    /// The state of a key that was never written.
    pub fn none() -> Self {
        Self { value: None, revision: 0, time: Timestamp::default() }
    }
}

/// One bucket and the type of its records.
pub struct Records<T> {
    pub(crate) bus: Bus,
    pub(crate) bucket: Bucket,
    of: PhantomData<fn() -> T>,
}

impl<T> Clone for Records<T> {
    fn clone(&self) -> Self {
        Self { bus: self.bus.clone(), bucket: self.bucket, of: PhantomData }
    }
}

impl Bus {
    /// The job requests.
    pub fn requests(&self) -> Records<proto::Request> {
        self.records(Bucket::Requests)
    }

    /// The job records.
    pub fn results(&self) -> Records<proto::Record> {
        self.records(Bucket::Results)
    }

    /// The runs.
    pub fn runs(&self) -> Records<proto::RunRecord> {
        self.records(Bucket::Runs)
    }

    /// The newest good build of each host.
    pub fn last_good(&self) -> Records<proto::LastGood> {
        self.records(Bucket::LastGood)
    }

    /// The living workers.
    pub fn workers(&self) -> Records<proto::Presence> {
        self.records(Bucket::Workers)
    }

    pub(crate) fn records<T>(&self, bucket: Bucket) -> Records<T> {
        Records { bus: self.clone(), bucket, of: PhantomData }
    }
}

impl<T: Serialize + DeserializeOwned> Records<T> {
    /// Reads a key from the leader.
    ///
    /// # Errors
    /// No answer, or what stands there cannot be read.
    pub async fn get(&self, key: &str) -> Result<Entry<T>, Error> {
        let subject = subject::kv(self.bucket.name(), key);
        let Some(newest) = self.bus.newest(&self.bucket.stream(), &subject).await? else {
            return Ok(Entry::none());
        };
        let Newest { sequence: revision, time, payload } = newest;
        let value = payload.map(|payload| value(&subject, revision, &payload)).transpose()?;
        Ok(Entry { value, revision, time })
    }

    /// All that the bucket still knows of a key, oldest first; what cannot be read is left out and
    /// logged, and so are deletions.
    ///
    /// # Errors
    /// No answer.
    pub async fn history(&self, key: &str) -> Result<Vec<Entry<T>>, Error> {
        let subject = subject::kv(self.bucket.name(), key);
        let (stream, mut from, mut found) = (self.bucket.stream(), 1, Vec::new());
        while let Some(message) = self.bus.next_message(&stream, &subject, from).await? {
            from = message.sequence + 1;
            match decode(&subject, &message) {
                Ok(entry) if entry.value.is_some() => found.push(entry),
                Ok(_) => {}
                Err(error) => tracing::warn!("{error}"),
            }
        }
        Ok(found)
    }

    /// Writes a key if it still has `revision`; gives the new one.
    ///
    /// # Errors
    /// [`Error::Conflict`] when it has another, [`Error::NoAnswer`] when nobody knows.
    pub async fn put_if(&self, key: &str, value: &T, revision: u64) -> Result<u64, Error> {
        let (subject, payload) = self.message("compare-and-set", key, value)?;
        let publish = Publish::of(payload).over(revision);
        self.bus.publish_acked("compare-and-set", &subject, publish).await
    }

    /// Writes a key whatever stands there; gives the new revision.
    ///
    /// # Errors
    /// No answer, denied, full.
    pub async fn put(&self, key: &str, value: &T) -> Result<u64, Error> {
        let (subject, payload) = self.message("put", key, value)?;
        self.bus.publish_acked("put", &subject, Publish::of(payload)).await
    }

    /// Deletes a key whatever stands there.
    ///
    /// # Errors
    /// No answer, denied.
    pub async fn delete(&self, key: &str) -> Result<(), Error> {
        let marker = Publish::of(Bytes::new()).header("KV-Operation", "DEL");
        let subject = subject::kv(self.bucket.name(), key);
        self.bus.publish_acked("delete", &subject, marker).await.map(drop)
    }

    /// Removes all traces of a key up to `revision`; a value that was written later stays. A
    /// deletion would leave a marker, and markers would fill a bucket whose keys never come again.
    ///
    /// # Errors
    /// No answer; denied.
    pub async fn forget(&self, key: &str, revision: u64) -> Result<(), Error> {
        let stream = format!("STREAM.PURGE.{}", self.bucket.stream());
        let filter = subject::kv(self.bucket.name(), key);
        // Up to this sequence, itself not included.
        let request = json!({ "filter": filter, "seq": revision.saturating_add(1) });
        let _purged: Option<Purged> = self.bus.api("forget", &stream, &request).await?;
        Ok(())
    }

    /// The keys that match `filter` (a key with wildcards), sorted, deleted ones included.
    ///
    /// # Errors
    /// No answer.
    pub async fn keys(&self, filter: &str) -> Result<Vec<String>, Error> {
        let name = self.bucket.name();
        let filter = subject::kv(name, filter);
        let subjects = self.bus.subjects(&self.bucket.stream(), &filter).await?;
        let keys = subjects.iter().filter_map(|subject| subject::kv_key(name, subject));
        Ok(keys.map(str::to_owned).collect())
    }

    /// The keys that match `filter` (a key with wildcards) and are not deleted, with their
    /// records, sorted by key. Records that cannot be read are left out and logged.
    ///
    /// # Errors
    /// No answer.
    pub async fn list(&self, filter: &str) -> Result<Vec<(String, Entry<T>)>, Error> {
        let mut found = Vec::new();
        for key in self.keys(filter).await? {
            match self.get(&key).await {
                Ok(entry) if entry.value.is_some() => found.push((key, entry)),
                Ok(_) => {}
                Err(error @ Error::Undecodable { .. }) => tracing::warn!("{error}"),
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    fn message(
        &self,
        operation: &'static str,
        key: &str,
        value: &T,
    ) -> Result<(String, Bytes), Error> {
        let subject = subject::kv(self.bucket.name(), key);
        let payload = encode(operation, &subject, value)?;
        Ok((subject, payload))
    }
}

/// The answer says nothing that an error would not.
#[derive(Deserialize)]
struct Purged {}

pub(crate) fn encode(
    operation: &'static str,
    subject: &str,
    value: &impl Serialize,
) -> Result<Bytes, Error> {
    let encoded = serde_json::to_vec(value).map(Bytes::from);
    encoded.map_err(|error| Error::Server {
        operation,
        subject: subject.to_owned(),
        reason: error.to_string(),
    })
}

pub(crate) fn decode<T: DeserializeOwned>(
    subject: &str,
    message: &StreamMessage,
) -> Result<Entry<T>, Error> {
    let revision = message.sequence;
    let time = stored_at(message);
    if MARKS.iter().any(|mark| message.headers.get(*mark).is_some()) {
        return Ok(Entry { value: None, revision, time });
    }
    let value = value(subject, revision, &message.payload)?;
    Ok(Entry { value: Some(value), revision, time })
}

fn value<T: DeserializeOwned>(subject: &str, revision: u64, payload: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(payload).map_err(|error| Error::Undecodable {
        subject: subject.to_owned(),
        revision,
        reason: error.to_string(),
    })
}

pub(crate) fn stored_at(message: &StreamMessage) -> Timestamp {
    let millis = message.time.unix_timestamp_nanos() / 1_000_000;
    Timestamp(u64::try_from(millis).unwrap_or_default())
}
