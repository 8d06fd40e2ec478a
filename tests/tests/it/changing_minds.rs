//! Cancel, retry, pause, and jobs that fell between two writes.

use std::{collections::BTreeSet, thread::sleep, time::Duration};

use tests::{
    Flake, Pool, WorkerOptions, eventually,
    flake::{BROKEN_LEAF, system_name},
    pool::REPO,
};

use crate::{DEADLINE, all_built, among_rivals, host, text};

/// Submits without waiting; gives the run.
fn asked(pool: &Pool, args: &[&str]) -> String {
    text(&pool.submit(&[args, &["--json"]].concat()).expect_code(0).json()["run"])
}

#[test]
fn a_queued_job_that_is_cancelled_never_starts() {
    let pool = Pool::start();
    pool.commit("master", &Flake::hosts(2));
    let run = asked(&pool, &["--all", "--ref", "master"]);

    pool.producer(&["cancel", &run]).expect_code(0);

    let status = pool.producer(&["status", &run, "--json"]).expect_code(0).json();
    assert_eq!(host(&status, "h01")["outcome"], "cancelled", "{status:#}");
    let _worker = pool.worker("w1");
    eventually("an empty queue", DEADLINE, || (pool.messages("NBP_JOBS") == 0).then_some(()));
    pool.producer(&["watch", &run]).expect_code(4);
    assert_eq!(pool.store.builds_begun(&system_name("h01")), 0);
}

#[test]
fn a_running_job_that_is_cancelled_is_killed_and_reads_as_cancelled() {
    a_cancel(&Pool::start());
}

pub(crate) fn a_cancel(pool: &Pool) {
    let rev = pool.commit("master", &Flake::hosts(1).held("h01"));
    let _worker = pool.worker("w1");
    let run = asked(pool, &["h01", "--rev", &rev]);
    pool.store.wait_for_build(&system_name("h01"), DEADLINE);

    pool.producer(&["cancel", &run]).expect_code(0);

    eventually("the builder to be gone", among_rivals(Duration::from_secs(5)), || {
        pool.store.builders().is_empty().then_some(())
    });
    pool.producer(&["watch", &run, "--timeout", "180s"]).expect_code(4);
    let record = eventually("a finished record", DEADLINE, || {
        pool.result(&rev, "h01").filter(|record| record["state"]["is"] == "finished")
    });
    assert_eq!(record["state"]["outcome"]["result"], "cancelled", "{record:#}");
    eventually("an empty queue", DEADLINE, || (pool.messages("NBP_JOBS") == 0).then_some(()));
}

#[test]
fn what_a_worker_still_has_is_being_cancelled_and_not_cancelled() {
    let pool = Pool::start();
    let rev = pool.commit("master", &Flake::hosts(1).held("h01"));
    let worker = pool.worker("w1");
    let run = asked(&pool, &["h01", "--rev", &rev]);
    pool.store.wait_for_build(&system_name("h01"), DEADLINE);
    // It hears of the cancel when it goes on.
    worker.sigstop();

    let cancelled = pool.producer(&["cancel", &run]).expect_code(0);

    assert_eq!(cancelled.stdout, "h01: being cancelled on w1\n");
    let status = pool.producer(&["status", &run]).expect_code(0);
    assert!(status.stdout.contains(") on w1, being cancelled"), "{status}");
    worker.sigcont();
    pool.producer(&["watch", &run, "--timeout", "180s"]).expect_code(4);
}

