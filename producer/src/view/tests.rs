//! How a host stands: the table, and the makers of records that other tests of this crate use.

use std::collections::BTreeMap;

use proto::{
    Attempt, Built, Epoch, Failure, FailureKind, Incarnation, InfraKind, Instance, Phase, Priority,
    RunId, V1, Waiting, Wish,
};
use uuid::Uuid;

use super::*;

pub(crate) const REV: &str = "0123456789abcdef0123456789abcdef01234567";
pub(crate) const STORED: Timestamp = Timestamp(1_000_000);

pub(crate) fn job(host: &str) -> JobKey {
    format!("nixos-servers.{REV}.{host}").parse().expect("a job key")
}

pub(crate) fn class(name: &str) -> Class {
    name.parse().expect("a class")
}

pub(crate) fn worker() -> WorkerName {
    "w1".parse().expect("a worker")
}

pub(crate) fn entry<T>(value: Option<T>) -> Entry<T> {
    Entry { value, revision: 1, time: STORED }
}

pub(crate) fn request(incarnation: u128, wishes: u128) -> Request {
    let wish = |n: u128| {
        let by = proto::Identity::local();
        let at = Timestamp(900_000 + u64::try_from(n).expect("small"));
        (RunId(Uuid::from_u128(n)), Wish { priority: Priority::Normal, by, at })
    };
    Request {
        v: V1,
        class: class("aarch64-linux"),
        incarnation: Incarnation(Uuid::from_u128(incarnation)),
        wanted_by: (0..wishes).map(wish).collect::<BTreeMap<_, _>>(),
        force: false,
        avoid_worker: None,
        overrides: proto::Overrides::default(),
        superseded_by: None,
        trace: None,
    }
}

pub(crate) fn record(incarnation: u128, state: State) -> Record {
    let instance = Instance(Uuid::nil());
    let attempt =
        |epoch, end| Attempt { epoch: Epoch(epoch), worker: worker(), instance, at: STORED, end };
    let attempts = vec![attempt(1, Some(AttemptEnd::WorkerLost)), attempt(2, None)];
    let incarnation = Incarnation(Uuid::from_u128(incarnation));
    Record { v: V1, epoch: Epoch(2), incarnation, attempts, state }
}

pub(crate) fn running() -> State {
    State::Running(Running {
        instance: Instance(Uuid::nil()),
        claim: 1,
        worker: worker(),
        lease_ms: 60_000,
        phase: Phase::Evaluate,
        progress: None,
    })
}

pub(crate) fn finished(outcome: Outcome) -> Finished {
    let (worker, signature, phases) = (Some(worker()), None, Vec::new());
    let overrides = proto::Overrides::default();
    Finished {
        outcome,
        at: STORED,
        worker,
        queue_ms: 1500,
        build_ms: 62_000,
        phases,
        overrides,
        signature,
    }
}

pub(crate) fn built(reused: bool) -> Outcome {
    let (out_path, drv_path) = ("/nix/store/x-web".into(), "/nix/store/y-web.drv".into());
    Outcome::Built(Built { out_path, drv_path, closure_bytes: 1, reused, diff: None })
}

pub(crate) fn failed() -> Outcome {
    let failure = Failure {
        message: "builder for nginx failed".into(),
        drv: Some("/nix/store/0000000000000000000000000000000a-nginx-1.27.drv".into()),
        log_tail: vec!["cc: \u{1b}[31mno\u{1b}[0m".into()],
    };
    Outcome::Failed { kind: FailureKind::BuildFailed, failure }
}

pub(crate) fn presence(of: &str) -> Presence {
    Presence {
        v: V1,
        worker: worker(),
        instance: Instance(Uuid::nil()),
        classes: vec![class(of)],
        repos: vec![job("web").repo],
        slots: 2,
        labels: BTreeMap::new(),
        jobs: Vec::new(),
        draining: false,
        paused: None,
        room: None,
        version: "0".into(),
        since: STORED,
    }
}

pub(crate) fn status(host: &str, attempt: Option<usize>, stand: Stand) -> HostStatus {
    let claim = attempt.map(|_| Claim { epoch: Epoch(1), at: Timestamp(1) });
    HostStatus { job: job(host), class: class("x86_64-linux"), attempt, claim, stand }
}

#[track_caller]
fn check(request: Option<Request>, record: Option<Record>, workers: &[Presence], phrase: &str) {
    let seen = Seen { request: entry(request), record: entry(record) };
    let around = Around::of(workers.to_vec(), Vec::new(), Vec::new());
    let look = Look { around: &around, now: Timestamp(STORED.0 + 20_000) };
    let status = HostStatus::of(job("web"), &class("x86_64-linux"), &seen, look);
    assert_eq!(status.phrase(), phrase);
}

