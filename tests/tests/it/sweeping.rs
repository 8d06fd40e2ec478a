//! What sweeps find and what they forget. That they find lost jobs is told in `changing_minds`.

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
