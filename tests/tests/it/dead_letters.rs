//! What will not be tried again by itself: listed, shown, asked for again, forgotten.

use serde_json::Value;
use tests::{Flake, Pool, WorkerOptions, eventually, flake::system_name, process::run};

use crate::{DEADLINE, all_built, host, text};

fn letters(pool: &Pool, count: usize) -> Vec<Value> {
    eventually("the dead letters", DEADLINE, || {
        let list = pool.producer(&["dead", "list", "--json"]).expect_code(0).json();
        let list = list.as_array().expect("a list").clone();
        (list.len() == count).then_some(list)
    })
}

/// A pool in which the git server was away until the job was dead. Its letter is number 1.
fn with_a_dead_job(pool: &Pool) -> String {
    let rev = pool.commit("master", &Flake::hosts(1));
    let away = pool.repo.hide();
    let mut worker = pool.worker("w1");
    let answer = pool.submit(&["h01", "--rev", &rev, "--wait", "--json"]).expect_code(3).json();
    assert_eq!(host(&answer, "h01")["outcome"], "infra-failed");
    worker.sigterm();
    worker.wait(DEADLINE);
    drop(away);
    rev
}

#[test]
fn a_dead_job_is_listed_shown_and_asked_for_again() {
    let pool = Pool::start();
    let rev = with_a_dead_job(&pool);

    let letter = letters(&pool, 1).remove(0);
    let job = format!("{}.{rev}.h01", tests::pool::REPO);
    assert_eq!(letter["job"], *job);
    assert!(text(&letter["reason"]).starts_with("fetch-failed: "), "{letter:#}");
    assert_eq!(letter["attempts"].as_array().map(Vec::len), Some(3));
    let number = letter["number"].to_string();
    let table = pool.producer(&["dead", "list"]).expect_code(0).stdout;
    assert!(table.contains(&job) && table.contains("fetch-failed"), "{table}");
    let shown = pool.producer(&["dead", "show", &number]).expect_code(0).stdout;
    for part in ["attempt 1 on w1: fetch-failed: ", "attempt 3 on w1: ", &job, "told by: w1"] {
        assert!(shown.contains(part), "no {part:?} in {shown}");
    }

    pool.producer(&["dead", "requeue", &number]).expect_code(0);
    assert_eq!(letters(&pool, 0).len(), 0);
    let _worker = pool.worker("w2");
    all_built(pool.submit(&["h01", "--rev", &rev, "--wait", "--json"]), 1);
    assert_eq!(pool.store.builds_begun(&system_name("h01")), 1);
    let gone = pool.producer(&["dead", "show", &number]).expect_code(2);
    assert!(gone.stderr.contains(&format!("dead letter {number}")), "{gone}");
}

#[test]
fn a_requeue_that_is_killed_before_the_letter_is_dropped_can_be_repeated() {
    let pool = Pool::start();
    let rev = with_a_dead_job(&pool);
    letters(&pool, 1);
    // What a killed requeue leaves: the job is asked for, the letter is there.
    let job = format!("{}.{rev}.h01", tests::pool::REPO);
    pool.producer(&["retry", &job]).expect_code(0);

    pool.producer(&["dead", "requeue", "1"]).expect_code(0);

    let _worker = pool.worker("w2");
    all_built(pool.submit(&["h01", "--rev", &rev, "--wait", "--json"]), 1);
    assert_eq!(pool.store.builds_begun(&system_name("h01")), 1, "joined, not built twice");
}

#[test]
fn a_letter_that_names_no_job_can_be_dropped_but_not_requeued() {
    let pool = Pool::start();
    pool.publish("nbp.build.x86_64-linux.high.short", b"\x1b[31m \xff garbage");
    let _worker = pool.worker("w1");

    let letter = letters(&pool, 1).remove(0);
    assert_eq!(letter["job"], Value::Null);
    let number = letter["number"].to_string();
    let refused = pool.producer(&["dead", "requeue", &number]).expect_code(2);
    assert!(refused.stderr.contains("names no job"), "{refused}");
    let shown = pool.producer(&["dead", "show", &number]).expect_code(0).stdout;
    assert!(!shown.contains('\x1b') && shown.contains("garbage"), "{shown:?}");
    pool.producer(&["dead", "drop", &number]).expect_code(0);
    letters(&pool, 0);
    pool.producer(&["dead", "drop", &number]).expect_code(2);
}

#[test]
fn a_job_that_kills_its_workers_is_dead_in_the_end() {
    let pool = Pool::start();
    let rev = pool.commit("master", &Flake::hosts(1).held("h01"));
    pool.submit(&["h01", "--rev", &rev]).expect_code(0);
    for attempt in 1..=3 {
        let name = format!("w{attempt}");
        let mut worker = pool.worker_with(&name, &WorkerOptions::default());
        worker.wait_for_log("h01: claimed", DEADLINE);
        worker.sigkill();
    }
    let _worker = pool.worker("w4");

    let answer = pool.submit(&["h01", "--rev", &rev, "--wait", "--json"]).expect_code(3).json();

    assert_eq!(host(&answer, "h01")["outcome"], "infra-failed");
    let record = pool.result(&rev, "h01").expect("a result");
    assert_eq!(record["state"]["outcome"]["kind"], "worker-lost", "{record:#}");
    let letter = letters(&pool, 1).remove(0);
    assert_eq!(letter["attempts"].as_array().map(Vec::len), Some(3), "{letter:#}");
}

#[test]
fn a_broker_that_is_away_is_said_and_nothing_is_lost() {
    let mut pool = Pool::start();
    pool.nats.kill();
    let mut producer = pool.client("producer");
    let output = run(producer.args(["dead", "list", "--patience", "1s"]), DEADLINE).expect_code(3);
    assert!(output.stderr.contains("broker"), "{output}");
}
