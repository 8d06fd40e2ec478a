//! Brokers and workers that go away in the middle.

use std::time::{Duration, Instant};

use serde_json::Value;
use tests::{Flake, NixStore, Pool, WorkerOptions, eventually, flake::system_name};

use crate::{DEADLINE, all_built, among_rivals, host};

const ALL: [&str; 7] = ["submit", "--repo", "homelab", "--all", "--ref", "master", "--wait"];

#[test]
fn a_broker_killed_in_the_middle_loses_nothing_and_nothing_is_built_twice() {
    let mut pool = Pool::start();
    pool.commit("master", &Flake::hosts(16).seconds(0.2).held("h05"));
    let _worker = pool.worker("w1");
    let mut submit = pool.spawn_producer("submit", &ALL);
    pool.store.wait_for_build(&system_name("h05"), DEADLINE);

    pool.nats.kill();
    pool.store.release("h05");
    pool.nats.restart();

    assert!(submit.wait(DEADLINE).success(), "{}", submit.log());
    for n in 1..=16 {
        let name = system_name(&format!("h{n:02}"));
        assert_eq!(pool.store.builds_begun(&name), 1, "{name}");
    }
    eventually("an empty queue", DEADLINE, || (pool.messages("NBP_JOBS") == 0).then_some(()));
}

#[test]
fn a_worker_told_to_stop_finishes_what_it_builds() {
    let pool = Pool::start();
    let rev = pool.commit("master", &Flake::hosts(1).held("h01"));
    let mut worker = pool.worker("w1");
    pool.submit(&["h01", "--rev", &rev]).expect_code(0);
    pool.store.wait_for_build(&system_name("h01"), DEADLINE);

    worker.sigterm();
    worker.wait_for_log("told to stop", DEADLINE);
    eventually("the registry to say so", DEADLINE, || {
        (pool.bucket("nbp-workers").get("w1")?["draining"] == true).then_some(())
    });
    pool.store.release("h01");

    assert!(worker.wait(DEADLINE).success(), "{}", worker.log());
    let record = pool.result(&rev, "h01").expect("a result");
    assert_eq!(record["state"]["outcome"]["result"], "built", "{record:#}");
    assert_eq!(pool.messages("NBP_JOBS"), 0);
    assert_eq!(pool.store.builders(), Vec::<u32>::new());
}

#[test]
fn a_worker_that_cannot_finish_in_time_hands_the_job_back_without_an_attempt() {
    a_hand_back(&Pool::start());
}

pub(crate) fn a_hand_back(pool: &Pool) {
    let second = NixStore::new();
    second.release("h01");
    let rev = pool.commit("master", &Flake::hosts(1).held("h01"));
    let mut first =
        pool.worker_with("w1", &WorkerOptions { drain_timeout: "200ms", ..Default::default() });
    let mut submit = pool
        .spawn_producer("submit", &["submit", "--repo", "homelab", "h01", "--rev", &rev, "--wait"]);
    pool.store.wait_for_build(&system_name("h01"), DEADLINE);

    first.sigterm();
    assert!(first.wait(DEADLINE).success(), "{}", first.log());
    assert_eq!(pool.store.builders(), Vec::<u32>::new(), "the builder is gone with its worker");
    let _second =
        pool.worker_with("w2", &WorkerOptions { store: Some(&second), ..Default::default() });

    assert!(submit.wait(DEADLINE).success(), "{}", submit.log());
    let record = pool.result(&rev, "h01").expect("a result");
    let ends: Vec<&Value> = record["attempts"]
        .as_array()
        .expect("attempts")
        .iter()
        .map(|it| &it["end"]["why"])
        .collect();
    assert_eq!(ends, [&Value::from("handed-back"), &Value::Null], "{record:#}");
}

