//! A confirming attempt: the same job once more, on another worker if there is one.

use bus::{Bus, Endpoint, ask_of};
use proto::{JobKey, request::Ask};
use serde_json::Value;
use tests::{Flake, NixStore, Pool, WorkerOptions, eventually, flake::BROKEN_LEAF};

use crate::{DEADLINE, host, text};

/// Asks again for the only host of a run, and not of worker w1 if another one can do it.
fn asks_for_a_second_opinion(pool: &Pool, run: &str) {
    pool.block_on(async {
        let endpoint = Endpoint {
            url: pool.nats.url(),
            nkey_file: None,
            ca_file: None,
            name: "second-opinion".to_owned(),
            patience: Some(DEADLINE),
        };
        let bus = Bus::connect(&endpoint).await.expect("connects");
        let run = bus.find_run(run.parse().expect("a run")).await.expect("an answer");
        let run = run.expect("a recorded run");
        let jobs: Vec<(JobKey, _)> = run.jobs().collect();
        let [(job, class)] = &jobs[..] else { panic!("one host: {jobs:?}") };
        let avoid_worker = Some("w1".parse().expect("a name"));
        let ask = Ask { retry: true, avoid_worker, ..ask_of(&run, class) };
        bus.ask(job, &ask).await.expect("asked");
        bus.close().await;
    });
}

#[track_caller]
fn failed_on(pool: &Pool, rev: &str, worker: &str, epoch: u64) -> Value {
    eventually("a failure of the flake", DEADLINE, || {
        let record = pool.result(rev, "h01")?;
        let over = record["state"]["is"] == "finished" && record["epoch"] == epoch;
        over.then(|| {
            assert_eq!(record["state"]["outcome"]["kind"], "build-failed", "{record:#}");
            assert_eq!(text(&record["state"]["worker"]), worker, "{record:#}");
            assert_eq!(record["attempts"].as_array().map(Vec::len), Some(1), "{record:#}");
            record
        })
    })
}

#[test]
fn a_second_opinion_comes_from_another_worker() {
    let pool = Pool::start();
    let second = NixStore::new();
    let rev = pool.commit("master", &Flake::hosts(1).failing("h01"));
    let _one = pool.worker("w1");
    let answer = pool.submit(&["h01", "--rev", &rev, "--wait", "--json"]).expect_code(1).json();
    assert_eq!(host(&answer, "h01")["worker"], "w1");
    let _two =
        pool.worker_with("w2", &WorkerOptions { store: Some(&second), ..WorkerOptions::default() });
    eventually("both workers", DEADLINE, || (pool.bucket("nbp-workers").len() == 2).then_some(()));

    asks_for_a_second_opinion(&pool, &text(&answer["run"]));

    failed_on(&pool, &rev, "w2", 2);
    assert_eq!((pool.store.builds_begun(BROKEN_LEAF), second.builds_begun(BROKEN_LEAF)), (1, 1));
    eventually("an empty queue", DEADLINE, || (pool.messages("NBP_JOBS") == 0).then_some(()));
}

#[test]
fn without_another_worker_the_same_one_gives_the_second_opinion() {
    let pool = Pool::start();
    let rev = pool.commit("master", &Flake::hosts(1).failing("h01"));
    let options = WorkerOptions { worker: "avoid_max = \"3s\"", ..WorkerOptions::default() };
    let _worker = pool.worker_with("w1", &options);
    let answer = pool.submit(&["h01", "--rev", &rev, "--wait", "--json"]).expect_code(1).json();

    asks_for_a_second_opinion(&pool, &text(&answer["run"]));

    let record = failed_on(&pool, &rev, "w1", 2);
    let queued = record["state"]["queue_ms"].as_u64().expect("a time in the queue");
    assert!(queued > 2_500, "taken after {queued} ms");
    assert_eq!(pool.store.builds_begun(BROKEN_LEAF), 2);
}
