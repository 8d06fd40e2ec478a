//! Lines between worker and broker that are cut for longer than a lease, and that delay, drop and
//! double what is said: time is lost and nothing else.

use std::{
    thread,
    time::{Duration, Instant},
};

use fastrand::Rng;
use serde_json::Value;
use tests::{Flake, NixStore, Pool, Proxy, WorkerOptions, eventually, flake::system_name};

use crate::{DEADLINE, all_built, chaos, host};

/// Leases are 2 s here.
const LONGER_THAN_A_LEASE: Duration = Duration::from_secs(5);

/// What a bad line does comes from here, and is printed when the test fails.
const SEED: u64 = 20_261_125;

/// One record of a finished job for its first asking, and no claim but the first.
#[track_caller]
fn ended_once_at_first_claim(pool: &Pool, rev: &str) {
    let key = format!("{}.{rev}.h01", tests::pool::REPO);
    let history = pool.histories("nbp-results").remove(&key).expect("a record");
    let ends: Vec<&Value> = history.iter().filter(|it| it["state"]["is"] == "finished").collect();
    assert_eq!(ends.len(), 1, "{history:#?}");
    assert_eq!(ends[0]["epoch"], 1, "{history:#?}");
    assert_eq!(pool.store.builds_begun(&system_name("h01")), 1, "no rebuild");
    assert!(pool.events("nbp.event.job.fenced.>").is_empty());
    eventually("an empty queue", DEADLINE, || (pool.messages("NBP_JOBS") == 0).then_some(()));
}

#[test]
fn a_build_outlives_a_broker_that_is_away_for_longer_than_its_lease() {
    let mut pool = Pool::start();
    let rev = pool.commit("master", &Flake::hosts(1).held("h01"));
    let mut worker = pool.worker("w1");
    let submit = ["submit", "--repo", "homelab", "h01", "--rev", &rev, "--wait"];
    let mut submit = pool.spawn_producer("submit", &submit);
    pool.store.wait_for_build(&system_name("h01"), DEADLINE);

    pool.nats.kill();
    thread::sleep(LONGER_THAN_A_LEASE);
    pool.nats.restart();
    // It is leased again, by its one and only claim, before it ends.
    let lease_is_new = || {
        let record = pool.result(&rev, "h01").expect("a record");
        (record["epoch"] == 1 && record["state"]["is"] == "running").then_some(())
    };
    worker.wait_for_log("connected to the broker", DEADLINE);
    eventually("the record", DEADLINE, lease_is_new);
    pool.store.release("h01");

    assert!(submit.wait(DEADLINE).success(), "{}", submit.log());
    ended_once_at_first_claim(&pool, &rev);
    assert!(worker.is_running());
}

#[test]
fn a_build_that_ends_while_the_broker_is_away_counts_once_when_it_is_back() {
    let mut pool = Pool::start();
    let rev = pool.commit("master", &Flake::hosts(1).held("h01"));
    let _worker = pool.worker("w1");
    let submit = ["submit", "--repo", "homelab", "h01", "--rev", &rev, "--wait"];
    let mut submit = pool.spawn_producer("submit", &submit);
    pool.store.wait_for_build(&system_name("h01"), DEADLINE);

    pool.nats.kill();
    pool.store.release("h01");
    thread::sleep(LONGER_THAN_A_LEASE);
    pool.nats.restart();

    assert!(submit.wait(DEADLINE).success(), "{}", submit.log());
    ended_once_at_first_claim(&pool, &rev);
}

#[test]
fn a_worker_that_is_cut_off_and_taken_over_from_says_nothing_that_counts() {
    let pool = Pool::start();
    let second = NixStore::new();
    let rev = pool.commit("master", &Flake::hosts(1).held("h01"));
    let proxy = Proxy::start(&pool.nats.url());
    let options = WorkerOptions { nats_url: Some(proxy.url()), ..WorkerOptions::default() };
    let first = pool.worker_with("w1", &options);
    pool.submit(&["h01", "--rev", &rev]).expect_code(0);
    pool.store.wait_for_build(&system_name("h01"), DEADLINE);

    proxy.cut();
    // Its heartbeats and its result are under way, and arrive when the job is another's.
    pool.store.release("h01");
    let _second =
        pool.worker_with("w2", &WorkerOptions { store: Some(&second), ..WorkerOptions::default() });
    second.wait_for_build(&system_name("h01"), DEADLINE);
    proxy.mend();

    first.wait_for_log("another worker has it", DEADLINE);
    assert_eq!(pool.messages("NBP_JOBS"), 1, "nobody acked what the second one builds");
    second.release("h01");
    let answer = all_built(pool.submit(&["h01", "--rev", &rev, "--wait", "--json"]), 1);
    assert_eq!(
        (&host(&answer, "h01")["worker"], &host(&answer, "h01")["attempt"]),
        (&"w2".into(), &2.into())
    );
    let late = eventually("what it built to be on record for audit", DEADLINE, || {
        let late = pool.events("nbp.event.job.late.>");
        (!late.is_empty()).then_some(late)
    });
    assert_eq!(late.len(), 1, "{late:?}");
    assert_eq!((&late[0]["epoch"], &late[0]["what"]["outcome"]), (&1.into(), &"built".into()));
    chaos::check_histories(&pool, "cut off");
}

#[test]
fn a_line_that_delays_drops_doubles_and_cuts_costs_time_and_nothing_else() {
    const HOSTS: usize = 40;
    let pool = Pool::start();
    let second = NixStore::new();
    let rev = pool.commit("master", &Flake::hosts(HOSTS).seconds(0.3));
    let proxies = [Proxy::start(&pool.nats.url()), Proxy::start(&pool.nats.url())];
    let mut workers: Vec<_> = [("w1", &pool.store), ("w2", &second)]
        .into_iter()
        .zip(&proxies)
        .map(|((name, store), proxy)| {
            let options = WorkerOptions {
                store: Some(store),
                nats_url: Some(proxy.url()),
                max_attempts: 16,
                worker: "sweep_every = \"1s\"",
                ..WorkerOptions::default()
            };
            pool.worker_with(name, &options)
        })
        .collect();
    pool.submit(&["--all", "--ref", "master"]).expect_code(0);

    let mut rng = Rng::with_seed(SEED);
    let end = Instant::now() + Duration::from_secs(20);
    while Instant::now() < end {
        let proxy = &proxies[rng.usize(0..proxies.len())];
        match rng.u32(0..6) {
            0 => proxy.drop_connections(),
            1 => proxy.drop_clients(),
            2 => proxy.double(),
            3 => proxy.delay(Duration::from_millis(rng.u64(1..200))),
            4 => proxy.delay(Duration::ZERO),
            _ => {
                proxy.cut();
                thread::sleep(Duration::from_millis(rng.u64(500..5000)));
                proxy.mend();
            }
        }
        thread::sleep(Duration::from_millis(rng.u64(50..500)));
    }
    for proxy in &proxies {
        proxy.delay(Duration::ZERO);
    }

    all_built(pool.submit(&["--all", "--rev", &rev, "--wait", "--json"]), HOSTS);
    eventually(&format!("an empty queue, seed {SEED}"), DEADLINE, || {
        (pool.messages("NBP_JOBS") == 0).then_some(())
    });
    chaos::check_histories(&pool, &format!("seed {SEED}"));
    for worker in &mut workers {
        assert!(worker.is_running() && !worker.log().contains("panicked"), "{}", worker.log());
    }
}
