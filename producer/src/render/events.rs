//! `producer events`, for people and for programs: one line an event. Pure.

use std::time::Duration;

use options::short;
use proto::{Timestamp, time};
use serde::Serialize;
use serde_json::Value;
use settings::did_you_mean;
use stand::utc;
use telemetry::plain;

use super::json;
use crate::events::Next;

/// Of more hosts than these a line says how many.
const HOSTS_NAMED: usize = 3;

#[derive(Serialize)]
struct Object<'a> {
    sequence: u64,
    /// By the broker's clock.
    at: Option<Timestamp>,
    subject: Option<&'a str>,
    event: Option<&'a Value>,
    /// Why there is no event.
    error: Option<&'a str>,
}

/// One object on one line.
pub(crate) fn json(next: &Next) -> String {
    json::line(&match next {
        Next::Event(it) => Object {
            sequence: it.sequence,
            at: Some(it.time),
            subject: Some(&it.subject),
            event: it.payload.as_ref().ok(),
            error: it.payload.as_ref().err().map(String::as_str),
        },
        Next::Unreadable(sequence, why) => {
            Object { sequence: *sequence, at: None, subject: None, event: None, error: Some(why) }
        }
    })
}

/// `2026-11-23T00:15:46Z job.retrying homelab.<rev>.web01 w1: disk-full, no space left, 10.0s`
pub(crate) fn text(next: &Next) -> String {
    let line = match next {
        Next::Unreadable(sequence, why) => format!("event {sequence} cannot be read: {why}"),
        Next::Event(it) => {
            let (when, what) = (utc(it.time), it.subject.strip_prefix("nbp.event."));
            let said = match &it.payload {
                Ok(event) => said(event),
                Err(why) => format!("it is no JSON: {why}"),
            };
            format!("{when} {} {said}", named(what.unwrap_or(&it.subject)))
        }
    };
    format!("{}\n", plain(line.trim_end()))
}

/// `job.finished.homelab.<rev>.web01` as `job.finished homelab.<rev>.web01`.
fn named(subject: &str) -> String {
    let kinds = match subject.split('.').next() {
        Some("landed") => 1,
        _ => 2,
    };
    let at = subject.match_indices('.').nth(kinds - 1).map(|(at, _)| at);
    match at {
        Some(at) => format!("{} {}", &subject[..at], &subject[at + 1..]),
        None => subject.to_owned(),
    }
}

/// What an event says besides its subject, in the order of this table; what is not there is left
/// out, so that events of tomorrow are shown as far as they are known.
fn said(event: &Value) -> String {
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let who = event.get("worker").and_then(text);
    let of = |name: &str| event["what"].get(name).or_else(|| event.get(name)).and_then(text);
    let delay = of("delay_ms").and_then(|ms| ms.parse().ok());
    let delay = delay.map(|ms| format!("again in up to {}", short(Duration::from_millis(ms))));
    let until = event["what"]["until"].as_u64().map(|at| format!("until {}", utc(Timestamp(at))));
    let newer = of("by_run").map(|run| format!("by run {run}"));
    let words =
        ["phase", "outcome", "reason", "why", "message", "run", "revision", "ref", "branch"];
    let words = words.into_iter().filter_map(of);
    let words: Vec<String> =
        words.chain(delay).chain(until).chain(newer).chain(hosts(event)).collect();
    match (who, words.is_empty()) {
        (Some(who), true) => who,
        (Some(who), false) => format!("{who}: {}", words.join(", ")),
        (None, _) => words.join(", "),
    }
}

/// The hosts that an event names, or how many it does.
fn hosts(event: &Value) -> Option<String> {
    let hosts = event["what"]["hosts"].as_array()?;
    let names: Vec<&str> = hosts.iter().filter_map(Value::as_str).collect();
    Some(if names.len() > HOSTS_NAMED { format!("{} hosts", names.len()) } else { names.join(" ") })
}

