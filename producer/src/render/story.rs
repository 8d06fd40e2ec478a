//! `producer explain`, for people and for programs. Pure.

use options::{Cell, Page, Tone, head, short};
use proto::{
    Class, Epoch, Identity, Incarnation, JobKey, Priority, RunId, Timestamp, Work, WorkerName,
    time::millis,
};
use serde::Serialize;
use telemetry::plain;

use super::{
    json,
    text::failure,
    waits::{Waits, detail, waits},
};
use crate::story::{Asking, End, Story, Times, Try};

#[derive(Serialize)]
struct Object<'a> {
    job: &'a JobKey,
    class: &'a Class,
    state: &'static str,
    outcome: Option<&'static str>,
    work: Option<Work>,
    waits: Option<Waits<'a>>,
    wanted_by: Vec<WishObject<'a>>,
    superseded_by: Option<RunId>,
    avoid_worker: Option<&'a WorkerName>,
    queued_ms: u64,
    building_ms: u64,
    between_ms: u64,
    askings: Vec<AskingObject<'a>>,
}

#[derive(Serialize)]
struct WishObject<'a> {
    run: &'a RunId,
    by: &'a Identity,
    priority: Priority,
    at: Timestamp,
}

#[derive(Serialize)]
struct AskingObject<'a> {
    incarnation: Incarnation,
    asked_at: Option<Timestamp>,
    outcome: Option<&'a str>,
    ended_at: Option<Timestamp>,
    dead: Option<&'a str>,
    attempts: Vec<TryObject<'a>>,
}

#[derive(Serialize)]
struct TryObject<'a> {
    epoch: Epoch,
    worker: &'a WorkerName,
    began_at: Timestamp,
    ended_at: Option<Timestamp>,
    end: &'a str,
    message: Option<&'a str>,
    phases: Vec<PhaseObject>,
}

#[derive(Serialize)]
struct PhaseObject {
    phase: &'static str,
    at: Timestamp,
}

/// The story as one object, on one line.
pub(crate) fn json(story: &Story, now: Timestamp) -> String {
    let Times { queued, building, between } = story.times(now);
    let wishes = story.wishes.iter();
    json::line(&Object {
        job: &story.status.job,
        class: &story.status.class,
        state: story.status.state(),
        outcome: story.status.outcome().map(proto::Outcome::name),
        work: story.status.built().and_then(|built| built.work),
        waits: waits(&story.status.stand),
        wanted_by: wishes
            .map(|(run, it)| WishObject { run, by: &it.by, priority: it.priority, at: it.at })
            .collect(),
        superseded_by: story.superseded_by,
        avoid_worker: story.avoid_worker.as_ref(),
        queued_ms: millis(queued),
        building_ms: millis(building),
        between_ms: millis(between),
        askings: story.askings.iter().map(asking).collect(),
    })
}

fn asking(asking: &Asking) -> AskingObject<'_> {
    AskingObject {
        incarnation: asking.incarnation,
        asked_at: asking.asked,
        outcome: asking.end.as_ref().map(|(outcome, _)| outcome.as_str()),
        ended_at: asking.end.as_ref().map(|(_, at)| *at),
        dead: asking.dead.as_deref(),
        attempts: asking.attempts.iter().map(attempt).collect(),
    }
}

fn attempt(attempt: &Try) -> TryObject<'_> {
    let phases = attempt.phases.iter();
    TryObject {
        epoch: attempt.epoch,
        worker: &attempt.worker,
        began_at: attempt.began,
        ended_at: attempt.ended,
        end: attempt.end.name(),
        message: message(&attempt.end),
        phases: phases.map(|(phase, at)| PhaseObject { phase: phase.name(), at: *at }).collect(),
    }
}

fn message(end: &End) -> Option<&str> {
    match end {
        End::Infra { message, .. } => Some(message),
        End::HandedBack => Some("the worker was told to stop; this is no attempt"),
        End::WorkerLost => Some("its lease ran out"),
        End::Running | End::Finished(_) | End::Unknown => None,
    }
}

