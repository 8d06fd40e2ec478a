//! What is never a pass.

use std::time::Duration;

use tests::{Flake, Pool};

use crate::{all_built, among_rivals, text};

const NOWHERE: &str = "0123456789abcdef0123456789abcdef01234567";

#[test]
fn a_host_without_a_result_is_never_a_pass() {
    let pool = Pool::start();
    let rev = pool.commit("master", &Flake::hosts(2));
    let worker = pool.worker("w1");
    all_built(pool.submit(&["h01", "--rev", &rev, "--wait", "--json"]), 1);
    drop(worker);

    let verdict = pool.gate_check(&["--rev", &rev, "--hosts", "h01,h02"]).expect_code(3).json();
    assert_eq!(
        (text(&verdict["verdict"]), text(&verdict["hosts"]["h02"])),
        ("undecided".into(), "missing".into())
    );
    pool.gate_check(&["--rev", &rev, "--hosts", "h01"]).expect_code(0);

    // The expected hosts are those that were recorded, whatever has a result by now.
    let run = pool.submit(&["--all", "--ref", "master", "--json"]).expect_code(0).json();
    let verdict = pool.gate_check(&["--rev", &rev, "--run", &text(&run["run"])]).expect_code(3);
    assert_eq!(verdict.json()["expected"], 2);
}

#[test]
fn an_unknown_revision_an_empty_set_and_an_unknown_run_are_never_a_pass() {
    let pool = Pool::start();
    let verdict = pool.gate_check(&["--rev", NOWHERE, "--hosts", "h01"]).expect_code(3).json();
    assert_eq!(verdict["verdict"], "undecided");
    // Each is a question that cannot be meant: no host, no run, no commit.
    for empty in [&["--hosts", ""][..], &["--hosts", ","], &["--hosts"], &[]] {
        let output = pool.gate_check(&[&["--rev", NOWHERE], empty].concat()).expect_code(2);
        assert_eq!(output.stdout, "", "{output}");
    }
    let unknown = "0190f0d4-0000-7000-8000-000000000001";
    let run = pool.gate_check(&["--rev", NOWHERE, "--run", unknown]).expect_code(2);
    assert!(run.stderr.contains(unknown), "{run}");
    pool.gate_check(&["--rev", "HEAD", "--hosts", "h01"]).expect_code(2);
}

#[test]
fn a_run_that_records_no_host_or_another_commit_is_never_a_pass() {
    let pool = Pool::start();
    let rev = pool.commit("master", &Flake::hosts(1));
    let _worker = pool.worker("w1");
    let answer = all_built(pool.submit(&["h01", "--rev", &rev, "--wait", "--json"]), 1);
    let run = text(&answer["run"]);
    let key = format!("local.{run}");
    let mut record = pool.bucket("nbp-runs").remove(&key).expect("the run");
    pool.gate_check(&["--rev", &rev, "--run", &run]).expect_code(0);
    pool.gate_check(&["--rev", NOWHERE, "--run", &run]).expect_code(2);

    // No submit writes such a run; somebody else might.
    record["hosts"] = serde_json::json!({});
    pool.publish(&format!("$KV.nbp-runs.{key}"), record.to_string().as_bytes());

    let verdict = pool.gate_check(&["--rev", &rev, "--run", &run]).expect_code(3).json();
    assert_eq!((text(&verdict["verdict"]), &verdict["expected"]), ("undecided".into(), &0.into()));
}

#[test]
fn an_infrastructure_outcome_is_undecided_and_a_dead_letter() {
    let pool = Pool::start();
    // Asked for by name, so that the class is the config's: this worker cannot build it.
    let rev = pool.commit("master", &Flake::hosts(1).system("h01", "aarch64-linux"));
    let _worker = pool.worker("w1");

    let output = pool.submit(&["h01", "--rev", &rev, "--wait", "--json"]).expect_code(3);

    assert_eq!(crate::host(&output.json(), "h01")["outcome"], "infra-failed");
    let record = pool.result(&rev, "h01").expect("a result");
    assert_eq!(record["attempts"].as_array().map(Vec::len), Some(3), "{record:#}");
    let verdict = pool.gate_check(&["--rev", &rev, "--hosts", "h01"]).expect_code(3).json();
    assert_eq!(verdict["hosts"]["h01"], "infra-failed");
    tests::eventually("the dead letter", crate::DEADLINE, || {
        (pool.messages("NBP_DEAD") == 1).then_some(())
    });
}

#[test]
fn a_broker_that_is_away_is_undecided() {
    let mut pool = Pool::start();
    pool.nats.kill();
    let mut gate = pool.client("gate");
    gate.args(["check", "--repo", "homelab", "--rev", NOWHERE, "--hosts", "h01"]);
    let output = tests::process::run(gate.args(["--patience", "1s"]), crate::DEADLINE);
    assert_eq!(output.code, Some(3), "{output}");
    assert!(output.stderr.contains("broker"), "{output}");
}

#[test]
fn a_thousand_hosts_have_their_verdict_within_a_second() {
    let pool = Pool::start();
    let rev = pool.commit("master", &Flake::hosts(1));
    let worker = pool.worker("w1");
    pool.submit(&["h01", "--rev", &rev, "--wait"]).expect_code(0);
    drop(worker);
    // The same record under a thousand names: what is read is what a fleet's would be.
    let (key, record) = pool.results().into_iter().next().expect("a record");
    let repo = key.split('.').next().expect("a repo");
    let bytes = serde_json::to_vec(&record).expect("JSON");
    let names: Vec<String> = (0..1000).map(|n| format!("n{n}")).collect();
    pool.block_on(async {
        let context = pool.jetstream().await;
        for name in &names {
            let subject = format!("$KV.nbp-results.{repo}.{rev}.{name}");
            let published = context.publish(subject, bytes.clone().into()).await;
            published.expect("a connected client").await.expect("a bucket that takes it");
        }
    });
    let began = std::time::Instant::now();

    let answer = pool.gate_check(&["--rev", &rev, "--hosts", &names.join(",")]);

    let took = began.elapsed();
    assert_eq!(answer.expect_code(0).json()["expected"], 1000);
    println!("1,000 hosts: {took:?}");
    assert!(took < among_rivals(Duration::from_secs(1)), "it took {took:?}");
}
