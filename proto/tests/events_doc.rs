//! `docs/events.md` is complete: each kind of event has its line, with the fields that it has.

use proto::{
    InfraKind, Phase, Priority, RunId, Timestamp,
    event::{ClassChange, RunChange, What, WorkerChange},
};
use serde::Serialize;

const DOC: &str = include_str!("../../docs/events.md");

/// The line of a kind, in the table below the heading of whom it is about, names each of its fields.
#[track_caller]
fn check(about: &str, kind: &str, what: &impl Serialize) {
    let below = DOC.lines().skip_while(|line| !line.contains(&format!(": `nbp.event.{about}.")));
    let mut table = below.skip(1).take_while(|line| !line.starts_with('#'));
    let line = table.find(|line| line.starts_with(&format!("| `{kind}` |")));
    let line = line.unwrap_or_else(|| panic!("docs/events.md has no line of {about}.{kind}"));
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
        check("job", what.kind(), what);
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
        check("worker", what.kind(), what);
    }
}

#[test]
fn every_event_of_a_run_is_documented() {
    let hosts = Vec::new;
    let (git_ref, priority) = (Some(String::new()), Priority::High);
    let all = [
        RunChange::Submitted { git_ref, hosts: hosts(), priority, force: false },
        RunChange::Retried { hosts: hosts() },
        RunChange::Cancelled { hosts: hosts() },
        RunChange::Superseded { by_run: RunId(uuid::Uuid::nil()) },
    ];
    for what in &all {
        match what {
            RunChange::Submitted { .. } | RunChange::Retried { .. } => {}
            RunChange::Cancelled { .. } | RunChange::Superseded { .. } => {}
        }
        check("run", what.kind(), what);
    }
}

#[test]
fn every_event_of_a_class_is_documented() {
    let all = [ClassChange::Paused { until: Some(Timestamp(0)) }, ClassChange::Resumed];
    for what in &all {
        match what {
            ClassChange::Paused { .. } | ClassChange::Resumed => {}
        }
        check("class", what.kind(), what);
    }
}