#[test]
fn a_cancel_that_meets_the_end_of_the_build_has_one_outcome_everywhere() {
    const ROUNDS: u32 = 12;
    let pool = Pool::start();
    let _worker = pool.worker("w1");
    let mut seen = BTreeSet::new();
    for round in 0..ROUNDS {
        let flake = Flake::hosts(1).held("h01").salt(&format!("race {round}"));
        let rev = pool.commit("master", &flake);
        let run = asked(&pool, &["h01", "--rev", &rev]);
        eventually("the build", DEADLINE, || (!pool.store.builders().is_empty()).then_some(()));
        let cancel = || pool.spawn_producer("cancel", &["cancel", &run]);
        // The first round cancels well before the end and the last one well after it.
        let mut cancel = if round == 0 {
            pool.producer(&["cancel", &run]).expect_code(0);
            pool.store.release("h01");
            cancel()
        } else if round * 2 < ROUNDS {
            let cancel = cancel();
            sleep(Duration::from_millis(u64::from(ROUNDS / 2 - round) * 10));
            pool.store.release("h01");
            cancel
        } else {
            pool.store.release("h01");
            sleep(Duration::from_millis(u64::from(round - ROUNDS / 2) * 40));
            if round + 1 == ROUNDS {
                pool.producer(&["watch", &run]).expect_code(0);
            }
            cancel()
        };
        assert!(cancel.wait(DEADLINE).success());

        let answer = pool.producer(&["watch", &run, "--timeout", "180s", "--json"]);
        let record = eventually("a finished record", DEADLINE, || {
            pool.result(&rev, "h01").filter(|record| record["state"]["is"] == "finished")
        });
        let outcome = text(&record["state"]["outcome"]["result"]);
        let (code, verdict) = match &*outcome {
            "built" => (0, 0),
            "cancelled" => (4, 3),
            other => panic!("round {round}: {other}"),
        };
        let answer = answer.expect_code(code).json();
        assert_eq!(text(&host(&answer, "h01")["outcome"]), outcome, "round {round}");
        let status = pool.producer(&["status", &run, "--json"]).json();
        assert_eq!(text(&host(&status, "h01")["outcome"]), outcome, "round {round}");
        for of in [["--hosts", "h01"], ["--run", &run]] {
            pool.gate_check(&[&["--rev", &rev], &of[..]].concat()).expect_code(verdict);
        }
        let told = eventually("the event", DEADLINE, || {
            let events = pool.events(&format!("nbp.event.job.finished.homelab.{rev}.h01"));
            (!events.is_empty()).then_some(events)
        });
        assert_eq!(told.len(), 1, "round {round}: {told:?}");
        assert_eq!(text(&told[0]["what"]["outcome"]), outcome, "round {round}");
        pool.store.hold("h01");
        seen.insert(outcome);
    }
    eventually("an empty queue", DEADLINE, || (pool.messages("NBP_JOBS") == 0).then_some(()));
    assert_eq!(seen.len(), 2, "both were met: {seen:?}");
}

#[test]
fn cancelling_one_of_two_runs_leaves_the_job_to_the_other() {
    let pool = Pool::start();
    let rev = pool.commit("master", &Flake::hosts(1).held("h01"));
    let low = asked(&pool, &["h01", "--rev", &rev, "--priority", "low"]);
    let high = asked(&pool, &["h01", "--rev", &rev, "--priority", "high"]);
    let _worker = pool.worker("w1");
    pool.store.wait_for_build(&system_name("h01"), DEADLINE);

    let said = pool.producer(&["cancel", &low]).expect_code(0);
    assert!(said.stdout.contains("1 more want it"), "{said}");
    pool.store.release("h01");

    all_built(pool.producer(&["watch", &high, "--json"]), 1);
    assert_eq!(pool.store.builds_begun(&system_name("h01")), 1);
    eventually("an empty queue", DEADLINE, || (pool.messages("NBP_JOBS") == 0).then_some(()));
}

