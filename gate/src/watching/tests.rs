use std::collections::BTreeMap;

use bus::{Lane, LaneState};
use proto::{
    AttemptEnd, InfraKind, Presence, Priority, Record, State, Waiting, subject::JobSubject,
};
use stand::examples::{class, entry, job, presence, record, request, running};

use super::*;

const NOW: Timestamp = Timestamp(1_001_000);

/// A gate that waits for these hosts, by their labels.
fn waits_for(hosts: &[&str]) -> Shown {
    let required = |host: &&str| {
        let (job, class) = (job(host), class("aarch64-linux"));
        let overrides = proto::Overrides::default();
        (format!("r/{host}"), Required { job, class, overrides, advisory: false })
    };
    Shown::unseen(&hosts.iter().map(required).collect())
}

/// Asked for by somebody, and with this record.
fn seen(record: Option<Record>) -> Seen {
    Seen { request: entry(Some(request(1, 1))), record: entry(record) }
}

fn queued(host: &str) -> JobSubject {
    let (class, priority) = (class("aarch64-linux"), Priority::Normal);
    JobSubject { class, priority, job: job(host), incarnation: request(1, 1).incarnation }
}

fn around(workers: Vec<Presence>, hosts: &[&str], state: LaneState) -> Around {
    let lane = Lane { class: class("aarch64-linux"), priority: Priority::Normal, state };
    Around::of(workers, hosts.iter().map(|host| queued(host)).collect(), vec![lane])
}

fn waits(shown: &Shown) -> Vec<String> {
    let waiting: BTreeMap<String, usize> = shown.board(NOW).waiting;
    waiting.into_iter().map(|(why, hosts)| format!("{hosts} {why}")).collect()
}

#[test]
fn what_waits_says_for_what_as_soon_as_somebody_looked() {
    let mut shown = waits_for(&["a", "b"]);
    assert_eq!(waits(&shown), ["2 queued"], "nobody looked");
    shown.sees("r/a", seen(None), None, NOW);
    shown.sees("r/b", seen(None), None, NOW);
    assert_eq!(waits(&shown), ["2 queued"], "nobody looked around");
    assert_eq!(shown.line(), "0 of 2 hosts have ended", "nobody is blamed for what nobody knows");
    let classes = shown.wonders_why().expect("they wait");
    assert_eq!(classes, [class("aarch64-linux")].into());

    let arm = || vec![presence("aarch64-linux")];
    let mut look = |workers, state| {
        shown.knows(around(workers, &["x", "a", "b"], state), NOW);
        (waits(&shown), shown.line())
    };
    let open = LaneState::Open;
    let none = "0 of 2 hosts have ended";
    let (waits, line) = look(arm(), open);
    assert_eq!(waits, ["2 queued, the first of them as 2 of 3"]);
    assert_eq!(line, none, "their turn comes");
    let paused = "2 queued: class aarch64-linux is paused; `producer resume aarch64-linux`";
    let (waits, line) = look(arm(), LaneState::Paused(Duration::from_secs(9)));
    assert_eq!(waits, [paused]);
    assert_eq!(line, format!("{none}, {paused}"));
    let (waits, _) = look(arm(), LaneState::Missing);
    assert!(waits[0].starts_with("2 queued: nobody set class aarch64-linux up; "), "{waits:?}");
    let (waits, _) = look(Vec::new(), open);
    assert!(waits[0].starts_with("2 queued: no worker for class aarch64-linux"), "{waits:?}");
    let full = Presence { paused: Some("the disk is full".into()), ..presence("aarch64-linux") };
    let (waits, _) = look(vec![full], open);
    assert_eq!(waits, ["2 queued: w1 takes nothing now: the disk is full"]);
}

#[test]
fn what_a_worker_has_or_has_ended_is_ahead_of_no_other() {
    let mut shown = waits_for(&["a", "b", "c"]);
    shown.sees("r/a", seen(Some(record(1, running()))), None, NOW);
    let built = HostResult {
        standing: HostStanding::Built,
        outcome: "built".into(),
        drv_path: None,
        out_path: None,
        leaf: None,
        message: None,
        attempts: 1,
        build_ms: 0,
        reused: false,
        flaky: false,
        pre_existing: false,
        advisory: false,
    };
    shown.sees("r/b", seen(None), Some(&built), NOW);
    shown.sees("r/c", seen(None), None, NOW);
    // No worker has told so far what became of the others.
    let workers = vec![presence("aarch64-linux")];
    shown.knows(around(workers, &["a", "b", "c"], LaneState::Open), NOW);

    let board = shown.board(NOW);

    let rows: Vec<&str> = board.running.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(rows, ["r/a"]);
    assert_eq!(waits(&shown), ["1 queued, the first of them as 1 of 1"]);
    assert_eq!(board.ended, [(Mood::Good, "built".to_owned(), 1)]);
    assert_eq!((board.expected, shown.line().as_str()), (3, "1 of 3 hosts have ended"));
}

#[test]
fn what_the_gate_has_still_to_ask_for_is_nobodys_fault() {
    let mut shown = waits_for(&["a"]);
    shown.knows(around(Vec::new(), &[], LaneState::Open), NOW);
    shown.sees("r/a", Seen { request: entry(None), record: entry(None) }, None, NOW);
    assert_eq!(waits(&shown), ["1 queued"]);
    assert_eq!(shown.line(), "0 of 1 hosts have ended");
}

#[test]
fn nothing_is_asked_while_nothing_is_queued() {
    let mut shown = waits_for(&["a", "b"]);
    shown.sees("r/a", seen(Some(record(1, running()))), None, NOW);
    let reason = AttemptEnd::Infra { kind: InfraKind::DiskFull, message: "no".into() };
    let waiting = State::Waiting(Waiting { delay_ms: 30_000, reason });
    let retried = || seen(Some(record(1, waiting.clone())));
    shown.sees("r/b", retried(), None, NOW);
    assert_eq!(shown.wonders_why(), None);
    assert_eq!(waits(&shown), ["1 waiting: retry after disk-full"]);

    // Its time has come, and nobody takes it.
    let later = Timestamp(NOW.0 + 60_000);
    shown.sees("r/b", retried(), None, later);
    assert!(shown.wonders_why().is_some());
    shown.knows(around(Vec::new(), &["b"], LaneState::Open), later);
    let waits = waits(&shown);
    assert!(waits[0].starts_with("1 queued: no worker for class aarch64-linux"), "{waits:?}");
}