/// How it stands and why, who wants it, where the time went, and every attempt.
pub(crate) fn text(story: &Story, page: &Page) -> String {
    let status = &story.status;
    let state = plain(&status.phrase()).into_owned() + &detail(&status.stand);
    let mut text = format!("{}: {state}\n", status.job);
    for (run, wish) in &story.wishes {
        let (by, priority, at) = (&wish.by, wish.priority, page.ago(wish.at));
        text.push_str(&format!("wanted by run {run} of {by}, priority {priority}, {at}\n"));
    }
    if story.wishes.is_empty() {
        text.push_str("nobody wants it now\n");
    }
    if let Some(newer) = &story.superseded_by {
        text.push_str(&format!("superseded by run {newer}; `producer watch {newer}`\n"));
    }
    if let Some(worker) = &story.avoid_worker {
        text.push_str(&format!("{worker} is left out for a while: a second opinion is wanted\n"));
    }
    text.push_str(&went(story.times(page.now)));
    if let Some(done) = status.done() {
        text.push_str(&(done + "\n"));
    }
    for (at, asking) in story.askings.iter().enumerate() {
        let newest = at + 1 == story.askings.len();
        text.push_str(&told(asking, newest, page));
    }
    text + &failure(status)
}

/// `12.3s in the queue, 3m 2s with workers, 40.1s between attempts`
fn went(times: Times) -> String {
    let Times { queued, building, between } = times;
    let (queued, building) = (short(queued), short(building));
    let between = match between.as_secs() {
        0 => String::new(),
        _ => format!(", {} between attempts", short(between)),
    };
    format!("{queued} in the queue, {building} with workers{between}\n")
}

fn told(asking: &Asking, newest: bool, page: &Page) -> String {
    let when = asking.asked.map_or_else(|| "nobody knows when".to_owned(), |at| page.ago(at));
    let end = match &asking.end {
        Some((outcome, at)) => format!("{}, {}", plain(outcome), page.ago(*at)),
        None if newest => "not finished".into(),
        None => "its end is not known".into(),
    };
    let mut text = format!("\nasked {when}: {end}\n");
    if let Some(why) = &asking.dead {
        let line = format!("it is a dead letter: {}", plain(why));
        text.push_str(&(page.paint(&page.cut(&line), Tone::Bad) + "\n"));
    }
    if asking.attempts.is_empty() {
        return text + "no worker has taken it\n";
    }
    let mut rows = vec![head(["EPOCH", "WORKER", "BEGAN", "LASTED", "END"])];
    rows.extend(asking.attempts.iter().map(|attempt| row(attempt, page)));
    text + &page.table(&rows, &["BEGAN", "LASTED"])
}

