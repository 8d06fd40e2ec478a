use proto::{Incarnation, Record, Request};
use serde_json::json;

use super::*;

const NIL: &str = "00000000-0000-0000-0000-000000000000";
const STORED: u64 = 1_000_000;
const LEASE_MS: u64 = 60_000;

fn required(class: &str) -> Required {
    let job = "homelab.0123456789abcdef0123456789abcdef01234567.web".parse().expect("a job");
    let class = class.parse().expect("a class");
    Required { job, class, overrides: proto::Overrides::default(), advisory: false }
}

/// A job asked for now, with a record of that asking in this state.
fn seen(state: &serde_json::Value) -> Seen {
    let request = json!({"v": 1, "class": "x86_64-linux", "incarnation": NIL, "wanted_by": {}});
    let attempt = json!({"epoch": 1, "worker": "w1", "instance": NIL, "at": 5});
    let record =
        json!({"v": 1, "epoch": 1, "incarnation": NIL, "attempts": [attempt], "state": state});
    let request: Request = serde_json::from_value(request).expect("a request");
    let record: Record = serde_json::from_value(record).expect("a record");
    let time = Timestamp(STORED);
    Seen {
        request: bus::Entry { value: Some(request), revision: 1, time },
        record: bus::Entry { value: Some(record), revision: 1, time },
    }
}

fn running() -> serde_json::Value {
    json!({"is": "running", "instance": NIL, "worker": "w1", "lease_ms": LEASE_MS, "phase": "build"})
}

fn at(ms: u64) -> Timestamp {
    Timestamp(STORED + ms)
}

fn board(stands: Vec<Stand>, workers: Option<Vec<Presence>>) -> Board {
    let hosts = stands.into_iter().enumerate().map(|(n, stand)| (format!("h{n}"), stand));
    Shown { hosts: hosts.collect(), workers }.board(Timestamp(0))
}

fn worker(classes: &[&str], repos: &[&str]) -> Presence {
    let presence = json!({"v": 1, "worker": "w1", "instance": NIL, "classes": classes,
        "repos": repos, "slots": 1, "jobs": [], "version": "0", "since": 0});
    serde_json::from_value(presence).expect("a worker")
}

#[test]
fn a_worker_whose_lease_ran_out_a_while_ago_is_silent() {
    let silent = |ms| {
        let stand = stand("web", &required("x86_64-linux"), &seen(&running()), at(ms));
        board(vec![stand], None).running[0].silent
    };
    assert!(!silent(0));
    assert!(!silent(LEASE_MS + 9_000), "clocks differ");
    assert!(silent(LEASE_MS + 11_000));
}

#[test]
fn what_waits_says_for_what() {
    let infra = json!({"why": "infra", "kind": "disk-full", "message": "no room"});
    let waiting = |reason| {
        let state = json!({"is": "waiting", "delay_ms": 5, "reason": reason});
        stand("web", &required("x86_64-linux"), &seen(&state), at(0))
    };
    let mut other_asking = seen(&running());
    let record = other_asking.record.value.as_mut().expect("a record");
    record.incarnation = Incarnation(uuid::Uuid::from_u128(7));
    let stands = || {
        vec![
            waiting(json!({"why": "handed-back"})),
            waiting(infra.clone()),
            Stand::Queued(required("aarch64-linux")),
            stand("web", &required("x86_64-linux"), &other_asking, at(0)),
        ]
    };
    let waits = |workers| board(stands(), workers).waiting.into_keys().collect::<Vec<_>>();

    let retries = ["waiting: retry after a hand-back", "waiting: retry after disk-full"];
    assert_eq!(waits(None), ["queued", retries[0], retries[1]], "nobody looked");
    let served = worker(&["x86_64-linux"], &["homelab"]);
    let none = "queued: no worker for class aarch64-linux";
    assert_eq!(waits(Some(vec![served.clone()])), ["queued", none, retries[0], retries[1]]);
    let elsewhere = worker(&["x86_64-linux"], &["other"]);
    let repo = "queued: no worker for repo homelab of class x86_64-linux";
    assert_eq!(waits(Some(vec![elsewhere])), [none, repo, retries[0], retries[1]]);
    let draining = Presence { draining: true, ..served };
    let both = [none, "queued: no worker for class x86_64-linux", retries[0], retries[1]];
    assert_eq!(waits(Some(vec![draining])), both);
}
