//! Three brokers with three copies of everything: the core of the suite on them, and what only a
//! cluster goes through.

use std::time::Duration;

use futures_util::TryStreamExt as _;
use tests::{Flake, NatsServer, Pool, PoolOptions, WorkerOptions, eventually};

use crate::{DEADLINE, asking_again, building, changing_minds, chaos, interruptions};

const JOBS_PER_COMMIT: usize = 20;
const COMMITS: usize = 10;

fn cluster() -> Pool {
    Pool::start_with(&PoolOptions { cluster: true, ..PoolOptions::default() })
}

#[test]
fn hosts_are_built_and_a_failing_leaf_is_named_on_three_brokers() {
    let pool = cluster();
    building::sixteen_hosts(&pool);
    building::a_failing_leaf(&pool);
}

#[test]
fn twenty_submits_at_once_build_each_host_once_on_three_brokers() {
    asking_again::twenty_submits(&cluster());
}

#[test]
fn a_running_job_is_cancelled_on_three_brokers() {
    changing_minds::a_cancel(&cluster());
}

#[test]
fn a_lost_message_is_found_on_three_brokers() {
    changing_minds::a_lost_message(&cluster());
}

#[test]
fn a_killed_worker_is_taken_over_from_on_three_brokers() {
    interruptions::a_killed_worker(&cluster());
}

#[test]
fn a_frozen_worker_that_wakes_changes_nothing_on_three_brokers() {
    interruptions::a_frozen_worker(&cluster());
}

#[test]
fn a_worker_hands_back_without_an_attempt_on_three_brokers() {
    interruptions::a_hand_back(&cluster());
}

#[test]
fn every_job_ends_once_though_the_leader_is_killed_and_all_brokers_are_restarted() {
    let mut pool = cluster();
    let options = WorkerOptions {
        slots: 4,
        max_attempts: 16,
        worker: "eval_slots = 2\nsweep_every = \"2s\"",
        ..WorkerOptions::default()
    };
    let mut workers = ["w1", "w2"].map(|name| pool.worker_with(name, &options));
    for number in 0..COMMITS {
        let mut flake = Flake::hosts(JOBS_PER_COMMIT).salt(&format!("cluster {number}"));
        if number == 0 {
            // This one is under way all the time, however fast the others are.
            flake = flake.held("h01");
        }
        let rev = pool.commit("master", &flake);
        let submit = [&["--rev", &rev], &flake.names()[..]].concat();
        pool.submit(&submit).expect_code(0);
    }
    let jobs = COMMITS * JOBS_PER_COMMIT;
    wait_for_ends(&pool, jobs / 10);

    let leader = leader(&pool);
    broker(&mut pool, leader).kill();
    wait_for_ends(&pool, jobs / 4);
    broker(&mut pool, leader).restart();
    wait_until_whole(&pool);
    for number in 0..3 {
        broker(&mut pool, number).restart_cleanly();
        wait_until_whole(&pool);
    }
    pool.store.release("h01");

    wait_for_ends(&pool, jobs);
    eventually("an empty queue", DEADLINE, || (pool.messages("NBP_JOBS") == 0).then_some(()));
    let results = pool.results();
    assert_eq!(results.len(), jobs);
    for (job, record) in &results {
        assert_eq!(record["state"]["outcome"]["result"], "built", "{job}: {record:#}");
    }
    chaos::check_histories(&pool, "cluster");
    for worker in &mut workers {
        assert!(worker.is_running() && !worker.log().contains("panicked"), "{}", worker.log());
    }
}

fn broker(pool: &mut Pool, number: usize) -> &mut NatsServer {
    match number {
        0 => &mut pool.nats,
        _ => &mut pool.peers[number - 1],
    }
}

fn ends(pool: &Pool) -> usize {
    pool.results().values().filter(|it| it["state"]["is"] == "finished").count()
}

fn wait_for_ends(pool: &Pool, count: usize) {
    eventually(&format!("{count} jobs to end"), 3 * DEADLINE, || {
        (ends(pool) >= count).then_some(())
    });
}

/// The number of the broker that leads the job queue.
fn leader(pool: &Pool) -> usize {
    let name = eventually("a leader of the queue", DEADLINE, || {
        pool.block_on(async {
            let stream = pool.jetstream().await.get_stream("NBP_JOBS").await.ok()?;
            stream.cached_info().cluster.as_ref()?.leader.clone()
        })
    });
    name.strip_prefix('n').and_then(|number| number.parse().ok()).expect("one of our brokers")
}

/// Until each stream has a leader and two copies that are as new: before that an operator does not
/// restart the next broker.
fn wait_until_whole(pool: &Pool) {
    eventually("three copies of each stream", DEADLINE, || {
        let work = async {
            let infos: Vec<_> = pool.jetstream().await.streams().try_collect().await.ok()?;
            let whole = infos.iter().all(|info| {
                info.cluster.as_ref().is_some_and(|it| {
                    let current = it.replicas.iter().filter(|it| it.current && !it.offline);
                    it.leader.is_some() && current.count() == 2
                })
            });
            (whole && infos.len() == 10).then_some(())
        };
        let bounded = async { tokio::time::timeout(Duration::from_secs(2), work).await };
        pool.block_on(bounded).ok().flatten()
    });
}