/// Since when a person wants to see: so long ago, or at a date.
pub(crate) fn since(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    if let Ok(ago) = humantime::parse_duration(text) {
        return Ok(Timestamp(now.0.saturating_sub(time::millis(ago))));
    }
    let date = humantime::parse_rfc3339_weak(text).ok();
    let since = date.and_then(|date| date.duration_since(std::time::UNIX_EPOCH).ok());
    let wanted = "expected a time ago, e.g. 2h, or a date, e.g. 2026-11-23T00:15:00Z";
    since.map(|since| Timestamp(time::millis(since))).ok_or_else(|| wanted.to_owned())
}

/// The subjects that a filter of a person means: `job.finished.>` and `nbp.event.job.finished.>`
/// are the same.
pub(crate) fn filter(text: &str) -> Result<String, String> {
    let tokens: Vec<&str> = text.split('.').collect();
    let bad = |token: &&str| {
        let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        !(matches!(*token, "*" | ">") || (!token.is_empty() && token.chars().all(word)))
    };
    let early = tokens.iter().position(|it| *it == ">").is_some_and(|at| at + 1 < tokens.len());
    if early || tokens.iter().any(bad) {
        return Err("expected a subject, * for one of its words and > for the rest, \
                    e.g. job.finished.> or worker.*.w1"
            .into());
    }
    let words = text.strip_prefix("nbp.event.").unwrap_or(text);
    // One that ends before any subject does means what stands below it.
    let below = SUBJECTS.iter().any(|(first, n)| tokens_of(words, first).is_some_and(|it| it < *n));
    Ok(match words {
        ">" | "nbp.event" => "nbp.event.>".to_owned(),
        words if below && !words.ends_with('>') => format!("nbp.event.{words}.>"),
        words => format!("nbp.event.{words}"),
    })
}

/// The first word of each subject behind `nbp.event.`, and of how many words it is.
const SUBJECTS: [(&str, usize); 6] =
    [("job", 5), ("worker", 3), ("run", 4), ("class", 4), ("gate", 3), ("landed", 2)];

fn tokens_of(words: &str, first: &str) -> Option<usize> {
    let mut tokens = words.split('.');
    (tokens.next() == Some(first)).then(|| tokens.count() + 1)
}

/// Of a filter that no event of ours matches: what they begin with.
pub(crate) fn matches_nothing(filter: &str) -> Option<String> {
    let first = filter.strip_prefix("nbp.event.")?.split('.').next()?;
    let known = SUBJECTS.map(|(known, _)| known);
    let none = !known.contains(&first) && !matches!(first, "*" | ">");
    let hint = did_you_mean(first, known);
    none.then(|| format!("no event begins with {first}: they do with {}{hint}", known.join(", ")))
}

