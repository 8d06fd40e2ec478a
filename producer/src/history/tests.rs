use proto::{FailureKind, InfraKind};
use stand::examples::{built, built_with, entry, failed, finished, job, record, running};

use super::*;

/// The `n`th revision, which ended so at `n`.
pub(crate) fn past(n: u64, outcome: Outcome, build_ms: u64) -> Past {
    let at = Timestamp(n);
    let finished = Finished { at, build_ms, ..finished(outcome) };
    let revision = format!("{n:040x}").parse().expect("a revision");
    let job = JobKey { revision, ..job("web") };
    Past::of(job, entry(Some(record(1, State::Finished(finished))))).expect("a record")
}

pub(crate) fn history(past: Vec<Past>) -> History {
    let job = job("web");
    History::of(job.repo, job.host, past)
}

fn undecided() -> Outcome {
    Outcome::InfraFailed { kind: InfraKind::DiskFull, failure: Failure::default() }
}

/// Order of the first bad and the last good revision, and how many failed.
#[track_caller]
fn check(past: Vec<Past>, expected: Option<(u64, Option<u64>, usize)>) {
    let history = history(past);
    let found = history
        .broken()
        .map(|it| (it.first_bad.at.0, it.last_good.map(|good| good.at.0), it.failures));
    assert_eq!(found, expected);
}

#[test]
fn the_first_bad_revision_is_the_oldest_failure_that_no_success_followed() {
    let (good, bad) = (|n| past(n, built(false), 1), |n| past(n, failed(), 1));
    check(vec![], None);
    check(vec![good(1), bad(2), good(3)], None);
    check(vec![bad(1)], Some((1, None, 1)));
    // In whatever order they were read.
    check(vec![bad(4), good(1), bad(2), good(3), bad(5)], Some((4, Some(3), 2)));
    // What is undecided neither breaks nor mends anything.
    check(
        vec![good(1), past(2, undecided(), 1), bad(3), past(4, undecided(), 1)],
        Some((3, Some(1), 1)),
    );
    check(vec![good(1), past(2, Outcome::Cancelled, 1)], None);
}

#[test]
fn revisions_that_nobody_committed_break_nothing() {
    let over = |n: u64| Past {
        revision: format!("{n:040x}-0123456789ab").parse().expect("a revision"),
        ..past(n, failed(), 1)
    };
    check(vec![past(1, built(false), 1), over(2)], None);
}

#[test]
fn the_trend_compares_real_builds_only() {
    let took = |n, ms| past(n, built(false), ms);
    assert_eq!(history(vec![took(1, 5)]).trend(), None);
    let reused = past(5, built(true), 1);
    let failed = past(6, failed(), 1);
    let trend = history(vec![took(1, 10), took(2, 30), took(3, 20), took(4, 90), reused, failed]);
    let expected = Trend { newest_ms: 90, median_ms: 20, over: 3 };
    assert_eq!(trend.trend(), Some(expected));
    // Neither does a commit that changes nothing in the host; a download takes its time.
    let trend = |derivations, downloads| {
        let newest = past(9, built_with(derivations, downloads), 2);
        history(vec![took(1, 60), took(2, 60), newest]).trend().map(|it| it.newest_ms)
    };
    assert_eq!([trend(0, 0), trend(0, 1), trend(1, 0)], [Some(60), Some(2), Some(2)]);
    // Old ones say nothing about today.
    let many = (1..=30).map(|n| took(n, if n < 15 { 1000 } else { 10 })).collect();
    assert_eq!(history(many).trend(), Some(Trend { newest_ms: 10, median_ms: 10, over: 10 }));
}

#[test]
fn the_newest_comes_first_and_what_goes_on_has_no_end() {
    let going_on = Past::of(job("web"), entry(Some(record(1, running())))).expect("a record");
    assert_eq!((going_on.at, going_on.standing()), (stand::examples::STORED, None));
    let kind = FailureKind::EvalFailed;
    let failure = Failure { log_tail: vec!["x".into(); 100], ..Failure::message("no") };
    let broken = past(1, Outcome::Failed { kind, failure }, 1);
    let ended = broken.ended.as_ref().expect("it ended");
    assert_eq!(ended.outcome, "eval-failed");
    assert_eq!(ended.failure, Some(Failure::message("no")), "without its log");
    let history = history(vec![broken, going_on.clone()]);
    assert_eq!(history.past[0], going_on);
    assert_eq!(Past::of(job("web"), bus::Entry::none()), None);
}
