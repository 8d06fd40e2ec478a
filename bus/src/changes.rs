//! Keeping up with a bucket without a consumer: its stream is read on, message by message, from the
//! leader. A poke or a clock says when to look.

use proto::{subject, topology::Bucket};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::json;

use crate::{
    bucket::{Entry, Records, decode},
    connection::Bus,
    error::Error,
};

/// One write to a bucket.
#[derive(Clone, Debug)]
pub struct Change<T> {
    /// Which key.
    pub key: String,
    /// What was written; its revision is the place in the stream.
    pub entry: Entry<T>,
}

/// The part of a stream's info that says how far it is.
#[derive(Deserialize)]
struct Info {
    state: State,
}

#[derive(Deserialize)]
struct State {
    last_seq: u64,
}

impl<T: DeserializeOwned> Records<T> {
    /// The place that the next write to the bucket will have.
    ///
    /// # Errors
    /// No answer, denied, no such bucket.
    pub async fn position(&self) -> Result<u64, Error> {
        self.bus.position(self.bucket).await
    }

    /// The first write at `place` or later that is still kept.
    ///
    /// # Errors
    /// No answer, denied; [`Error::Undecodable`] names the place of what cannot be read.
    pub async fn change_at(&self, place: u64) -> Result<Option<Change<T>>, Error> {
        let name = self.bucket.name();
        let all = subject::kv(name, ">");
        let message = self.bus.next_message(&self.bucket.stream(), &all, place).await?;
        let Some(message) = message else { return Ok(None) };
        let key = subject::kv_key(name, &message.subject).unwrap_or_default().to_owned();
        Ok(Some(Change { key, entry: decode(&message.subject, &message)? }))
    }
}

impl Bus {
    async fn position(&self, bucket: Bucket) -> Result<u64, Error> {
        let (operation, stream) = ("read the position", bucket.stream());
        let info: Option<Info> =
            self.api(operation, &format!("STREAM.INFO.{stream}"), &json!({})).await?;
        let info = info.ok_or(Error::NotServed { operation, subject: stream })?;
        Ok(info.state.last_seq + 1)
    }
}
