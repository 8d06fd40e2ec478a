//! A machine without room takes no new jobs, says why, and goes on by itself.

use std::fs;

use tests::{Flake, Pool, SmallDisk, WorkerOptions, eventually, flake::system_name};

use crate::{DEADLINE, all_built, host, text};

/// `[admission]` that looks at this disk alone.
fn admission(disk: &SmallDisk, free: &str, inodes: u64) -> String {
    format!(
        "store_dir = {0:?}\nbuild_dir = {0:?}\nstore_free = {free:?}\nbuild_free = \"0B\"\n\
         inodes_free = {inodes}",
        disk.path()
    )
}

#[test]
fn a_worker_short_of_space_pauses_says_so_and_goes_on_by_itself() {
    let pool = Pool::start();
    pool.commit("master", &Flake::hosts(2));
    let disk = SmallDisk::new("size=16m");
    disk.fill("big", 12);
    let admission = admission(&disk, "8MiB", 1);
    let options = WorkerOptions { admission: &admission, ..WorkerOptions::default() };
    let worker = pool.worker_with("w1", &options);

    let submitted = pool.submit(&["--all", "--ref", "master", "--json"]).expect_code(0).json();
    let run = text(&submitted["run"]);
    worker.wait_for_log("taking no new jobs: the store", DEADLINE);
    let presence = eventually("the registry to say why", DEADLINE, || {
        pool.bucket("nbp-workers").get("w1").filter(|it| it["paused"].is_string()).cloned()
    });
    let why = text(&presence["paused"]);
    assert!(why.contains("4 MiB free, wanted are 8 MiB"), "{why}");
    let status = pool.producer(&["status", &run]);
    assert!(status.stdout.contains("w1 takes nothing now: the store"), "{status}");
    let waiting = pool.producer(&["status", &run, "--json"]).json();
    assert_eq!(host(&waiting, "h01")["state"], "queued");

    fs::remove_file(disk.path().join("big")).expect("it is there");
    let watch = pool.producer(&["watch", &run, "--timeout", "180s", "--json"]);
    all_built(watch, 2);
    for record in pool.results().values() {
        assert_eq!(record["epoch"], 1, "a pause is no attempt: {record}");
    }
    let events = pool.events("nbp.event.worker.>");
    let kinds: Vec<String> = events.iter().map(|event| text(&event["what"]["kind"])).collect();
    assert_eq!(kinds, ["paused", "ready"]);
}

#[test]
fn a_worker_short_of_inodes_pauses_too() {
    let pool = Pool::start();
    let disk = SmallDisk::new("size=16m,nr_inodes=64");
    let admission = admission(&disk, "0B", 100);
    let options = WorkerOptions { admission: &admission, ..WorkerOptions::default() };
    let worker = pool.worker_with("w1", &options);
    worker.wait_for_log("inodes free, wanted are 100", DEADLINE);
}

#[test]
fn running_builds_go_on_while_no_new_one_is_taken() {
    let pool = Pool::start();
    let rev = pool.commit("master", &Flake::hosts(2).held("h01"));
    let disk = SmallDisk::new("size=16m");
    let admission = admission(&disk, "8MiB", 1);
    let options = WorkerOptions { slots: 1, admission: &admission, ..WorkerOptions::default() };
    let worker = pool.worker_with("w1", &options);
    let ask = |host: &str| {
        let submitted = pool.submit(&[host, "--ref", "master", "--rev", &rev, "--json"]);
        text(&submitted.expect_code(0).json()["run"])
    };
    let first = ask("h01");
    pool.store.wait_for_build(&system_name("h01"), DEADLINE);
    let second = ask("h02");

    disk.fill("big", 12);
    worker.wait_for_log("taking no new jobs", DEADLINE);
    pool.store.release("h01");
    all_built(pool.producer(&["watch", &first, "--timeout", "180s", "--json"]), 1);
    let watch = ["watch", &second, "--timeout", "1s", "--json"];
    let status = pool.producer(&watch).expect_code(3).json();
    assert_eq!(host(&status, "h02")["state"], "queued");

    fs::remove_file(disk.path().join("big")).expect("it is there");
    all_built(pool.producer(&["watch", &second, "--timeout", "180s", "--json"]), 1);
}

#[test]
fn two_workers_cannot_share_a_state_folder() {
    let pool = Pool::start();
    let first = pool.worker("w1");
    first.wait_for_log("ready for jobs", DEADLINE);
    let mut second = pool.worker("w1");
    assert_eq!(second.wait(DEADLINE).code(), Some(2));
    assert!(second.log().contains("another worker is running in this state folder"));
}
