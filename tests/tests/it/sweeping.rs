//! What sweeps find and what they forget. That they find lost jobs is told in `changing_minds`.

use std::time::Duration;

use tests::{Flake, Pool, WorkerOptions, eventually, flake::system_name};

use crate::{DEADLINE, all_built, host, text};

fn options(worker: &str) -> WorkerOptions<'_> {
    WorkerOptions { worker, ..WorkerOptions::default() }
}

#[test]
fn requests_that_nobody_needs_are_forgotten_in_time_and_all_others_stay() {
    let pool = Pool::start();
    let flake = Flake::hosts(3).system("h03", "aarch64-linux");
    let rev = pool.commit("master", &flake);
    let submitted = pool.submit(&["--all", "--ref", "master", "--json"]).expect_code(0).json();
    let run = text(&submitted["run"]);
    // Nobody wants this one, and nobody has it in the queue.
    let unwanted = format!("{}.{rev}.h02", tests::pool::REPO);
    pool.producer(&["cancel", &unwanted]).expect_code(0);

    let _worker =
        pool.worker_with("w1", &options("sweep_every = \"200ms\"\nkeep_requests = \"1s\""));

    eventually("only the one that is wanted", DEADLINE, || {
        let requests = pool.bucket("nbp-requests");
        let left: Vec<&String> = requests.keys().collect();
        (left == [&format!("{}.{rev}.h03", tests::pool::REPO)]).then_some(())
    });
    assert_eq!(pool.messages("KV_nbp-requests"), 1, "and no marker of the others");
    let pruned = eventually("both events", DEADLINE, || {
        let events = pool.events("nbp.event.job.pruned.>");
        (events.len() == 2).then_some(events)
    });
    let mut jobs: Vec<String> = pruned.iter().map(|event| text(&event["job"])).collect();
    jobs.sort();
    assert_eq!(jobs, ["h01", "h02"].map(|host| format!("{}.{rev}.{host}", tests::pool::REPO)));
    // What was built is known by its record, and is not built again.
    let status = pool.producer(&["status", &run, "--json"]).expect_code(0).json();
    assert_eq!(host(&status, "h01")["outcome"], "built", "{status:#}");
    let again = all_built(pool.submit(&["h01", "--rev", &rev, "--wait", "--json"]), 1);
    assert_eq!(host(&again, "h01")["reused"], true, "{again:#}");
    assert_eq!(pool.store.builds_begun(&system_name("h01")), 1);
}

#[test]
fn a_wish_as_old_as_wishes_get_leaves_the_queue_and_a_result_outlives_its_wish() {
    let pool = Pool::start();
    let rev = pool.commit("master", &Flake::hosts(2).system("h02", "aarch64-linux"));
    let _first = pool.worker_with("w1", &options("sweep_every = \"200ms\""));
    pool.submit(&["--all", "--ref", "master"]).expect_code(0);
    eventually("what nobody can build", DEADLINE, || {
        let built = pool.result(&rev, "h01").is_some_and(|it| it["state"]["is"] == "finished");
        (built && pool.messages("NBP_JOBS") == 1).then_some(())
    });

    let age = |seconds: u64| {
        pool.block_on(async {
            let jetstream = pool.jetstream().await;
            let stream = jetstream.get_stream("KV_nbp-requests").await.expect("the bucket");
            let mut config = stream.cached_info().config.clone();
            let before = config.max_age.as_secs();
            config.max_age = Duration::from_secs(seconds);
            config.duplicate_window = config.duplicate_window.min(config.max_age);
            jetstream.update_stream(config).await.expect("updated");
            before
        })
    };
    // Months go by.
    let months = age(1);
    assert_eq!(months, 120 * 86_400);
    eventually("no request", DEADLINE, || pool.bucket("nbp-requests").is_empty().then_some(()));
    age(months);
    let systems = vec!["aarch64-linux"];
    let options = WorkerOptions { systems, ..options("sweep_every = \"200ms\"") };
    let _second = pool.worker_with("w2", &options);

    eventually("an empty queue", DEADLINE, || (pool.messages("NBP_JOBS") == 0).then_some(()));
    assert!(pool.result(&rev, "h02").is_none(), "nothing became of it");
    let again = all_built(pool.submit(&["h01", "--rev", &rev, "--wait", "--json"]), 1);
    assert_eq!(host(&again, "h01")["reused"], true, "{again:#}");
    assert_eq!(pool.store.builds_begun(&system_name("h01")), 1);
}

#[test]
fn a_record_that_cannot_be_read_keeps_no_sweep_from_the_other_jobs() {
    // More than a sweep looks at together: those behind the first are behind it in time, too.
    const HOSTS: usize = 24;
    let pool = Pool::start();
    let flake = Flake::hosts(HOSTS);
    let rev = pool.commit("master", &flake);
    pool.submit(&[&["--rev", &rev], &flake.names()[..]].concat()).expect_code(0);
    let unreadable = format!("$KV.nbp-results.{}.{rev}.h01", tests::pool::REPO);
    pool.publish(&unreadable, br#"{"v":2,"of":"a newer version"}"#);
    pool.block_on(async {
        let stream = pool.jetstream().await.get_stream("NBP_JOBS").await.expect("the stream");
        stream.purge().await.expect("purges");
    });

    let _worker = pool.worker_with("w1", &options("sweep_every = \"200ms\""));

    eventually("the jobs behind it", DEADLINE, || {
        let results = pool.results();
        let built = results.values().filter(|it| it["state"]["outcome"]["result"] == "built");
        (built.count() == HOSTS - 1).then_some(())
    });
    assert_eq!(pool.store.builds_begun(&system_name("h01")), 0);
}
