//! Dead letters, for people and for programs.

use bus::StoredLetter;
use options::{Cell, Page, head};
use proto::{
    Epoch, Instance, JobKey, Timestamp, WorkerName,
    record::{Attempt, AttemptEnd},
};
use serde::Serialize;
use stand::utc;
use telemetry::plain;

#[derive(Serialize)]
struct Letter<'a> {
    number: u64,
    at: Timestamp,
    job: Option<&'a JobKey>,
    reason: &'a str,
    worker: Option<&'a WorkerName>,
    subject: Option<&'a str>,
    payload: Option<&'a str>,
    attempts: Vec<AttemptObject<'a>>,
}

#[derive(Serialize)]
struct AttemptObject<'a> {
    epoch: Epoch,
    worker: &'a WorkerName,
    instance: &'a Instance,
    at: Timestamp,
    end: Option<EndObject<'a>>,
}

#[derive(Serialize)]
struct EndObject<'a> {
    why: &'static str,
    kind: Option<&'static str>,
    message: Option<&'a str>,
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
            attempts: letter.map_or(&[][..], |it| &it.attempts).iter().map(attempt).collect(),
        }
    }
}

fn attempt(attempt: &Attempt) -> AttemptObject<'_> {
    let Attempt { epoch, worker, instance, at, end } = attempt;
    let end = end.as_ref().map(|end| match end {
        AttemptEnd::HandedBack => EndObject { why: "handed-back", kind: None, message: None },
        AttemptEnd::WorkerLost => EndObject { why: "worker-lost", kind: None, message: None },
        AttemptEnd::Infra { kind, message } => {
            EndObject { why: "infra", kind: Some(kind.name()), message: Some(message) }
        }
    });
    AttemptObject { epoch: *epoch, worker, instance, at: *at, end }
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
    page.table(&rows, &["ATTEMPTS", "WHEN"])
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
    for attempt in &letter.attempts {
        let end = attempt.end.as_ref().map_or_else(|| "the last one".to_owned(), ended);
        let line = format!("  attempt {} on {}: {end}", attempt.epoch, attempt.worker);
        text.push_str(&plain(&line));
        text.push('\n');
    }
    text
}

fn ended(end: &EndObject<'_>) -> String {
    match (end.why, end.kind, end.message) {
        (_, Some(kind), Some(message)) => format!("{kind}: {message}"),
        ("handed-back", ..) => "handed back".to_owned(),
        _ => "the worker was lost".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proto::{V1, event::DeadLetter, outcome::InfraKind};
    use serde_json::{Value, json};
    use stand::examples::{job, worker};
    use uuid::Uuid;

    use super::*;
    use crate::render::tests::fits;

    fn letter() -> StoredLetter {
        let attempt = |epoch, end| Attempt {
            epoch: Epoch(epoch),
            worker: worker(),
            instance: Instance(Uuid::nil()),
            at: Timestamp(1),
            end,
        };
        let infra = AttemptEnd::Infra { kind: InfraKind::DiskFull, message: "no room".into() };
        let letter = DeadLetter {
            v: V1,
            at: Timestamp(2),
            worker: worker(),
            subject: "nbp.job.x".into(),
            payload: "{}".into(),
            reason: "out of attempts".into(),
            attempts: vec![
                attempt(1, Some(AttemptEnd::HandedBack)),
                attempt(2, Some(AttemptEnd::WorkerLost)),
                attempt(3, Some(infra)),
                attempt(4, None),
            ],
        };
        StoredLetter { sequence: 7, time: Timestamp(3), job: Some(job("web")), letter: Ok(letter) }
    }

    #[test]
    fn every_attempt_says_how_it_ended() {
        let text = all_of(&letter());
        let ends = [
            "1 on w1: handed back\n",
            "2 on w1: the worker was lost\n",
            "3 on w1: disk-full: no room\n",
            "4 on w1: the last one\n",
        ];
        for end in ends {
            assert!(text.contains(&format!("  attempt {end}")), "{text}");
        }
    }

    #[test]
    fn the_table_fits() {
        fits("NUMBER", |page| table(&[letter()], page));
    }

    #[test]
    fn the_object_has_the_shape_that_scripts_rely_on() {
        let shown: Value = serde_json::from_str(&json_of(&letter())).expect("one object");
        options::check_documented("dead", &shown);
        let ends: Vec<&Value> = (0..4).map(|attempt| &shown["attempts"][attempt]["end"]).collect();
        let end = |why: &str| json!({"why": why, "kind": null, "message": null});
        let infra = json!({"why": "infra", "kind": "disk-full", "message": "no room"});
        assert_eq!(ends, [&end("handed-back"), &end("worker-lost"), &infra, &Value::Null]);
    }
}