/// The seventh event.
#[cfg(test)]
pub(crate) fn event(subject: &str, payload: Value) -> Next {
    let (sequence, time) = (7, Timestamp(1_000_000));
    Next::Event(bus::StoredEvent { sequence, time, subject: subject.into(), payload: Ok(payload) })
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use stand::examples::REV;

    use super::*;

    #[test]
    fn each_event_is_one_line_whatever_stands_in_it() {
        let check = |subject: &str, payload, expected: &str| {
            assert_eq!(
                text(&event(subject, payload)),
                format!("1970-01-01T00:16:40Z {expected}\n")
            );
        };
        let job = format!("r.{REV}.web");
        let what = |what: Value| json!({"worker": "w1", "what": what});
        check(
            &format!("nbp.event.job.finished.{job}"),
            what(json!({"kind": "finished", "outcome": "built"})),
            &format!("job.finished {job} w1: built"),
        );
        let retrying = json!({"kind": "retrying", "reason": "disk-full", "message": "a\nb\u{1b}[2J",
                              "delay_ms": 10});
        check(
            &format!("nbp.event.job.retrying.{job}"),
            what(retrying),
            &format!("job.retrying {job} w1: disk-full, ab, again in up to 10ms"),
        );
        let paused = what(json!({"kind": "paused", "why": "no room"}));
        check("nbp.event.worker.paused.w1", paused, "worker.paused w1 w1: no room");
        let landed = json!({"branch": "master", "revision": REV});
        check("nbp.event.landed.r", landed, &format!("landed r {REV}, master"));
        let ended = json!({"branch": "master", "end": "failed", "revision": REV});
        check("nbp.event.gate.failed.r", ended, &format!("gate.failed r {REV}, master"));
        let submitted = json!({"run": "1", "revision": REV, "by": "local", "what": {
            "kind": "submitted", "ref": "refs/heads/master", "hosts": ["a", "b"]}});
        let expected = format!("run.submitted r.local 1, {REV}, refs/heads/master, a b");
        check("nbp.event.run.submitted.r.local", submitted, &expected);
        let hosts = ["a", "b", "c", "d"];
        let cancelled = json!({"run": "1", "what": {"kind": "cancelled", "hosts": hosts}});
        check("nbp.event.run.cancelled.r.me", cancelled, "run.cancelled r.me 1, 4 hosts");
        let superseded = json!({"run": "1", "what": {"by_run": "2"}});
        check("nbp.event.run.superseded.r.me", superseded, "run.superseded r.me 1, by run 2");
        let paused = json!({"what": {"kind": "paused", "until": 5_000}});
        let expected = "class.paused x.me until 1970-01-01T00:00:05Z";
        check("nbp.event.class.paused.x.me", paused, expected);
        check("nbp.event.of.tomorrow", json!(["x"]), "of.tomorrow");
        let unread = Next::Unreadable(7, "its headers are none".into());
        assert_eq!(text(&unread), "event 7 cannot be read: its headers are none\n");
    }

    #[test]
    fn the_object_has_the_shape_that_scripts_rely_on() {
        let shown: Value =
            serde_json::from_str(&super::json(&event("nbp.event.x", json!({"a": 1}))))
                .expect("one object");
        let expected = json!({"sequence": 7, "at": 1_000_000, "subject": "nbp.event.x",
                              "event": {"a": 1}, "error": null});
        assert_eq!(shown, expected);
        options::check_documented(
            "events",
            &Value::Object(
                shown
                    .as_object()
                    .expect("one")
                    .iter()
                    .map(|(name, _)| (name.clone(), Value::Null))
                    .collect(),
            ),
        );
        let unread = super::json(&Next::Unreadable(8, "no".into()));
        let expected = json!({"sequence": 8, "at": null, "subject": null, "event": null,
                              "error": "no"});
        assert_eq!(serde_json::from_str::<Value>(&unread).expect("one object"), expected);
    }

    #[test]
    fn filters_are_subjects_with_or_without_their_prefix() {
        let check = |text: &str, subject: &str| assert_eq!(filter(text).as_deref(), Ok(subject));
        check(">", "nbp.event.>");
        check("job.finished.>", "nbp.event.job.finished.>");
        check("nbp.event.worker.*.w1", "nbp.event.worker.*.w1");
        check("job", "nbp.event.job.>");
        check("nbp.event", "nbp.event.>");
        check("run.submitted", "nbp.event.run.submitted.>");
        check("landed.r", "nbp.event.landed.r");
        check("landed", "nbp.event.landed.>");
        check("of.tomorrow", "nbp.event.of.tomorrow");
        assert_eq!(matches_nothing("nbp.event.*.finished.>"), None);
        let hint = "no event begins with jobs: they do with job, worker, run, class, gate, landed; \
                    did you mean job?";
        assert_eq!(matches_nothing("nbp.event.jobs.>").as_deref(), Some(hint));
        for bad in ["", "a..b", "a.>.b", "a b", "job.*x", ".", "a\u{1b}"] {
            assert!(filter(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_time_is_one_ago_or_a_date() {
        let check =
            |text: &str, at| assert_eq!(since(text, Timestamp(10_000)).map(|it| it.0), Ok(at));
        check("2s", 8_000);
        check("10 days", 0);
        check("1970-01-01T00:00:05Z", 5_000);
        check("1970-01-02 00:00:00", 86_400_000);
        assert!(since("yesterday", Timestamp(0)).is_err_and(|why| why.contains("2h")));
    }
}
