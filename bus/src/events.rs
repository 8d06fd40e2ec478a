//! Reading what happened from its stream, by the place in it: so nothing is missed and nothing
//! comes twice, whatever the broker goes through.

use proto::{Timestamp, subject, topology};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{bucket::stored_at, connection::Bus, error::Error};

/// An event as the stream holds it.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredEvent {
    /// Its place in the stream.
    pub sequence: u64,
    /// When the server stored it.
    pub time: Timestamp,
    /// What it is about.
    pub subject: String,
    /// What it says; why not, if it is no JSON.
    pub payload: Result<Value, String>,
}

/// What the stream has.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
struct Ends {
    #[serde(default)]
    first_seq: u64,
    #[serde(default)]
    last_seq: u64,
}

#[derive(Deserialize)]
struct Info {
    state: Ends,
}

impl Bus {
    /// The first event at `sequence` or later whose subject matches `filter`.
    ///
    /// # Errors
    /// No answer, denied, or it has headers that no client can read.
    pub async fn next_event(
        &self,
        filter: &str,
        sequence: u64,
    ) -> Result<Option<StoredEvent>, Error> {
        let next = self.next_message(topology::EVENTS, filter, sequence).await?;
        Ok(next.map(|message| StoredEvent {
            sequence: message.sequence,
            time: stored_at(&message),
            payload: serde_json::from_slice(&message.payload).map_err(|error| error.to_string()),
            subject: message.subject.to_string(),
        }))
    }

    /// The place behind the newest event: what comes from now on.
    ///
    /// # Errors
    /// No answer, denied.
    pub async fn events_end(&self) -> Result<u64, Error> {
        Ok(self.ends().await?.last_seq + 1)
    }

    /// The place of the first event that was stored at `time` or later.
    ///
    /// # Errors
    /// No answer, denied.
    pub async fn events_since(&self, time: Timestamp) -> Result<u64, Error> {
        let Ends { first_seq, last_seq } = self.ends().await?;
        // Times grow with places, so halving finds it; gaps are what was deleted in between.
        let (mut low, mut high) = (first_seq.max(1), last_seq + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.next_message(topology::EVENTS, subject::EVENT_ALL, middle).await? {
                Some(it) if stored_at(&it) < time => low = it.sequence + 1,
                Some(_) | None => high = middle,
            }
        }
        Ok(low)
    }

    async fn ends(&self) -> Result<Ends, Error> {
        let operation = "look at the events";
        let call = format!("STREAM.INFO.{}", topology::EVENTS);
        let info: Option<Info> = self.api(operation, &call, &json!({})).await?;
        let none = || Error::NotServed { operation, subject: topology::EVENTS.to_owned() };
        info.map(|info| info.state).ok_or_else(none)
    }
}
