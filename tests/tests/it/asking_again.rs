//! The same job asked for more than once: reused, forced, joined, answered from the record.

use std::time::{Duration, Instant};

use tests::{Flake, Pool, eventually, flake::system_name};

use crate::{DEADLINE, all_built, among_rivals, host, hosts, text};

const ALL: [&str; 5] = ["--all", "--ref", "master", "--wait", "--json"];

#[test]
fn the_same_revision_again_builds_nothing_and_is_quick() {
    let pool = Pool::start();
    pool.commit("master", &Flake::hosts(16));
    let _worker = pool.worker("w1");
    all_built(pool.submit(&ALL), 16);

    let again = || {
        let start = Instant::now();
        let answer = all_built(pool.submit(&ALL), 16);
        let took = start.elapsed();
        for host in hosts(&answer) {
            assert_eq!(host["reused"], true, "{host:#}");
            assert_eq!(pool.store.builds_begun(&system_name(&text(&host["host"]))), 1);
        }
        took
    };
    let tries: Vec<Duration> = (0..3).map(|_| again()).collect();
    let limit = among_rivals(Duration::from_secs(2));
    assert!(tries.iter().any(|took| *took < limit), "took {tries:?}, not {limit:?}");
}

#[test]
fn force_builds_again() {
    let pool = Pool::start();
    pool.commit("master", &Flake::hosts(2));
    let _worker = pool.worker("w1");
    all_built(pool.submit(&ALL), 2);

    let answer = all_built(pool.submit(&[&ALL[..], &["--force"]].concat()), 2);

    for name in ["h01", "h02"] {
        assert_eq!(host(&answer, name)["reused"], false);
        assert_eq!(pool.store.builds_begun(&system_name(name)), 2, "{name}");
    }
}

#[test]
fn a_failure_of_the_flake_is_answered_from_the_record_unless_forced() {
    let pool = Pool::start();
    pool.commit("master", &Flake::hosts(1).failing("h01"));
    let _worker = pool.worker("w1");
    pool.submit(&ALL).expect_code(1);
    let built = || pool.store.builds_begun(tests::flake::BROKEN_LEAF);
    assert_eq!(built(), 1);

    let again = pool.submit(&ALL).expect_code(1);
    assert_eq!(host(&again.json(), "h01")["outcome"], "build-failed");
    assert_eq!(built(), 1);

    pool.submit(&[&ALL[..], &["--force"]].concat()).expect_code(1);
    assert_eq!(built(), 2);
}

#[test]
fn twenty_submits_at_once_build_each_host_once() {
    twenty_submits(&Pool::start());
}

pub(crate) fn twenty_submits(pool: &Pool) {
    pool.commit("master", &Flake::hosts(3).held("h01"));
    let _worker = pool.worker("w1");

    std::thread::scope(|scope| {
        let submits: Vec<_> =
            (0..20).map(|_| scope.spawn(|| all_built(pool.submit(&ALL), 3))).collect();
        // Until all have asked, one host cannot finish: the job they ask for stays the same.
        eventually("twenty runs", DEADLINE, || {
            let requests = pool.bucket("nbp-requests");
            let wishes = |request: &serde_json::Value| {
                request["wanted_by"].as_object().map_or(0, serde_json::Map::len)
            };
            let held = requests.iter().find(|(key, _)| key.ends_with(".h01"));
            held.filter(|(_, request)| wishes(request) == 20).map(drop)
        });
        pool.store.release("h01");
        for submit in submits {
            submit.join().expect("a submit");
        }
    });

    for name in ["h01", "h02", "h03"] {
        assert_eq!(pool.store.builds_begun(&system_name(name)), 1, "{name}");
    }
    assert_eq!(pool.messages("NBP_JOBS"), 0);
}

#[test]
fn a_submit_killed_at_any_moment_is_completed_by_the_next() {
    for jobs_published in 0..4 {
        let pool = Pool::start();
        pool.commit("master", &Flake::hosts(6));
        let mut killed = pool
            .spawn_producer("killed", &["submit", "--repo", "homelab", "--all", "--ref", "master"]);
        eventually("some jobs", DEADLINE, || {
            let some = pool.messages("NBP_JOBS") >= jobs_published;
            (some || !killed.is_running()).then_some(())
        });
        killed.sigkill();

        let _worker = pool.worker("w1");
        all_built(pool.submit(&ALL), 6);
        for name in 1..=6 {
            assert_eq!(pool.store.builds_begun(&system_name(&format!("h{name:02}"))), 1);
        }
    }
}