#[test]
fn a_second_order_to_stop_ends_a_worker_at_once() {
    let pool = Pool::start();
    let rev = pool.commit("master", &Flake::hosts(1).held("h01"));
    let mut worker = pool.worker("w1");
    pool.submit(&["h01", "--rev", &rev]).expect_code(0);
    pool.store.wait_for_build(&system_name("h01"), DEADLINE);

    worker.sigterm();
    worker.wait_for_log("told to stop", DEADLINE);
    worker.sigterm();

    worker.wait(Duration::from_secs(10));
    eventually("no builder left", DEADLINE, || pool.store.builders().is_empty().then_some(()));
}

#[test]
fn a_killed_worker_leaves_no_builder_and_its_job_is_taken_over() {
    a_killed_worker(&Pool::start());
}

pub(crate) fn a_killed_worker(pool: &Pool) {
    let second = NixStore::new();
    second.release("h01");
    let rev = pool.commit("master", &Flake::hosts(1).held("h01"));
    let mut first = pool.worker("w1");
    pool.submit(&["h01", "--rev", &rev]).expect_code(0);
    pool.store.wait_for_build(&system_name("h01"), DEADLINE);

    let other =
        pool.worker_with("w2", &WorkerOptions { store: Some(&second), ..Default::default() });
    other.wait_for_log("ready for jobs", DEADLINE);

    first.sigkill();
    let killed = Instant::now();
    other.wait_for_log("h01: claimed", DEADLINE);
    let took = killed.elapsed();
    // The lease is 2 s here.
    assert!(took < among_rivals(Duration::from_secs(4)), "taken over after {took:?}");

    let answer = pool.submit(&["h01", "--rev", &rev, "--wait", "--json"]);
    let answer = all_built(answer, 1);
    assert_eq!(host(&answer, "h01")["worker"], "w2");
    assert_eq!(host(&answer, "h01")["attempt"], 2);
    eventually("no builder left", DEADLINE, || pool.store.builders().is_empty().then_some(()));
}

#[test]
fn a_frozen_worker_that_wakes_changes_nothing() {
    a_frozen_worker(&Pool::start());
}

pub(crate) fn a_frozen_worker(pool: &Pool) {
    let second = NixStore::new();
    let rev = pool.commit("master", &Flake::hosts(1).held("h01"));
    let first = pool.worker("w1");
    pool.submit(&["h01", "--rev", &rev]).expect_code(0);
    pool.store.wait_for_build(&system_name("h01"), DEADLINE);

    first.sigstop();
    let _second =
        pool.worker_with("w2", &WorkerOptions { store: Some(&second), ..Default::default() });
    second.wait_for_build(&system_name("h01"), DEADLINE);
    // What the first one builds comes to its end as it wakes: late, and of no use.
    pool.store.release("h01");
    first.sigcont();

    first.wait_for_log("another worker has it", DEADLINE);
    eventually("no builder left", DEADLINE, || pool.store.builders().is_empty().then_some(()));
    let fenced = || pool.events("nbp.event.job.fenced.>");
    eventually("the event", DEADLINE, || (!fenced().is_empty()).then_some(()));
    // The second one builds still: nobody has acked its message or written its record.
    assert_eq!(pool.messages("NBP_JOBS"), 1);
    let record = pool.result(&rev, "h01").expect("a record");
    assert_eq!(
        (&record["state"]["is"], &record["state"]["worker"]),
        (&"running".into(), &"w2".into())
    );
    second.release("h01");

    let answer = all_built(pool.submit(&["h01", "--rev", &rev, "--wait", "--json"]), 1);
    assert_eq!(host(&answer, "h01")["worker"], "w2");
    let key = format!("{}.{rev}.h01", tests::pool::REPO);
    let ends: Vec<Value> = pool.histories("nbp-results")[&key]
        .iter()
        .filter(|it| it["state"]["is"] == "finished" && it["incarnation"] == record["incarnation"])
        .map(|it| it["epoch"].clone())
        .collect();
    assert_eq!(ends, [2]);
    let fenced = fenced();
    assert_eq!(fenced.len(), 1);
    assert_eq!((&fenced[0]["worker"], &fenced[0]["epoch"]), (&"w1".into(), &1.into()));
}
