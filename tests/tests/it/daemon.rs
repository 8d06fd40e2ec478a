//! Builds behind a nix-daemon, where a builder is no descendant of the worker.

use std::time::{Duration, Instant};

use tests::{Flake, NixDaemon, NixStore, Pool, WorkerOptions, eventually, flake::system_name};

use crate::{DEADLINE, all_built, among_rivals, host, outcomes, text};

struct Behind {
    pool: Pool,
    store: NixStore,
    daemon: NixDaemon,
}

impl Behind {
    fn start() -> Self {
        let (pool, store) = (Pool::start(), NixStore::new());
        let daemon = NixDaemon::start(&store);
        Self { pool, store, daemon }
    }

    fn worker(&self) -> tests::Spawned {
        let options = WorkerOptions {
            store: Some(&self.store),
            store_uri: Some(self.daemon.uri()),
            delay_min: "2s",
            delay_max: "2s",
            ..WorkerOptions::default()
        };
        self.pool.worker_with("w1", &options)
    }
}

#[test]
fn hosts_are_built_and_failures_named_through_the_daemon() {
    let behind = Behind::start();
    behind.pool.commit("master", &Flake::hosts(3).failing("h02"));
    let _worker = behind.worker();
    let all = ["--all", "--ref", "master", "--wait", "--json"];

    let answer = behind.pool.submit(&all).expect_code(1).json();

    let outcomes = outcomes(&answer);
    assert_eq!(outcomes["h01"], "built");
    assert_eq!(outcomes["h02"], "build-failed");
    assert_eq!(outcomes["h03"], "built");
    let leaf = text(&host(&answer, "h02")["failure"]["drv"]);
    assert!(leaf.ends_with("-broken-leaf.drv"), "{answer:#}");
    for name in ["h01", "h03"] {
        let work = &host(&answer, name)["work"];
        assert!(work["derivations"].as_u64() >= Some(1), "{name}: {work:#}");
    }
}

#[test]
fn a_cancelled_job_is_cancelled_when_the_daemons_builder_is_gone() {
    let behind = Behind::start();
    let rev = behind.pool.commit("master", &Flake::hosts(1).held("h01"));
    let _worker = behind.worker();
    let submitted = behind.pool.submit(&["h01", "--rev", &rev, "--json"]).expect_code(0).json();
    let run = text(&submitted["run"]);
    behind.store.wait_for_build(&system_name("h01"), DEADLINE);
    assert!(!behind.store.builders().is_empty());

    let start = Instant::now();
    behind.pool.producer(&["cancel", &run]).expect_code(0);
    eventually("the end of the job", DEADLINE, || {
        let record = behind.pool.result(&rev, "h01")?;
        (record["state"]["is"] == "finished").then(|| {
            // In this order: what is written must be true already.
            assert!(behind.store.builders().is_empty(), "it is written, and a builder runs");
            assert_eq!(record["state"]["outcome"]["result"], "cancelled", "{record:#}");
        })
    });
    let took = start.elapsed();
    assert!(took < among_rivals(Duration::from_secs(5)), "took {took:?}");
}

#[test]
fn a_daemon_that_is_killed_in_the_middle_costs_an_attempt_and_blames_nobody() {
    let mut behind = Behind::start();
    let rev = behind.pool.commit("master", &Flake::hosts(1).held("h01"));
    let worker = behind.worker();
    behind.pool.submit(&["h01", "--rev", &rev]).expect_code(0);
    behind.store.wait_for_build(&system_name("h01"), DEADLINE);

    // The process that serves our client is a child of the listening one.
    for process in behind.store.processes() {
        let comm = std::fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default();
        if comm.trim() == "nix-daemon" && process != behind.daemon.process.id() {
            let pid = i32::try_from(process).ok().and_then(rustix::process::Pid::from_raw);
            let killed =
                rustix::process::kill_process(pid.expect("a pid"), rustix::process::Signal::KILL);
            killed.expect("a process of this test");
        }
    }
    worker.wait_for_log("daemon-lost, again in", DEADLINE);
    behind.store.release("h01");

    let answer = all_built(behind.pool.submit(&["h01", "--rev", &rev, "--wait", "--json"]), 1);
    assert_eq!(host(&answer, "h01")["attempt"], 2);
    assert!(behind.daemon.process.is_running());
}