#[test]
fn a_job_can_be_cancelled_for_everybody_and_asked_for_again() {
    let pool = Pool::start();
    let rev = pool.commit("master", &Flake::hosts(1).held("h01"));
    let _worker = pool.worker("w1");
    let first = asked(&pool, &["h01", "--rev", &rev]);
    let second = asked(&pool, &["h01", "--rev", &rev]);
    pool.store.wait_for_build(&system_name("h01"), DEADLINE);
    let job = format!("{}.{rev}.h01", tests::pool::REPO);

    let said = pool.producer(&["cancel", &job]).expect_code(0).stdout;
    assert!(said.contains(&first) && said.contains(&second), "{said}");
    for run in [&first, &second] {
        let answer = pool.producer(&["watch", run, "--json"]).expect_code(4).json();
        assert_eq!(host(&answer, "h01")["outcome"], "cancelled");
    }
    pool.store.release("h01");
    let again = pool.producer(&["retry", &job]).expect_code(0);
    let run =
        again.stderr.split("producer watch ").nth(1).expect("a run").trim_matches(['`', '\n']);
    all_built(pool.producer(&["watch", run, "--json"]), 1);
    let unknown = format!("{}.{rev}.h99", tests::pool::REPO);
    pool.producer(&["cancel", &unknown]).expect_code(2);
    pool.producer(&["retry", &unknown]).expect_code(2);
}

#[test]
fn a_newer_run_supersedes_older_ones_of_its_branch() {
    let pool = Pool::start();
    let old = pool.commit("master", &Flake::hosts(2).held("h01").held("h02"));
    let options = WorkerOptions { slots: 1, ..WorkerOptions::default() };
    let _worker = pool.worker_with("w1", &options);
    let older = asked(&pool, &["--all", "--ref", "master"]);
    let bare = asked(&pool, &["h02", "--rev", &old]);
    eventually("a build", DEADLINE, || (!pool.store.builders().is_empty()).then_some(()));
    pool.store.release("h02");
    pool.commit("master", &Flake::hosts(2).salt("newer"));

    let newer = pool.submit(&["--all", "--ref", "master", "--supersede", "--wait", "--json"]);

    assert!(newer.stderr.contains(&format!("run {older} ")), "{newer}");
    all_built(newer, 2);
    let answer = pool.producer(&["watch", &older, "--json"]).json();
    assert_eq!(host(&answer, "h01")["outcome"], "superseded");
    // Another run without a branch wanted this one too: it goes on.
    all_built(pool.producer(&["watch", &bare, "--json"]), 1);
    eventually("no builder left", DEADLINE, || pool.store.builders().is_empty().then_some(()));
    let again = pool.submit(&["--all", "--ref", "master", "--supersede", "--json"]).expect_code(0);
    assert!(!again.stderr.contains("superseded"), "{again}");
}

#[test]
fn retry_asks_a_known_failure_anew() {
    let pool = Pool::start();
    let rev = pool.commit("master", &Flake::hosts(1).failing("h01"));
    let _worker = pool.worker("w1");
    let submit = pool.submit(&["h01", "--rev", &rev, "--wait", "--json"]).expect_code(1);
    let run = text(&submit.json()["run"]);
    assert_eq!(pool.store.builds_begun(BROKEN_LEAF), 1);

    pool.producer(&["retry", "--failed", &run]).expect_code(0);

    pool.producer(&["watch", &run]).expect_code(1);
    assert_eq!(pool.store.builds_begun(BROKEN_LEAF), 2);
}

#[test]
fn a_paused_class_hands_nothing_out_until_it_is_resumed() {
    let pool = Pool::start();
    pool.commit("master", &Flake::hosts(1));
    let _worker = pool.worker("w1");
    pool.producer(&["pause", "x86_64-linux"]).expect_code(0);
    let run = asked(&pool, &["--all", "--ref", "master"]);
    pool.producer(&["watch", &run, "--timeout", "2s"]).expect_code(3);
    assert_eq!(pool.store.builds_begun(&system_name("h01")), 0);

    pool.producer(&["resume"]).expect_code(0);

    all_built(pool.producer(&["watch", &run, "--json"]), 1);
}

#[test]
fn a_class_that_is_misspelt_leaves_the_others_as_they_were() {
    let pool = Pool::start();
    pool.commit("master", &Flake::hosts(1));
    let _worker = pool.worker("w1");
    let refused = pool.producer(&["pause", "x86_64-linux", "x86_64-linx"]).expect_code(2);
    let hint = "find class x86_64-linx: nobody set it up, or not all of it; \
                did you mean x86_64-linux";
    assert!(refused.stderr.contains(hint), "{refused}");
    pool.submit(&["--all", "--ref", "master", "--wait"]).expect_code(0);
    let queue = pool.producer(&["queue", "x86_64-linx"]).expect_code(0);
    let hint = "x86_64-linx is not set up; did you mean x86_64-linux";
    assert!(queue.stderr.contains(hint), "{queue}");
}

