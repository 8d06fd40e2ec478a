//! Dead letters, for people and for programs.

use bus::StoredLetter;
use proto::{
    JobKey, Timestamp, WorkerName,
    record::{Attempt, AttemptEnd},
};
use serde::Serialize;
use telemetry::plain;

use super::table::{Cell, Page, head};
use crate::view::utc;

#[derive(Serialize)]
struct Letter<'a> {
    number: u64,
    at: Timestamp,
    job: Option<&'a JobKey>,
    reason: &'a str,
    worker: Option<&'a WorkerName>,
    subject: Option<&'a str>,
    payload: Option<&'a str>,
    attempts: &'a [Attempt],
}

impl<'a> Letter<'a> {
    fn of(stored: &'a StoredLetter) -> Self {
        let letter = stored.letter.as_ref().ok();
        Self {
            number: stored.sequence,
            at: stored.time,
            job: stored.job.as_ref(),
            reason: match &stored.letter {
                Ok(letter) => &letter.reason,
                Err(why) => why,
            },
            worker: letter.map(|letter| &letter.worker),
            subject: letter.map(|letter| letter.subject.as_str()),
            payload: letter.map(|letter| letter.payload.as_str()),
            attempts: letter.map_or(&[], |letter| &letter.attempts),
        }
    }
}

/// One array of objects, on one line.
pub(crate) fn json(letters: &[StoredLetter]) -> String {
    super::json::line(&letters.iter().map(Letter::of).collect::<Vec<_>>())
}

/// One object, on one line.
pub(crate) fn json_of(letter: &StoredLetter) -> String {
    super::json::line(&Letter::of(letter))
}

/// One line a letter.
pub(crate) fn table(letters: &[StoredLetter], page: &Page) -> String {
    let mut rows = vec![head(["NUMBER", "WHEN", "JOB", "ATTEMPTS", "REASON"])];
    rows.extend(letters.iter().map(Letter::of).map(|letter| {
        [
            letter.number.to_string().into(),
            page.ago(letter.at).into(),
            Cell::or_dash(letter.job.map(ToString::to_string)),
            letter.attempts.len().to_string().into(),
            plain(letter.reason).into_owned().into(),
        ]
    }));
    page.table(&rows)
}

/// Everything that a letter says.
pub(crate) fn all_of(stored: &StoredLetter) -> String {
    let letter = Letter::of(stored);
    let mut text = format!("{}: {}\n", letter.number, plain(letter.reason));
    let job = letter.job.map(ToString::to_string);
    let by = letter.worker.map(|worker| format!("{worker}, {}", utc(letter.at)));
    for (name, value) in [
        ("job", job.as_deref()),
        ("told by", by.as_deref()),
        ("subject", letter.subject),
        ("payload", letter.payload.filter(|payload| !payload.is_empty())),
    ] {
        if let Some(value) = value {
            text.push_str(&format!("  {name}: {}\n", plain(value)));
        }
    }
    for attempt in letter.attempts {
        let end = attempt.end.as_ref().map_or_else(|| "the last one".to_owned(), ended);
        let line = format!("  attempt {} on {}: {end}", attempt.epoch, attempt.worker);
        text.push_str(&plain(&line));
        text.push('\n');
    }
    text
}

fn ended(end: &AttemptEnd) -> String {
    match end {
        AttemptEnd::HandedBack => "handed back".to_owned(),
        AttemptEnd::WorkerLost => "the worker was lost".to_owned(),
        AttemptEnd::Infra { kind, message } => format!("{}: {message}", kind.name()),
    }
}
