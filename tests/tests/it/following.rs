//! People who follow a run: through a broker that dies, leaving and coming back, and after a submit
//! that did not end.

use serde_json::Value;
use tests::{Flake, Pool, Tap, eventually, flake::system_name, tap::Cut};

use crate::{DEADLINE, all_built, host, outcomes, text};

fn run_of(pool: &Pool) -> String {
    let runs = pool.bucket("nbp-runs");
    let run = runs.values().next().expect("a recorded run");
    text(&run["run"])
}

#[test]
fn watchers_and_workers_live_through_a_broker_that_dies_in_the_middle() {
    let mut pool = Pool::start();
    pool.commit("master", &Flake::hosts(16).seconds(0.1).held("h05"));
    let worker = pool.worker("w1");
    let run =
        text(&pool.submit(&["--all", "--ref", "master", "--json"]).expect_code(0).json()["run"]);
    let mut watch = pool.spawn_producer("watch", &["watch", &run]);
    pool.store.wait_for_build(&system_name("h05"), DEADLINE);
    let mut logs = pool.spawn_producer("logs", &["logs", "h05", "--run", &run, "-f"]);
    logs.wait_for_log("evaluating h05", DEADLINE);

    pool.nats.kill();
    worker.wait_for_log("lost the broker, reconnecting", DEADLINE);
    watch.wait_for_log("the broker does not answer", DEADLINE);
    // It ends while nobody can be told.
    pool.store.release("h05");
    eventually("the end of the build", DEADLINE, || {
        (pool.store.builds_ended(&system_name("h05")) == 1).then_some(())
    });
    pool.nats.restart();

    assert!(watch.wait(DEADLINE).success(), "{}", watch.log());
    let watched = watch.log();
    let told = |words: &str| watched.matches(words).count();
    assert_eq!((told("the broker does not answer"), told("the broker answers again")), (1, 1));
    assert!(watched.contains("16 hosts: 16 built"), "{watched}");
    assert!(logs.wait(DEADLINE).success(), "{}", logs.log());
    let log = logs.log();
    assert_eq!(log.matches("built nixos-system-h05").count(), 1, "{log}");
    let connected = worker.log().matches("connected to the broker").count();
    assert!(connected >= 2, "{}", worker.log());
    for n in 1..=16 {
        let name = system_name(&format!("h{n:02}"));
        assert_eq!(pool.store.builds_begun(&name), 1, "{name}");
    }
}

#[test]
fn a_watch_that_is_left_cancels_nothing_and_is_taken_up_again() {
    let pool = Pool::start();
    pool.commit("master", &Flake::hosts(2).held("h01"));
    let _worker = pool.worker("w1");
    let mut submit = pool.spawn_producer(
        "submit",
        &["submit", "--repo", "homelab", "--all", "--ref", "master", "--wait"],
    );
    pool.store.wait_for_build(&system_name("h01"), DEADLINE);
    submit.wait_for_log("h02: running", DEADLINE);

    submit.sigint();

    assert_eq!(submit.wait(DEADLINE).code(), Some(3), "{}", submit.log());
    let run = run_of(&pool);
    assert!(submit.log().contains(&format!("`producer watch {run}` takes it up again")));
    let mut watch = pool.spawn_producer("watch", &["watch", &run, "--json"]);
    watch.sigkill();
    let watch = pool.producer(&["watch", &run, "--timeout", "100ms", "--json"]).expect_code(3);
    assert_eq!(watch.json()["summary"]["expected"], 2);
    pool.store.release("h01");
    all_built(pool.producer(&["watch", &run, "--json"]), 2);
    assert_eq!(pool.store.builds_begun(&system_name("h01")), 1);
}

/// A submit whose connection is cut at this moment, killed then; the run as it was recorded, and
/// how many jobs were asked for and queued.
fn killed_at(pool: &Pool, cut: Cut) -> (usize, u64) {
    let tap = Tap::start(&pool.nats.url(), cut);
    let submit =
        ["--nats-url", tap.url(), "submit", "--repo", "homelab", "--all", "--ref", "master"];
    let mut submit = pool.spawn_producer("killed", &submit);
    tap.wait(DEADLINE);
    submit.sigkill();
    (pool.bucket("nbp-requests").len(), pool.messages("NBP_JOBS"))
}

