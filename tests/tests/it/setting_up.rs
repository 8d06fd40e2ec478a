//! `producer setup`: makes what is missing, tells what differs, changes what it may, deletes nothing.

use async_nats::jetstream::stream::{Config, RetentionPolicy};
use tests::{Flake, Pool};

/// How the broker has a stream.
fn config(pool: &Pool, stream: &str) -> Config {
    pool.block_on(async {
        let stream = pool.jetstream().await.get_stream(stream).await.expect("the stream");
        stream.cached_info().config.clone()
    })
}

const SETUP: [&str; 3] = ["setup", "--ack-wait", "2s"];

#[test]
fn a_second_set_up_changes_nothing_and_says_so() {
    let pool = Pool::start();
    let again = pool.producer(&SETUP).expect_code(0);
    assert_eq!(again.stdout, "everything is as it should be\n");
    let json = pool.producer(&[&SETUP[..], &["--json"]].concat()).expect_code(0).json();
    assert_eq!(json, serde_json::json!({ "created": [], "updated": [], "drift": [] }));
}

#[test]
fn what_differs_is_told_and_changed_only_on_demand() {
    let pool = Pool::start();
    let changed = Config { max_bytes: 1 << 20, ..config(&pool, "NBP_DEAD") };
    pool.block_on(async {
        pool.jetstream().await.update_stream(changed).await.expect("updates");
    });

    let told = pool.producer(&SETUP).expect_code(2);

    assert!(told.stdout.contains("NBP_DEAD: max bytes is 1048576"), "{told}");
    assert!(told.stderr.contains("--apply"), "{told}");
    assert_eq!(config(&pool, "NBP_DEAD").max_bytes, 1 << 20);
    // The lease is the operator's choice; without it the default would be drift of the consumers.
    let told = pool.producer(&["setup"]).expect_code(2);
    assert!(told.stdout.contains("x86_64-linux-high: ack wait is 2s"), "{told}");

    pool.producer(&[&SETUP[..], &["--apply"]].concat()).expect_code(0);

    assert!(config(&pool, "NBP_DEAD").max_bytes > 1 << 20);
    pool.producer(&SETUP).expect_code(0);
}

#[test]
fn what_cannot_be_changed_in_place_stays_with_all_its_messages() {
    let pool = Pool::start();
    pool.commit("master", &Flake::hosts(3));
    let limits = Config {
        name: "NBP_JOBS".into(),
        retention: RetentionPolicy::Limits,
        ..config(&pool, "NBP_JOBS")
    };
    pool.block_on(async {
        let context = pool.jetstream().await;
        context.delete_stream("NBP_JOBS").await.expect("deletes");
        context.create_stream(limits).await.expect("a stream");
    });
    pool.producer(&SETUP).expect_code(2);
    pool.submit(&["--all", "--ref", "master"]).expect_code(0);
    assert_eq!(pool.messages("NBP_JOBS"), 3);

    for args in [&SETUP[..], &[&SETUP[..], &["--apply"]].concat()] {
        let told = pool.producer(args).expect_code(2);
        assert!(told.stdout.contains("NBP_JOBS: retention is Limits"), "{told}");
        assert!(told.stderr.contains("by hand"), "{told}");
    }

    assert_eq!(config(&pool, "NBP_JOBS").retention, RetentionPolicy::Limits);
    assert_eq!(pool.messages("NBP_JOBS"), 3);
}

#[test]
fn further_classes_are_added_beside_those_that_are_there() {
    let pool = Pool::start();
    let more = ["--classes", "x86_64-linux,riscv64-linux_kvm"];
    let told = pool.producer(&[&SETUP[..], &more].concat()).expect_code(0);
    let created: Vec<&str> = told.stdout.lines().collect();
    let expected =
        ["high", "normal", "low"].map(|priority| format!("created riscv64-linux_kvm-{priority}"));
    assert_eq!(created, expected, "{told}");
}
