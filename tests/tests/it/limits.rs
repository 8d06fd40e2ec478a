//! What a build may use: time, silence, log.

use tests::{Flake, Pool, WorkerOptions, flake::system_name};

use crate::{DEADLINE, all_built, host};

/// A host that is built by this shell script.
fn script(name: &str, script: &str) -> String {
    let args = format!("\"-c\" {script:?}");
    format!(
        "derivation {{ name = {name:?}; system = \"x86_64-linux\"; builder = \"/bin/sh\"; \
         args = [ {args} ]; }}"
    )
}

fn limited(limits: &str) -> WorkerOptions<'static> {
    WorkerOptions { extra: format!("[limits]\n{limits}\n"), ..WorkerOptions::default() }
}

const ALL: [&str; 5] = ["--all", "--ref", "master", "--wait", "--json"];

#[test]
fn a_hung_builder_is_silent_and_an_endless_one_times_out() {
    let pool = Pool::start();
    let flake = Flake::hosts(2)
        .toplevel("h01", &script("hung", "echo begun; sleep 600"))
        .toplevel("h02", &script("endless", "while :; do echo tick; sleep 0.2; done"));
    let rev = pool.commit("master", &flake);
    let _worker = pool.worker_with("w1", &limited("silence = \"2s\"\nwall = \"6s\""));

    let answer = pool.submit(&ALL).expect_code(1).json();

    assert_eq!(host(&answer, "h01")["outcome"], "silent");
    assert_eq!(host(&answer, "h02")["outcome"], "timed-out");
    for name in ["h01", "h02"] {
        let record = pool.result(&rev, name).expect("a result");
        assert_eq!(record["epoch"], 1, "it is the flake's fault: {record:#}");
    }
    tests::eventually("no builder left", DEADLINE, || {
        pool.store.builders().is_empty().then_some(())
    });
}

#[test]
fn waiting_for_the_lock_of_another_build_is_not_silence() {
    let pool = Pool::start();
    // Both hosts need one slow derivation: the one that comes second waits for the first one's
    // lock, ten times as long as a builder may be silent.
    let slow = script("slow", "for i in $(seq 1 50); do echo $i; sleep 0.2; done; echo > $out");
    let system = |name: &str| {
        format!(
            "derivation {{ name = {name:?}; system = \"x86_64-linux\"; builder = \"/bin/sh\"; \
             args = [ \"-c\" \"echo $dep > $out\" ]; dep = {slow}; }}"
        )
    };
    let flake = Flake::hosts(2).toplevel("h01", &system("one")).toplevel("h02", &system("two"));
    let rev = pool.commit("master", &flake);
    let _worker = pool.worker_with("w1", &limited("silence = \"1s\""));

    all_built(pool.submit(&ALL), 2);

    for name in ["h01", "h02"] {
        assert_eq!(pool.result(&rev, name).expect("a result")["epoch"], 1);
    }
}

#[test]
fn a_flood_of_log_ends_the_build_keeps_head_and_tail_and_little_memory() {
    let pool = Pool::start();
    let flood = script("flood", "seq 1 100000000; sleep 600");
    let rev = pool.commit("master", &Flake::hosts(1).toplevel("h01", &flood));
    let worker =
        pool.worker_with("w1", &limited("log_keep_max = \"256KiB\"\nlog_kill_max = \"5MiB\""));

    let answer = pool.submit(&ALL).expect_code(1).json();

    assert_eq!(host(&answer, "h01")["outcome"], "log-limit");
    let job = format!("{}.{rev}.h01", tests::pool::REPO);
    let log = pool.producer(&["logs", &job]).expect_code(0).stdout;
    let numbers: Vec<u64> =
        log.lines().filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect();
    assert!(numbers.starts_with(&[1, 2, 3]), "{:?}", &numbers[..numbers.len().min(5)]);
    let last = *numbers.last().expect("some lines");
    assert!(last > 500_000, "the tail is of the end: {last}");
    assert!(log.len() < 1 << 20, "{} bytes are kept", log.len());
    let peak = worker.peak_memory();
    assert!(peak < 64 << 20, "the worker took {} MiB", peak >> 20);
    let tail = &pool.result(&rev, "h01").expect("a result")["state"]["outcome"]["failure"];
    let tail = tail["log_tail"].as_array().map_or(0, Vec::len);
    assert!((1..=100).contains(&tail), "{tail} lines in the result");
}

#[test]
fn a_flood_that_the_broker_does_not_take_costs_little_memory_too() {
    let pool = Pool::start();
    // Lines of 32 KB, 200 MB in all, and nobody who takes them.
    let flood = script(
        "flood",
        "l=x; for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do l=$l$l; done; yes $l | head -c 200000000; \
         echo > $out",
    );
    let flake = Flake::hosts(2).toplevel("h01", &flood).held("h02");
    let rev = pool.commit("master", &flake);
    let worker = pool.worker_with("w1", &limited("log_keep_max = \"64MiB\""));
    pool.submit(&["h02", "--rev", &rev]).expect_code(0);
    pool.store.wait_for_build(&system_name("h02"), DEADLINE);
    pool.submit(&["h01", "--rev", &rev]).expect_code(0);
    worker.wait_for_log("h01: claimed", DEADLINE);
    tests::eventually("the flood", DEADLINE, || (pool.store.builders().len() > 2).then_some(()));

    pool.nats.freeze();
    tests::eventually("the end of the flood", 2 * DEADLINE, || {
        // Only the held builder is left: a shell and what it sleeps with.
        (pool.store.builders().len() <= 2).then_some(())
    });
    pool.nats.thaw();
    pool.store.release("h02");

    let answer = pool.submit(&["h01", "h02", "--rev", &rev, "--wait", "--json"]);
    all_built(answer, 2);
    let peak = worker.peak_memory();
    assert!(peak < 64 << 20, "the worker took {} MiB", peak >> 20);
}

#[test]
fn one_repos_limits_are_not_anothers() {
    let pool = Pool::start();
    let slow = script("slow", "sleep 3; echo > $out");
    let rev = pool.commit("master", &Flake::hosts(1).toplevel("h01", &slow));
    let extra = format!(
        "[repos.hasty]\nurl = {:?}\n[repos.hasty.limits]\nwall = \"1s\"\n",
        pool.repo.url()
    );
    let options = WorkerOptions { extra, ..WorkerOptions::default() };
    let _worker = pool.worker_with("w1", &options);
    let asks = |repo: &str| {
        let args = ["submit", "--repo", repo, "h01", "--rev", &rev, "--wait", "--json"];
        pool.producer(&args)
    };
    assert_eq!(host(&asks("hasty").expect_code(1).json(), "h01")["outcome"], "timed-out");
    all_built(asks(tests::pool::REPO), 1);
}
