//! Every row of the claim table, and the rows whose order matters.

use std::time::Duration;

use bus::{Entry, PublicKey};
use proto::{Failure, FailureKind, InfraKind, Outcome, Record, Request, record::AttemptEnd};

use super::{built, claimed, entry, finished, incarnation, request, settings};
use crate::{
    build::Plan,
    machine::claim::{Claimer, Decision, decide, vouched},
};

const MESSAGE: u128 = 1;

/// What a message of incarnation 1 meets, `seconds` after the start, at worker w1 instance 1.
fn met(record: &Entry<Record>, request: &Entry<Request>, seconds: u64) -> Decision {
    met_by(record, request, seconds, false)
}

fn met_by(record: &Entry<Record>, request: &Entry<Request>, seconds: u64, own: bool) -> Decision {
    let settings = settings();
    let claimer = Claimer {
        worker: &settings.worker,
        instance: settings.instance,
        standalone: own,
        server: super::at(seconds).server,
        attempts_max: settings.attempts_max,
        avoid_max: settings.avoid_max,
    };
    decide(record, request, incarnation(MESSAGE), None, &claimer)
}

fn wanted() -> Entry<Request> {
    entry(request(incarnation(MESSAGE), 1), 1, 0)
}

fn unwanted() -> Entry<Request> {
    entry(request(incarnation(MESSAGE), 0), 2, 0)
}

/// A record whose lost attempts are as many as given, the last one still running.
fn lost(attempts: usize) -> Record {
    let mut record = claimed(None, incarnation(MESSAGE), 2);
    for _ in 1..attempts {
        record = claimed(Some(&record), incarnation(MESSAGE), 2);
    }
    record
}

fn failed() -> Outcome {
    Outcome::Failed { kind: FailureKind::BuildFailed, failure: Failure::default() }
}

#[test]
fn a_message_of_another_incarnation_is_stale() {
    let other = entry(request(incarnation(2), 1), 1, 0);
    assert_eq!(met(&Entry::none(), &other, 0), Decision::Stale);
    assert_eq!(met(&Entry::none(), &Entry::none(), 0), Decision::Stale);
    // Stale before anything else: also when somebody builds it right now.
    let running = entry(claimed(None, incarnation(2), 2), 3, 0);
    assert_eq!(met(&running, &other, 1), Decision::Stale);
}

#[test]
fn a_finished_incarnation_is_acked_also_when_nobody_wants_it() {
    let done = entry(finished(&lost(1), failed()), 4, 0);
    assert_eq!(met(&done, &wanted(), 0), Decision::Finished);
    assert_eq!(met(&done, &unwanted(), 0), Decision::Finished);
}

#[test]
fn a_live_lease_is_respected_whoever_holds_it() {
    let left = |seconds| Decision::Later(Duration::from_secs(seconds));
    for holder in [1, 2] {
        let held = entry(claimed(None, incarnation(MESSAGE), holder), 3, 0);
        assert_eq!(met(&held, &wanted(), 20), left(40));
        // Also when nobody wants it any more: the holder's heartbeat sees to that.
        assert_eq!(met(&held, &unwanted(), 20), left(40));
        // Also when it is another incarnation that is being built.
        let other = entry(claimed(None, incarnation(9), holder), 3, 0);
        assert_eq!(met(&other, &wanted(), 20), left(40));
    }
}

#[test]
fn a_lease_that_ran_out_is_taken_over() {
    let held = entry(lost(1), 3, 0);
    assert_eq!(met(&held, &wanted(), 60), Decision::Claim(Plan::Full { force: false }));
}

#[test]
fn a_standalone_worker_takes_its_own_former_leases_over_at_once() {
    let mut former = lost(1);
    former = claimed(Some(&former), incarnation(MESSAGE), 1);
    let proto::State::Running(running) = &mut former.state else { panic!("a claim is running") };
    running.instance = super::instance(77);
    let held = entry(former, 3, 0);
    assert!(matches!(met_by(&held, &wanted(), 1, true), Decision::Claim(_)));
    assert!(matches!(met_by(&held, &wanted(), 1, false), Decision::Later(_)));
    let others = entry(lost(1), 3, 0);
    assert!(matches!(met_by(&others, &wanted(), 1, true), Decision::Later(_)));
}

#[test]
fn what_nobody_wants_is_closed_without_a_build() {
    assert_eq!(met(&Entry::none(), &unwanted(), 0), Decision::Close(Outcome::Cancelled));
    let mut superseded = unwanted();
    superseded.value.as_mut().expect("a request").superseded_by =
        Some(proto::RunId(uuid::Uuid::nil()));
    assert_eq!(met(&Entry::none(), &superseded, 0), Decision::Close(Outcome::Superseded));
}

#[test]
fn a_waiting_job_is_left_waiting_until_its_delay_is_over() {
    let end = AttemptEnd::Infra { kind: InfraKind::DiskFull, message: "full".into() };
    let waiting = entry(lost(1).waiting(30_000, end), 4, 0);
    assert_eq!(met(&waiting, &wanted(), 10), Decision::Later(Duration::from_secs(20)));
    assert!(matches!(met(&waiting, &wanted(), 30), Decision::Claim(_)));
    // A new incarnation does not wait for the old one's delay.
    let end = AttemptEnd::Infra { kind: InfraKind::DiskFull, message: "full".into() };
    let older = entry(claimed(None, incarnation(9), 2).waiting(30_000, end), 4, 0);
    assert!(matches!(met(&older, &wanted(), 10), Decision::Claim(_)));
}

