//! What is no fault of an update is no verdict on it: nobody is blamed, and `gate resume` asks again.

use tests::{Flake, NixStore, Spawned, Updates, WorkerOptions, eventually, flake::system_name};

use crate::{
    DEADLINE,
    infrastructure::{LARGE, NO_ADMISSION},
    text,
};

#[test]
fn a_deadline_leaves_a_run_that_resume_completes() {
    let site = Updates::start(&Flake::hosts(2));
    let base = site.rev("master");
    site.upstream(&Flake::hosts(2).salt("newer"));

    // Nobody builds.
    let answer = site.run(&["--deadline", "3s"]).expect_code(3);

    assert!(answer.stderr.contains("`gate resume` goes on"), "{answer}");
    assert_eq!(site.rev("master"), base);
    assert!(site.forge.pulls().is_empty(), "nobody is blamed");
    let again = site.run(&["--deadline", "2s"]).expect_code(3);
    assert!(again.stderr.contains("taking up the run"), "{again}");
    assert_eq!(site.records().len(), 1, "the same run");

    let _worker = site.pool.worker("w1");
    let answer = &site.resume().expect_code(0).json()[0];
    assert_eq!(answer["end"], "landed", "{answer:#}");
    assert_eq!(site.branches(), Vec::<String>::new());
}

#[test]
fn hosts_without_an_answer_are_undecided_and_asked_for_again() {
    let site = Updates::start(&Flake::hosts(2));
    let base = site.rev("master");
    site.upstream(&Flake::hosts(2).salt("newer"));
    let options = WorkerOptions { max_attempts: 1, ..WorkerOptions::default() };
    let nowhere = WorkerOptions { store_uri: Some("unix:///nowhere"), ..options.clone() };
    let mut worker = site.pool.worker_with("w1", &nowhere);

    let answer = site.run(&[]).expect_code(3);

    assert!(answer.stderr.contains("no fault of the update"), "{answer}");
    assert_eq!(site.rev("master"), base);
    assert!(site.forge.pulls().is_empty());
    worker.sigterm();
    worker.wait(DEADLINE);
    let _worker = site.pool.worker_with("w2", &options);
    assert_eq!(site.resume().expect_code(0).json()[0]["end"], "landed");
}

#[test]
fn a_broker_that_is_away_for_a_while_costs_nothing() {
    let mut site = Updates::start(&Flake::hosts(1));
    let worker = site.pool.worker("w1");
    site.upstream(&Flake::hosts(1).salt("newer").held("h01"));
    let mut gate = site.spawn("gate", &[], None);
    site.pool.store.wait_for_build(&system_name("h01"), DEADLINE);

    site.pool.nats.kill();
    // For longer than the lease.
    let since = std::time::Instant::now();
    eventually("some time to pass", DEADLINE, || (since.elapsed().as_secs() >= 5).then_some(()));
    site.pool.nats.restart();
    site.pool.store.release("h01");

    assert_eq!(gate.wait(DEADLINE).code(), Some(0), "{}", gate.log());
    assert_eq!(text(&site.status()[0]["end"]), "landed");
    drop(worker);
}

#[test]
fn a_confirming_attempt_without_an_answer_is_asked_for_again() {
    let site = Updates::start(&Flake::hosts(1));
    site.upstream(&Flake::hosts(1).salt("newer").moody("h01"));
    let nowhere = WorkerOptions { store_uri: Some("unix:///nowhere"), ..once() };
    let mut w2 = site.pool.worker_with("w2", &nowhere);
    eventually("its presence", DEADLINE, || {
        site.pool.bucket("nbp-workers").contains_key("w2").then_some(())
    });
    // It is there, and takes nothing for now.
    w2.sigstop();
    let _w1 = site.pool.worker("w1");
    let mut gate = site.spawn("gate", &[], None);
    gate.wait_for_log("once more elsewhere", DEADLINE);
    w2.sigcont();
    assert_eq!(gate.wait(DEADLINE).code(), Some(3), "{}", gate.log());
    assert!(site.forge.pulls().is_empty(), "nobody is blamed");
    ended(&mut w2);

    let other = NixStore::new();
    other.soothe();
    let options = WorkerOptions { store: Some(&other), ..once() };
    let _w3 = site.pool.worker_with("w3", &options);
    let answer = &site.resume().expect_code(0).json()[0];

    assert_eq!(answer["end"], "landed", "{answer:#}");
    assert_eq!(answer["hosts"]["h01"]["flaky"], true, "{answer:#}");
}

