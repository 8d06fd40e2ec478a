//! What is pushed of gate runs and checks.

use proto::{
    GateId, Identity, RunId, V1,
    gate::{Candidate, HostResult, Made, Refused, Source, Stage, Trial, Why},
};
use uuid::Uuid;

use super::*;
use crate::policy::tests::result;

const NOW: Timestamp = Timestamp(1_700_000_090_000);

fn run(stage: Stage) -> GateRun {
    GateRun {
        v: V1,
        id: GateId(Uuid::nil()),
        repo: "homelab".parse().expect("a repo"),
        base: "release/24.11".into(),
        source: Source::Update,
        by: Identity::local(),
        at: Timestamp(1_700_000_000_000),
        rounds: 1,
        trace: None,
        stage,
    }
}

fn candidate() -> Candidate {
    let rev = |digit: &str| digit.repeat(40).parse().expect("a commit");
    let branch = "flake-update/x".into();
    Candidate { base: rev("a"), revision: rev("b"), branch, replaces: None, made: Made::Others }
}

fn tested() -> Tested {
    let trial = Trial {
        candidate: candidate(),
        required: BTreeMap::new(),
        excluded: Vec::new(),
        external: Vec::new(),
        run: RunId(Uuid::nil()),
        base_run: RunId(Uuid::nil()),
    };
    let web = HostResult { build_ms: 61_000, ..result(HostStanding::Built, "built") };
    let db = result(HostStanding::Failed, "build-failed");
    Tested { trial, results: [("web".to_owned(), web), ("nixos/db".to_owned(), db)].into() }
}

#[track_caller]
fn holds(group: &Group, lines: &[&str], absent: &[&str]) {
    for line in lines {
        assert!(group.text.lines().any(|it| it == *line), "{line}\n{}", group.text);
    }
    for name in absent {
        assert!(!group.text.contains(name), "{name}\n{}", group.text);
    }
}

#[test]
fn a_refused_update_is_told_with_its_hosts_and_no_pass() {
    let refused = Box::new(Refused { candidate: candidate(), why: Why::Failed(tested()) });
    let stage = Stage::Ended(Box::new(End::Refused { refused, pull: 1 }));
    let group = of_run(&run(stage), ExitCode::Failed, NOW);
    let base = "release/24.11".to_owned();
    assert_eq!(group.labels, [("repo", "homelab".to_owned()), ("base", base)]);
    let lines = [
        "nbp_gate_verdict{verdict=\"pass\"} 0.0",
        "nbp_gate_verdict{verdict=\"fail\"} 1.0",
        "nbp_gate_end{end=\"failed\"} 1.0",
        "nbp_gate_duration_seconds 90.0",
        "nbp_gate_last_verdict_timestamp_seconds 1700000090.0",
        "nbp_gate_host_success{host=\"web\"} 1.0",
        "nbp_gate_host_duration_seconds{host=\"web\"} 61.0",
        "nbp_gate_host_success{host=\"nixos/db\"} 0.0",
    ];
    holds(&group, &lines, &["last_pass"]);
}

#[test]
fn a_landing_is_a_pass() {
    let stage = Stage::Ended(Box::new(End::Landed(Box::new(tested()))));
    let group = of_run(&run(stage), ExitCode::Done, NOW);
    let lines = [
        "nbp_gate_verdict{verdict=\"pass\"} 1.0",
        "nbp_gate_end{end=\"landed\"} 1.0",
        "nbp_gate_last_pass_timestamp_seconds 1700000090.0",
    ];
    holds(&group, &lines, &[]);
}

#[test]
fn a_run_that_waits_is_no_verdict() {
    let group = of_run(&run(Stage::Pin), ExitCode::Undecided, NOW);
    let lines = [
        "nbp_gate_verdict{verdict=\"undecided\"} 1.0",
        "nbp_gate_end{end=\"waiting\"} 1.0",
        "nbp_gate_timestamp_seconds 1700000090.0",
    ];
    holds(&group, &lines, &["last_verdict", "last_pass", "host"]);
}

#[test]
fn a_check_is_told_by_host() {
    let host = |name: &str| name.parse().expect("a host");
    let findings = [(host("web"), Finding::Built), (host("db"), Finding::Missing)].into();
    let group = of_check(&"homelab".parse().expect("a repo"), Verdict::Undecided, &findings, NOW);
    let lines = [
        "nbp_gate_check_verdict{verdict=\"undecided\"} 1.0",
        "nbp_gate_check_verdict{verdict=\"pass\"} 0.0",
        "nbp_gate_check_host_success{host=\"web\"} 1.0",
        "nbp_gate_check_host_success{host=\"db\"} 0.0",
    ];
    holds(&group, &lines, &[]);
}

#[test]
fn a_gate_that_cannot_work_has_no_verdict_and_keeps_the_last_one() {
    let group = of_failed_run(&"homelab".parse().expect("a repo"), "master", NOW);
    let lines = [
        "nbp_gate_verdict{verdict=\"undecided\"} 1.0",
        "nbp_gate_verdict{verdict=\"pass\"} 0.0",
        "nbp_gate_end{end=\"error\"} 1.0",
        "nbp_gate_timestamp_seconds 1700000090.0",
    ];
    holds(&group, &lines, &["last_verdict", "last_pass", "host", "duration"]);
    let group = of_failed_check(&"homelab".parse().expect("a repo"), NOW);
    let lines = [
        "nbp_gate_check_verdict{verdict=\"undecided\"} 1.0",
        "nbp_gate_check_verdict{verdict=\"pass\"} 0.0",
        "nbp_gate_check_timestamp_seconds 1700000090.0",
    ];
    holds(&group, &lines, &["host"]);
}
