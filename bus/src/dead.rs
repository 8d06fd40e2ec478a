//! Reading and removing dead letters. Writing one is part of ending a job.

use proto::{
    JobKey, Timestamp,
    event::DeadLetter,
    subject::{self, JobSubject},
    topology,
};
use serde::Deserialize;
use serde_json::json;

use crate::{bucket::stored_at, connection::Bus, error::Error};

/// A dead letter as the stream holds it.
#[derive(Clone, Debug)]
pub struct StoredLetter {
    /// Its place in the stream, which is its name.
    pub sequence: u64,
    /// When the server stored it.
    pub time: Timestamp,
    /// The job that it is about, if it names one.
    pub job: Option<JobKey>,
    /// What it says; why not, if it cannot be read.
    pub letter: Result<DeadLetter, String>,
}

impl StoredLetter {
    /// What its message asked for: with class and priority, if that can be told.
    pub fn asked(&self) -> Option<JobSubject> {
        JobSubject::parse(&self.letter.as_ref().ok()?.subject).ok()
    }
}

impl Bus {
    /// All dead letters, oldest first.
    ///
    /// # Errors
    /// No answer, denied.
    pub async fn dead_letters(&self) -> Result<Vec<StoredLetter>, Error> {
        let mut letters = Vec::new();
        let mut from = 1;
        while let Some(letter) = self.dead_letter_from(from).await? {
            from = letter.sequence + 1;
            letters.push(letter);
        }
        Ok(letters)
    }

    /// How many dead letters there are.
    ///
    /// # Errors
    /// No answer, denied.
    pub async fn dead_letter_count(&self) -> Result<u64, Error> {
        let subject = format!("STREAM.INFO.{}", topology::DEAD);
        let info: Option<Info> = self.api("count dead letters", &subject, &json!({})).await?;
        Ok(info.map_or(0, |info| info.state.messages))
    }

    /// One dead letter; none when it is not there (any more).
    ///
    /// # Errors
    /// No answer, denied.
    pub async fn dead_letter(&self, sequence: u64) -> Result<Option<StoredLetter>, Error> {
        let found = self.dead_letter_from(sequence.max(1)).await?;
        Ok(found.filter(|letter| letter.sequence == sequence))
    }

    async fn dead_letter_from(&self, sequence: u64) -> Result<Option<StoredLetter>, Error> {
        let next = self.next_message(topology::DEAD, subject::DEAD_ALL, sequence).await?;
        let Some(message) = next else { return Ok(None) };
        let letter = serde_json::from_slice(&message.payload).map_err(|error| error.to_string());
        Ok(Some(StoredLetter {
            sequence: message.sequence,
            time: stored_at(&message),
            job: subject::dead_job(&message.subject),
            letter,
        }))
    }

    /// Removes one dead letter. One that is not there (any more) is fine.
    ///
    /// # Errors
    /// No answer, denied.
    pub async fn drop_dead_letter(&self, sequence: u64) -> Result<(), Error> {
        if self.dead_letter(sequence).await?.is_none() {
            return Ok(());
        }
        let subject = format!("STREAM.MSG.DELETE.{}", topology::DEAD);
        let request = json!({ "seq": sequence, "no_erase": true });
        let _deleted: Option<Deleted> = self.api("drop dead letter", &subject, &request).await?;
        Ok(())
    }
}

/// The answer says nothing that an error would not.
#[derive(Deserialize)]
struct Deleted {}

/// What is read of a stream's description.
#[derive(Deserialize)]
struct Info {
    state: Kept,
}

#[derive(Deserialize)]
struct Kept {
    messages: u64,
}
