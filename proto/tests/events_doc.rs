//! `docs/events.md` is complete: each kind of event has its line, with the fields that it has.

use proto::{
    InfraKind, Phase,
    event::{What, WorkerChange},
};
use serde::Serialize;

const DOC: &str = include_str!("../../docs/events.md");

/// The table's line of a kind names each of its fields.
#[track_caller]
fn check(kind: &str, what: &impl Serialize) {
    let line = DOC.lines().find(|line| line.starts_with(&format!("| `{kind}` |")));
    let line = line.unwrap_or_else(|| panic!("docs/events.md has no line of {kind}"));
    let value = serde_json::to_value(what).expect("encodes");
    assert_eq!(value["kind"], kind, "the subject and the payload name it alike");
    for field in value.as_object().expect("an object").keys().filter(|field| *field != "kind") {
        assert!(line.contains(&format!("`{field}`")), "{kind} has {field}, not in: {line}");
    }
}

#[test]
fn every_event_of_a_job_is_documented() {
    let text = String::new;
    let all = [
        What::Claimed,
        What::Phase { phase: Phase::Fetch },
        What::Retrying { reason: InfraKind::DiskFull, message: text(), delay_ms: 1 },
        What::HandedBack,
        What::Fenced,
        What::Late { outcome: text() },
        What::Requeued,
        What::Pruned,
        What::Refused { reason: text() },
        What::Finished { outcome: text() },
        What::Dead { reason: text() },
    ];
    for what in &all {
        // A new kind does not compile here before it is in the list above.
        match what {
            What::Claimed | What::Phase { .. } | What::Retrying { .. } | What::HandedBack => {}
            What::Fenced | What::Late { .. } | What::Requeued | What::Pruned => {}
            What::Finished { .. } | What::Dead { .. } | What::Refused { .. } => {}
        }
        check(what.kind(), what);
    }
}

#[test]
fn every_event_of_a_worker_is_documented() {
    let all =
        [WorkerChange::Ready, WorkerChange::Paused { why: String::new() }, WorkerChange::Draining];
    for what in &all {
        match what {
            WorkerChange::Ready | WorkerChange::Paused { .. } | WorkerChange::Draining => {}
        }
        check(what.kind(), what);
    }
}