#[test]
fn attempts_that_are_used_up_end_the_job() {
    let decision = met(&entry(lost(3), 5, 0), &wanted(), 60);
    let Decision::Close(Outcome::InfraFailed { kind, failure }) = decision else {
        panic!("not closed: {decision:?}")
    };
    assert_eq!(kind, InfraKind::WorkerLost);
    assert!(failure.message.contains("attempt 3 of 3"), "{}", failure.message);
    assert!(matches!(met(&entry(lost(2), 5, 0), &wanted(), 60), Decision::Claim(_)));
}

#[test]
fn a_hand_back_is_not_an_attempt() {
    let mut record = lost(2).waiting(0, AttemptEnd::HandedBack);
    for _ in 0..5 {
        record = claimed(Some(&record), incarnation(MESSAGE), 2).waiting(0, AttemptEnd::HandedBack);
    }
    assert_eq!(record.attempts_used(incarnation(MESSAGE)), 1);
    assert!(matches!(met(&entry(record, 5, 0), &wanted(), 60), Decision::Claim(_)));
}

#[test]
fn what_was_built_once_is_reused_unless_forced() {
    let before = finished(&claimed(None, incarnation(9), 2), Outcome::Built(built()));
    let before = entry(before, 4, 0);
    assert_eq!(met(&before, &wanted(), 1), Decision::Claim(Plan::Reuse(built())));
    let mut forced = wanted();
    forced.value.as_mut().expect("a request").force = true;
    assert_eq!(met(&before, &forced, 1), Decision::Claim(Plan::Full { force: true }));
    // Not with other overrides, whatever their digest.
    let mut overridden = wanted();
    overridden.value.as_mut().expect("a request").overrides = serde_json::from_str(
        r#"{"a":{"repo":"r","revision":"0123456789abcdef0123456789abcdef01234567"}}"#,
    )
    .expect("overrides");
    assert_eq!(met(&before, &overridden, 1), Decision::Claim(Plan::Full { force: false }));
    let broken = entry(finished(&claimed(None, incarnation(9), 2), failed()), 4, 0);
    assert_eq!(met(&broken, &wanted(), 1), Decision::Claim(Plan::Full { force: false }));
}

#[test]
fn a_poisoned_message_ends_its_job_but_never_one_in_other_hands() {
    let settings = settings();
    let claimer = Claimer {
        worker: &settings.worker,
        instance: settings.instance,
        standalone: false,
        server: super::at(1).server,
        attempts_max: 3,
        avoid_max: settings.avoid_max,
    };
    let poisoned = |record: &Entry<Record>, request: &Entry<Request>| {
        decide(record, request, incarnation(MESSAGE), Some("no JSON"), &claimer)
    };
    let decision = poisoned(&Entry::none(), &wanted());
    assert!(matches!(
        decision,
        Decision::Close(Outcome::InfraFailed { kind: InfraKind::Refused, .. })
    ));
    assert!(matches!(poisoned(&entry(lost(1), 3, 0), &wanted()), Decision::Later(_)));
    let done = entry(finished(&lost(1), Outcome::Built(built())), 3, 0);
    assert_eq!(poisoned(&done, &wanted()), Decision::Finished);
}

/// Wanted, written at the start, and to be left alone by worker w1.
fn avoids_w1() -> Entry<Request> {
    let mut request = wanted();
    request.value.as_mut().expect("a request").avoid_worker = Some("w1".parse().expect("a name"));
    request
}

#[test]
fn a_worker_to_be_avoided_leaves_the_job_to_others_for_a_while() {
    let later = |seconds| Decision::Later(Duration::from_secs(seconds));
    assert_eq!(met(&Entry::none(), &avoids_w1(), 1), later(2));
    assert_eq!(met(&Entry::none(), &avoids_w1(), 599), later(1));
    let claim = Decision::Claim(Plan::Full { force: false });
    assert_eq!(met(&Entry::none(), &avoids_w1(), 600), claim);
    // Its time begins anew when the request is written again, as by one who joins.
    let joined = Entry { time: super::at(300).server, ..avoids_w1() };
    assert_eq!(met(&Entry::none(), &joined, 600), later(2));
    // Others take it at once, and so does one that is alone.
    let mut other = avoids_w1();
    other.value.as_mut().expect("a request").avoid_worker = Some("w2".parse().expect("a name"));
    assert_eq!(met(&Entry::none(), &other, 1), claim);
    assert_eq!(met_by(&Entry::none(), &avoids_w1(), 1, true), claim);
}

#[test]
fn a_worker_to_be_avoided_still_closes_what_needs_no_build() {
    let mut unwanted = avoids_w1();
    unwanted.value.as_mut().expect("a request").wanted_by.clear();
    assert_eq!(met(&Entry::none(), &unwanted, 1), Decision::Close(Outcome::Cancelled));
    let done = entry(finished(&lost(1), failed()), 4, 0);
    assert_eq!(met(&done, &avoids_w1(), 1), Decision::Finished);
    let spent = met(&entry(lost(3), 5, 0), &avoids_w1(), 60);
    assert!(matches!(spent, Decision::Close(Outcome::InfraFailed { .. })), "{spent:?}");
}

#[test]
fn a_worker_with_a_key_takes_over_only_what_it_signed_itself() {
    let job = super::subject("h", incarnation(MESSAGE)).job;
    let record = finished(&claimed(None, incarnation(9), 2), Outcome::Built(built()));
    let (reuse, anew) = (Plan::Reuse(built()), Plan::Full { force: false });
    let key = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4";
    let key: PublicKey = key.parse().expect("a public key");
    let check = |own: Option<&PublicKey>, plan: &Plan, expected: &Plan| {
        assert_eq!(&vouched(plan.clone(), &job, Some(&record), own), expected);
    };
    check(None, &reuse, &reuse);
    // Nobody signed it.
    check(Some(&key), &reuse, &anew);
    let force = Plan::Full { force: true };
    check(Some(&key), &force, &force);
}