/// The first worker ends the only attempt without an answer, by no fault of the update.
#[track_caller]
fn undecided(site: &Updates, gate: &mut Spawned, base: &str) {
    assert_eq!(gate.wait(DEADLINE).code(), Some(3), "{}", gate.log());
    assert!(gate.log().contains("no fault of the update"), "{}", gate.log());
    assert_eq!(site.rev("master"), base);
    assert!(site.forge.pulls().is_empty(), "nobody is blamed");
    assert!(site.forge.labels().is_empty(), "{:?}", site.forge.labels());
}

#[test]
fn a_worker_that_is_lost_is_undecided_and_resume_completes_it() {
    let site = Updates::start(&Flake::hosts(1));
    let base = site.rev("master");
    site.upstream(&Flake::hosts(1).salt("newer").held("h01"));
    let mut w1 = site.pool.worker_with("w1", &once());
    let mut gate = site.spawn("gate", &[], None);
    site.pool.store.wait_for_build(&system_name("h01"), DEADLINE);
    w1.sigkill();
    // Finds the lease of the lost one run out, and no attempt left.
    let mut w2 = site.pool.worker_with("w2", &once());

    undecided(&site, &mut gate, &base);

    site.pool.store.release("h01");
    let answer = &site.resume().expect_code(0).json()[0];
    assert_eq!(answer["end"], "landed", "{answer:#}");
    ended(&mut w2);
}

#[test]
fn a_full_disk_is_undecided_and_resume_completes_it() {
    let site = Updates::start(&Flake::hosts(1));
    let base = site.rev("master");
    site.upstream(&Flake::hosts(1).toplevel("h01", LARGE));
    let small = NixStore::on_small_disk("size=30m");
    let options = WorkerOptions { store: Some(&small), admission: NO_ADMISSION, ..once() };
    let mut w1 = site.pool.worker_with("w1", &options);
    let mut gate = site.spawn("gate", &[], None);

    undecided(&site, &mut gate, &base);

    ended(&mut w1);
    let _w2 = site.pool.worker("w2");
    let answer = &site.resume().expect_code(0).json()[0];
    assert_eq!(answer["end"], "landed", "{answer:#}");
}

#[test]
fn a_broker_that_stays_away_leaves_a_run_that_resume_completes() {
    let mut site = Updates::start(&Flake::hosts(1));
    let base = site.rev("master");
    let _worker = site.pool.worker("w1");
    site.upstream(&Flake::hosts(1).salt("newer").held("h01"));
    let mut gate = site.spawn("gate", &[], None);
    site.pool.store.wait_for_build(&system_name("h01"), DEADLINE);
    site.pool.nats.kill();
    // As whoever runs it does when the time is up.
    gate.sigterm();

    assert_eq!(gate.wait(DEADLINE).code(), Some(3), "{}", gate.log());

    assert_eq!(site.rev("master"), base);
    assert!(site.forge.pulls().is_empty(), "nobody is blamed");
    site.pool.nats.restart();
    site.pool.store.release("h01");
    // The lease could not be given back, and runs out.
    let resumed = || (site.resume().code == Some(0)).then_some(());
    eventually("a run that is gone on with", DEADLINE, resumed);
    assert_eq!(text(&site.status()[0]["end"]), "landed");
}

/// A worker whose first failure of infrastructure is its last.
fn once() -> WorkerOptions<'static> {
    WorkerOptions { max_attempts: 1, ..WorkerOptions::default() }
}

fn ended(worker: &mut Spawned) {
    worker.sigterm();
    worker.wait(DEADLINE);
}