#[test]
fn what_there_is_nothing_to_do_about_is_said() {
    let pool = Pool::start();
    let rev = pool.commit("master", &Flake::hosts(1));
    let _worker = pool.worker("w1");
    let args = ["--all", "--ref", "master", "--exclude", "hh01*", "--wait", "--json"];
    let submitted = pool.submit(&args);
    let note = "--exclude hh01* matches no host; did you mean h01?";
    assert!(submitted.stderr.contains(note), "{submitted}");
    let run = text(&all_built(submitted, 1)["run"]);

    let again = pool.producer(&["retry", "--failed", &run]).expect_code(0);
    let note = format!(
        "run {run}: nothing to ask again for, no host of it failed; without --failed, what is \
         undecided or cancelled is asked for too\n"
    );
    assert_eq!((again.stdout.as_str(), again.stderr.as_str()), ("", note.as_str()), "{again}");
    let cancelled = pool.producer(&["cancel", &run]).expect_code(0);
    assert_eq!(cancelled.stdout, "h01: had ended as built\n");
    let cancelled = pool.producer(&["cancel", &format!("{REPO}.{rev}.h01"), "--json"]);
    assert_eq!(cancelled.expect_code(0).json()["outcome"], "built");
}

#[test]
fn a_submit_that_is_killed_between_wish_and_message_is_healed_by_the_workers() {
    let pool = Pool::start();
    pool.commit("master", &Flake::hosts(30));
    let wishes = || pool.bucket("nbp-requests").len();
    let mut killed =
        pool.spawn_producer("killed", &["submit", "--repo", "homelab", "--all", "--ref", "master"]);
    eventually("the first wish", DEADLINE, || {
        // Cheaper than a look at the records, so that it is killed early.
        (pool.messages("KV_nbp-requests") > 0 || !killed.is_running()).then_some(())
    });
    killed.sigkill();
    // Eight are under way at a time; whatever it left, one wish more has no message.
    pool.block_on(async {
        let stream = pool.jetstream().await.get_stream("NBP_JOBS").await.expect("the stream");
        let first = stream.get_info().await.expect("its state").state.first_sequence;
        stream.delete_message(first).await.ok();
    });
    let wished = wishes();
    assert!(wished > 0);

    let extra = "sweep_every = \"300ms\"";
    let _worker = pool.worker_with("w1", &WorkerOptions { worker: extra, ..Default::default() });

    eventually("what was wished for", DEADLINE, || {
        let results = pool.results();
        let built = results.values().filter(|it| it["state"]["outcome"]["result"] == "built");
        (built.count() == wished).then_some(())
    });
    assert!(!pool.events("nbp.event.job.requeued.>").is_empty());
}

#[test]
fn a_job_whose_message_is_lost_is_found_without_anybody_asking_again() {
    a_lost_message(&Pool::start());
}

pub(crate) fn a_lost_message(pool: &Pool) {
    let rev = pool.commit("master", &Flake::hosts(1));
    pool.submit(&["h01", "--rev", &rev]).expect_code(0);
    pool.block_on(async {
        let stream = pool.jetstream().await.get_stream("NBP_JOBS").await.expect("the stream");
        stream.purge().await.expect("purges");
    });
    assert_eq!(pool.messages("NBP_JOBS"), 0);

    let extra = "sweep_every = \"300ms\"";
    let _worker = pool.worker_with("w1", &WorkerOptions { worker: extra, ..Default::default() });

    eventually("the host to be built", DEADLINE, || {
        let record = pool.result(&rev, "h01")?;
        (record["state"]["outcome"]["result"] == "built").then_some(())
    });
    assert_eq!(pool.store.builds_begun(&system_name("h01")), 1);
}
