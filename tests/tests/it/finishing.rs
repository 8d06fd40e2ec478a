//! The broker dies around the one write that ends a job.

use tests::{Flake, Pool, Tap, WorkerOptions, eventually, flake::system_name, tap::Cut};

use crate::{DEADLINE, all_built, host};

/// What only the record of a finished job holds.
const FINISHED: &str = "\"is\":\"finished\"";

/// The broker is killed at this moment of a build of one host, comes back, and everything is as if
/// nothing had happened: one build, one end.
fn dies_at(cut: Cut) {
    let mut pool = Pool::start();
    let rev = pool.commit("master", &Flake::hosts(1));
    let tap = Tap::start(&pool.nats.url(), cut);
    let options = WorkerOptions { nats_url: Some(tap.url()), ..WorkerOptions::default() };
    let mut worker = pool.worker_with("w1", &options);
    pool.submit(&["h01", "--rev", &rev]).expect_code(0);

    tap.wait(DEADLINE);
    pool.nats.kill();
    pool.nats.restart();
    tap.open();

    let answer = all_built(pool.submit(&["h01", "--rev", &rev, "--wait", "--json"]), 1);
    assert_eq!(host(&answer, "h01")["attempt"], 1);
    eventually("an empty queue", DEADLINE, || (pool.messages("NBP_JOBS") == 0).then_some(()));
    assert_eq!(pool.store.builds_begun(&system_name("h01")), 1, "no rebuild");
    let finished = |incarnation: &serde_json::Value| {
        let histories = pool.histories("nbp-results");
        let records = histories.into_values().flatten();
        records
            .filter(|it| it["state"]["is"] == "finished" && it["incarnation"] == *incarnation)
            .count()
    };
    let first = pool.histories("nbp-results").into_values().flatten().next().expect("a record");
    assert_eq!(finished(&first["incarnation"]), 1, "one end of the first asking");
    assert!(worker.is_running());
}

#[test]
fn a_broker_that_dies_before_the_end_is_written() {
    dies_at(Cut::Before(FINISHED));
}

#[test]
fn a_broker_that_dies_with_the_end_written_and_the_answer_lost() {
    dies_at(Cut::After(FINISHED));
}

#[test]
fn a_broker_that_dies_between_the_end_and_the_ack() {
    dies_at(Cut::Before("+ACK"));
}

#[test]
fn a_broker_that_dies_with_the_ack_taken_and_the_answer_lost() {
    dies_at(Cut::After("+ACK"));
}
