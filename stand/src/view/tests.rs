//! How a host stands: the table.

use proto::{InfraKind, Presence, Priority, RunId, Waiting};
use uuid::Uuid;

use super::*;
use crate::examples::*;

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
fn what_nobody_looked_at_is_blamed_on_nobody() {
    let seen = Seen { request: entry(Some(request(1, 1))), record: entry(None) };
    let phrase = |around: &Around| {
        let look = Look { around, now: STORED };
        HostStatus::of(job("web"), &class("x86_64-linux"), &seen, look).phrase()
    };
    assert_eq!(phrase(&Around::default()), "queued");
    assert_eq!(phrase(&Around::default().with(Vec::new())), "queued");
    assert!(phrase(&Around::of(Vec::new(), Vec::new(), Vec::new())).contains("no worker for"));
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
    check(asked(), Some(record(1, finished(built_with(0, 0)))), &[], "built (nothing to build)");
    check(asked(), Some(record(1, finished(built_with(0, 1)))), &[], "built");
    check(asked(), Some(record(1, finished(failed()))), &[], "build-failed");
    // The request was pruned: the record stands for itself.
    check(None, Some(record(1, finished(failed()))), &[], "build-failed");
}

#[test]
fn what_was_done_is_told_by_number() {
    let check = |derivations, downloads, long: &str, short: &str| {
        let work = Work { derivations, downloads };
        assert_eq!((done(work).as_str(), mainly_done(work).as_str()), (long, short));
    };
    check(0, 0, "nothing to build", "nothing to build");
    check(1, 0, "1 derivation built", "1 built");
    check(0, 20, "20 paths downloaded", "20 downloaded");
    check(3, 1, "3 derivations built, 1 path downloaded", "3 built");
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
    let phrase = "running (evaluate) on w1, being cancelled";
    check(Some(request(1, 0)), Some(record(1, running())), &[], phrase);
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
