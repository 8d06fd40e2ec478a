//! Trouble that is not the flake's: it is retried, never blamed on the flake, and undecided in the end.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    time::Duration,
};

use serde_json::Value;
use tests::{Flake, NixStore, Pool, WorkerOptions, eventually};

use crate::{DEADLINE, all_built, host, text};

const NOWHERE: &str = "0123456789abcdef0123456789abcdef01234567";

/// A host whose build writes more than a small store holds.
pub(crate) const LARGE: &str = "derivation { name = \"large\"; system = \"x86_64-linux\"; \
    builder = \"/bin/sh\"; args = [ \"-c\" \"dd if=/dev/zero of=$out bs=1M count=60\" ]; }";

pub(crate) const NO_ADMISSION: &str = "store_free = \"0B\"\nbuild_free = \"0B\"\ninodes_free = 0";

#[track_caller]
fn infra_failed(pool: &Pool, repo: &str, rev: &str, kind: &str) {
    let args = ["submit", "--repo", repo, "h01", "--rev", rev, "--wait", "--json"];
    let answer = pool.producer(&args).expect_code(3).json();
    assert_eq!(host(&answer, "h01")["outcome"], "infra-failed");
    let results = pool.results();
    let record = results.values().find(|it| it["state"]["outcome"].is_object());
    let record = record.expect("a result");
    assert_eq!(record["state"]["outcome"]["kind"], kind, "{record:#}");
    let attempts = record["attempts"].as_array().expect("attempts");
    assert_eq!(attempts.len(), 3, "{record:#}");
    eventually("a dead letter", DEADLINE, || (pool.messages("NBP_DEAD") == 1).then_some(()));
    let gate = ["check", "--repo", repo, "--rev", rev, "--hosts", "h01"];
    pool.gate(&gate).expect_code(3);
    assert_eq!(pool.messages("NBP_JOBS"), 0);
}

#[test]
fn a_full_store_is_disk_full_and_the_job_goes_to_whoever_has_room() {
    let pool = Pool::start();
    let small = NixStore::on_small_disk("size=30m");
    let rev = pool.commit("master", &Flake::hosts(1).toplevel("h01", LARGE));
    let options = WorkerOptions {
        store: Some(&small),
        admission: NO_ADMISSION,
        delay_min: "2s",
        delay_max: "2s",
        ..WorkerOptions::default()
    };
    let mut first = pool.worker_with("small", &options);
    pool.submit(&["h01", "--rev", &rev]).expect_code(0);
    first.wait_for_log("disk-full, again in", DEADLINE);
    first.sigterm();
    first.wait(DEADLINE);
    let _second = pool.worker("large");

    let answer = all_built(pool.submit(&["h01", "--rev", &rev, "--wait", "--json"]), 1);

    assert_eq!(host(&answer, "h01")["worker"], "large");
    let record = pool.result(&rev, "h01").expect("a result");
    assert_eq!(record["attempts"][0]["end"]["kind"], "disk-full", "{record:#}");
}

#[test]
fn a_store_that_stays_full_is_undecided_in_the_end() {
    let pool = Pool::start();
    let small = NixStore::on_small_disk("size=30m");
    let rev = pool.commit("master", &Flake::hosts(1).toplevel("h01", LARGE));
    let options =
        WorkerOptions { store: Some(&small), admission: NO_ADMISSION, ..WorkerOptions::default() };
    let _worker = pool.worker_with("w1", &options);
    infra_failed(&pool, tests::pool::REPO, &rev, "disk-full");
}

#[test]
fn a_store_without_inodes_is_disk_full_too() {
    let pool = Pool::start();
    let small = NixStore::on_small_disk("size=60m,nr_inodes=300");
    let many = "derivation { name = \"many\"; system = \"x86_64-linux\"; builder = \"/bin/sh\"; \
        args = [ \"-c\" \"mkdir $out; for i in $(seq 1 1000); do echo > $out/$i || exit 1; done\" ]; }";
    let rev = pool.commit("master", &Flake::hosts(1).toplevel("h01", many));
    let options =
        WorkerOptions { store: Some(&small), admission: NO_ADMISSION, ..WorkerOptions::default() };
    let _worker = pool.worker_with("w1", &options);
    infra_failed(&pool, tests::pool::REPO, &rev, "disk-full");
}

#[test]
fn a_git_server_that_is_down_is_undecided() {
    let pool = Pool::start();
    let extra = "[repos.away]\nurl = \"http://127.0.0.1:1/away.git\"\n".to_owned();
    let _worker = pool.worker_with("w1", &WorkerOptions { extra, ..WorkerOptions::default() });
    infra_failed(&pool, "away", NOWHERE, "fetch-failed");
}

#[test]
fn a_commit_that_nobody_has_is_undecided() {
    let pool = Pool::start();
    pool.commit("master", &Flake::hosts(1));
    let _worker = pool.worker("w1");
    infra_failed(&pool, tests::pool::REPO, NOWHERE, "fetch-failed");
}

#[test]
fn a_daemon_that_is_gone_is_undecided() {
    let pool = Pool::start();
    let rev = pool.commit("master", &Flake::hosts(1));
    let options = WorkerOptions { store_uri: Some("unix:///nowhere/socket"), ..Default::default() };
    let _worker = pool.worker_with("w1", &options);
    infra_failed(&pool, tests::pool::REPO, &rev, "daemon-lost");
}

#[test]
fn a_cache_that_refuses_or_answers_500_keeps_nobody_from_building() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let broken = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let mut asked = [0; 4096];
            // Whatever is asked, and whoever hangs up.
            let _ = client.read(&mut asked);
            let _ = client.write_all(b"HTTP/1.1 500 Broken\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let pool = Pool::start();
    let rev = pool.commit("master", &Flake::hosts(1));
    for (name, url) in [("refuses", "http://127.0.0.1:1"), ("broken", &*broken)] {
        let store = NixStore::with_substituters(url);
        let options = WorkerOptions { store: Some(&store), ..WorkerOptions::default() };
        let mut worker = pool.worker_with(name, &options);
        let answer = pool.submit(&["h01", "--rev", &rev, "--force", "--wait", "--json"]);
        let answer = all_built(answer, 1);
        assert_eq!(host(&answer, "h01")["attempt"], 1, "{name}");
        worker.sigterm();
        worker.wait(DEADLINE);
    }
}

#[test]
fn retries_wait_between_the_bounds_of_the_config() {
    let pool = Pool::start();
    let extra = "[repos.away]\nurl = \"http://127.0.0.1:1/away.git\"\n".to_owned();
    let _worker = pool.worker_with("w1", &WorkerOptions { extra, ..WorkerOptions::default() });
    infra_failed(&pool, "away", NOWHERE, "fetch-failed");
    let retrying = pool.events("nbp.event.job.retrying.>");
    let delays: Vec<u64> =
        retrying.iter().filter_map(|event| event["what"]["delay_ms"].as_u64()).collect();
    assert_eq!(delays.len(), 2);
    let bound =
        |nth: u32| Duration::from_millis(100 * 2_u64.pow(nth)).min(Duration::from_millis(500));
    for (nth, delay) in (0..).zip(&delays) {
        assert!(Duration::from_millis(*delay) <= bound(nth), "{delays:?}");
    }
    let kinds: Vec<Value> = retrying.iter().map(|event| event["what"]["reason"].clone()).collect();
    assert_eq!(kinds, ["fetch-failed", "fetch-failed"]);
    assert_eq!(text(&retrying[0]["worker"]), "w1");
}