#[test]
fn a_job_without_a_fact_is_queued_and_says_what_it_waits_for() {
    let arm = presence("aarch64-linux");
    let asked = || Some(request(1, 2));
    let nobody = "queued: no worker for class aarch64-linux (asked for 1970-01-01T00:15:00Z)";
    check(None, None, &[], "queued: its submit did not end; run it again");
    check(asked(), None, &[], nobody);
    check(asked(), None, &[presence("x86_64-linux")], nobody);
    check(asked(), None, &[Presence { draining: true, ..arm.clone() }], nobody);
    check(asked(), None, std::slice::from_ref(&arm), "queued");
    let unsaid = Presence { repos: Vec::new(), ..arm.clone() };
    check(asked(), None, &[unsaid], "queued");
    let other = Presence { repos: vec!["other".parse().expect("a repo")], ..arm.clone() };
    let nobody = "queued: no worker for repo nixos-servers of class aarch64-linux \
                  (asked for 1970-01-01T00:15:00Z)";
    check(asked(), None, std::slice::from_ref(&other), nobody);
    check(asked(), None, &[other, arm.clone()], "queued");
    let paused = Presence { paused: Some("disk is full".into()), ..arm.clone() };
    let told = "queued: w1 takes nothing now: disk is full";
    check(asked(), None, std::slice::from_ref(&paused), told);
    check(asked(), None, &[paused, arm], "queued");
}

#[test]
fn a_class_that_is_not_handed_out_says_what_helps() {
    let said = |state| {
        let priority = Priority::Normal;
        let lane = bus::Lane { class: class("aarch64-linux"), priority, state };
        let around = Around::of(vec![presence("aarch64-linux")], Vec::new(), vec![lane]);
        let seen = Seen { request: entry(Some(request(1, 1))), record: entry(None) };
        let look = Look { around: &around, now: STORED };
        HostStatus::of(job("web"), &class("x86_64-linux"), &seen, look).phrase()
    };
    assert_eq!(said(LaneState::Open), "queued");
    let paused = said(LaneState::Paused(Duration::from_secs(60)));
    assert_eq!(paused, "queued: class aarch64-linux is paused; `producer resume aarch64-linux`");
    let missing = said(LaneState::Missing);
    assert!(missing.ends_with("`producer setup --classes aarch64-linux`"), "{missing}");
}

#[test]
fn the_record_of_the_current_asking_tells_the_state() {
    let asked = || Some(request(1, 1));
    check(asked(), Some(record(1, running())), &[], "running (evaluate) on w1");
    let kind = InfraKind::DiskFull;
    let reason = AttemptEnd::Infra { kind, message: "no".into() };
    let waiting = State::Waiting(Waiting { delay_ms: 30_000, reason });
    check(asked(), Some(record(1, waiting.clone())), &[], "waiting: retry after disk-full");
    // Its delay is over: what keeps it is what keeps every queued job.
    let over = |workers: &[Presence]| {
        let around = Around::of(workers.to_vec(), Vec::new(), Vec::new());
        let look = Look { around: &around, now: Timestamp(STORED.0 + 31_000) };
        let seen =
            Seen { request: entry(asked()), record: entry(Some(record(1, waiting.clone()))) };
        HostStatus::of(job("web"), &class("x86_64-linux"), &seen, look).phrase()
    };
    let nobody = "queued: no worker for class aarch64-linux (asked for 1970-01-01T00:15:00Z)";
    assert_eq!(over(&[]), nobody);
    assert_eq!(over(&[presence("aarch64-linux")]), "waiting: retry after disk-full");
    let finished = |outcome| State::Finished(finished(outcome));
    check(asked(), Some(record(1, finished(built(false)))), &[], "built");
    check(asked(), Some(record(1, finished(built(true)))), &[], "built (reused)");
    check(asked(), Some(record(1, finished(failed()))), &[], "build-failed");
    // The request was pruned: the record stands for itself.
    check(None, Some(record(1, finished(failed()))), &[], "build-failed");
}

#[test]
fn the_record_of_an_older_asking_tells_nothing() {
    let arm = [presence("aarch64-linux")];
    let old = |state| Some(record(1, state));
    check(Some(request(2, 1)), old(State::Finished(finished(built(false)))), &arm, "queued");
    check(Some(request(2, 1)), old(running()), &arm, "queued");
}

#[test]
fn what_nobody_wants_any_more_reads_as_cancelled() {
    check(Some(request(1, 0)), None, &[], "cancelled");
    let reason = AttemptEnd::HandedBack;
    let waiting = State::Waiting(Waiting { delay_ms: 30_000, reason });
    check(Some(request(1, 0)), Some(record(1, waiting)), &[], "cancelled");
    // It may be built a moment before it is killed.
    check(Some(request(1, 0)), Some(record(1, running())), &[], "running (evaluate) on w1");
    let superseded_by = Some(RunId(Uuid::nil()));
    check(Some(Request { superseded_by, ..request(1, 0) }), None, &[], "superseded");
    let built = State::Finished(finished(built(false)));
    check(Some(request(1, 0)), Some(record(1, built)), &[], "built");
}

#[test]
fn a_worker_that_is_silent_beyond_its_lease_is_named() {
    let seen =
        Seen { request: entry(Some(request(1, 1))), record: entry(Some(record(1, running()))) };
    let at = |ms: u64| {
        let look = Look { around: &Around::default(), now: Timestamp(STORED.0 + ms) };
        HostStatus::of(job("web"), &class("x86_64-linux"), &seen, look)
    };
    assert_eq!(at(65_000).phrase(), "running (evaluate) on w1");
    assert_eq!(at(90_000).phrase(), "running (evaluate), but w1 is silent");
    assert_eq!((at(0).attempt, at(0).state()), (Some(2), "running"));
    assert_eq!(at(0).class.as_str(), "aarch64-linux");
}