fn row(attempt: &Try, page: &Page) -> [Cell; 5] {
    let known = attempt.end == End::Running || attempt.ended.is_some();
    let why = message(&attempt.end).map(|why| format!(": {}", plain(why))).unwrap_or_default();
    let tone = match &attempt.end {
        End::Running => Tone::Plain,
        End::Finished(outcome) if outcome == "built" => Tone::Good,
        End::Finished(_) => Tone::Bad,
        End::HandedBack | End::WorkerLost | End::Infra { .. } | End::Unknown => Tone::Odd,
    };
    [
        attempt.epoch.to_string().into(),
        attempt.worker.as_str().into(),
        page.ago(attempt.began).into(),
        Cell::or_dash(known.then(|| short(attempt.lasted(page.now)))),
        Cell::toned(format!("{}{why}", plain(attempt.end.name())), tone),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use stand::examples::{REV, STORED, built_with, finished, record, request, running};
    use uuid::Uuid;

    use super::*;
    use crate::{
        render::tests::{fits, page},
        story::tests::{disk_full_then_built, story},
    };

    #[test]
    fn every_attempt_has_a_line_with_who_when_and_why() {
        let text = text(&disk_full_then_built(), &page(None));
        let expected = format!(
            "\
nixos-servers.{REV}.web: queued: no worker for class aarch64-linux (asked for 1970-01-01T00:15:00Z)
wanted by run {} of local, priority normal, 2 min ago
0ms in the queue, 0ms with workers

asked nobody knows when: built, 30 s ago
EPOCH  WORKER  BEGAN      LASTED  END
1      w1      1 min ago  10.0s   disk-full: no space
2      w1      50 s ago   20.0s   built

asked nobody knows when: not finished
no worker has taken it
",
            Uuid::nil()
        );
        assert_eq!(text, expected);
        fits("EPOCH", |page| super::text(&disk_full_then_built(), page));
        let gone_on = record(1, running());
        let held = super::text(&story(Some(request(1, 0)), Some(gone_on), &[]), &page(None));
        assert!(held.contains("nobody wants it now\n"), "{held}");
        let request = proto::Request { superseded_by: Some(RunId(Uuid::nil())), ..request(1, 0) };
        let newer = super::text(&story(Some(request), None, &[]), &page(None));
        let line = format!("superseded by run {0}; `producer watch {0}`\n", Uuid::nil());
        assert!(newer.contains(&line), "{newer}");
        assert!(held.contains("1      w1      30 s ago  -       worker-lost: its lease ran out"));
        let ended = |work: (u32, u32)| {
            let ended = proto::State::Finished(finished(built_with(work.0, work.1)));
            super::text(&story(None, Some(record(1, ended)), &[]), &page(None))
        };
        let counted = ended((3, 1));
        let line = " with workers\n3 derivations built, 1 path downloaded\n\n";
        assert!(counted.contains(": built\n") && counted.contains(line), "{counted}");
        let valid = ended((0, 0));
        assert!(valid.contains(": built (nothing to build)\n"), "{valid}");
        assert!(valid.contains(" with workers\n\n"), "told once: {valid}");
    }

    #[test]
    fn the_object_has_the_shape_that_scripts_rely_on() {
        let shown = super::json(&disk_full_then_built(), STORED);
        let shown: Value = serde_json::from_str(&shown).expect("one object");
        let asking = |n: u128| Uuid::from_u128(n).to_string();
        let expected = json!({
            "job": format!("nixos-servers.{REV}.web"), "class": "aarch64-linux", "state": "queued",
            "outcome": null, "work": null,
            "waits": {"why": "no-worker", "since": 900_000, "worker": null, "reason": null,
                      "position": null, "of": null, "left_ms": null},
            "wanted_by": [{"run": Uuid::nil(), "by": "local", "priority": "normal",
                           "at": 900_000}],
            "superseded_by": null, "avoid_worker": null, "queued_ms": 0, "building_ms": 0, "between_ms": 0,
            "askings": [
                {"incarnation": asking(1), "asked_at": null, "outcome": "built",
                 "ended_at": 1_000_000, "dead": null, "attempts": [
                    {"epoch": 1, "worker": "w1", "began_at": 960_000, "ended_at": 970_000,
                     "end": "disk-full", "message": "no space",
                     "phases": [{"phase": "fetch", "at": 965_000}]},
                    {"epoch": 2, "worker": "w1", "began_at": 980_000, "ended_at": 1_000_000,
                     "end": "built", "message": null, "phases": []},
                ]},
                {"incarnation": asking(2), "asked_at": null, "outcome": null, "ended_at": null,
                 "dead": null, "attempts": []},
            ],
        });
        options::check_documented("explain", &shown);
        assert_eq!(shown, expected);
        let counted = record(1, proto::State::Finished(finished(built_with(3, 1))));
        let counted = super::json(&story(Some(request(1, 1)), Some(counted), &[]), STORED);
        let counted: Value = serde_json::from_str(&counted).expect("one object");
        options::check_documented("explain", &counted);
        assert_eq!(counted["work"], json!({"derivations": 3, "downloads": 1}));
    }
}