#[test]
fn a_submit_killed_before_or_after_any_of_its_writes_is_completed_by_the_next() {
    for (cut, recorded) in [
        (Cut::Before("$JS.API.CONSUMER.INFO"), 0),
        (Cut::Before("$KV.nbp-runs"), 0),
        (Cut::After("$KV.nbp-runs"), 1),
        (Cut::Before("$KV.nbp-requests"), 1),
        (Cut::After("$KV.nbp-requests"), 1),
        (Cut::Before("nbp.build."), 1),
        (Cut::After("nbp.build."), 1),
    ] {
        let pool = Pool::start();
        pool.commit("master", &Flake::hosts(6));
        let (asked, queued) = killed_at(&pool, cut);
        // The hosts are recorded before the first of them is asked for, let alone queued.
        assert_eq!(pool.messages("KV_nbp-runs"), recorded, "{cut:?}");
        assert!(recorded == 1 || asked == 0, "{cut:?}: {asked}");
        assert!(queued <= asked as u64, "{cut:?}: {queued} of {asked}");

        let _worker = pool.worker("w1");
        let answer = all_built(pool.submit(&["--all", "--ref", "master", "--wait", "--json"]), 6);
        for name in outcomes(&answer).keys() {
            assert_eq!(pool.store.builds_begun(&system_name(name)), 1, "{cut:?}: {name}");
        }
    }
}

#[test]
fn a_run_whose_submit_was_killed_before_it_asked_is_completed_by_watching_it() {
    let pool = Pool::start();
    pool.commit("master", &Flake::hosts(3));
    let (asked, _) = killed_at(&pool, Cut::Before("$KV.nbp-requests"));
    assert_eq!(asked, 0);
    let run = run_of(&pool);
    let status = pool.producer(&["status", &run]).expect_code(0);
    assert!(status.stdout.contains("its submit did not end"), "{status}");

    let _worker = pool.worker("w1");
    all_built(pool.producer(&["watch", &run, "--timeout", "180s", "--json"]), 3);
}

#[test]
fn jobs_wait_for_a_worker_for_as_long_as_it_takes() {
    let mut pool = Pool::start();
    pool.commit("master", &Flake::hosts(2));
    let run =
        text(&pool.submit(&["--all", "--ref", "master", "--json"]).expect_code(0).json()["run"]);
    // Nothing on the way runs out: a job has no age, a wish outlives the run that has it, no consumer
    // goes for want of pulls, and no count of deliveries ends a job.
    let config = |kind: &str, value: &Value, key: &str| {
        let none = matches!(value[key].as_i64(), None | Some(0 | -1));
        assert!(none, "{kind} {key}: {}", value[key]);
    };
    pool.block_on(async {
        let context = pool.jetstream().await;
        let age = async |name: &str| {
            let stream = context.get_stream(name).await.expect("the stream");
            stream.cached_info().config.max_age
        };
        assert!(age("KV_nbp-requests").await > age("KV_nbp-runs").await);
        let stream = context.get_stream("NBP_JOBS").await.expect("the stream");
        let value = serde_json::to_value(&stream.cached_info().config).expect("JSON");
        config("NBP_JOBS", &value, "max_age");
        for priority in ["high", "normal", "low"] {
            let name = format!("x86_64-linux-{priority}");
            let info = stream.consumer_info(&name).await.expect("the consumer");
            let value = serde_json::to_value(&info.config).expect("JSON");
            config(&name, &value, "inactive_threshold");
            config(&name, &value, "max_deliver");
        }
    });
    // And the broker may be restarted meanwhile.
    pool.nats.restart();
    let status = pool.producer(&["status", &run, "--json"]).expect_code(0).json();
    assert_eq!(host(&status, "h01")["state"], "queued");

    let _worker = pool.worker("w1");

    all_built(pool.producer(&["watch", &run, "--timeout", "180s", "--json"]), 2);
    eventually("an empty queue", DEADLINE, || (pool.messages("NBP_JOBS") == 0).then_some(()));
}
