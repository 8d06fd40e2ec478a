//! What is pushed of a run.

use std::collections::BTreeMap;

use proto::{Built, Failure, FailureKind, Identity, Overrides, Priority, RunId, V1};
use stand::{
    Queue, Stand,
    examples::{REV, class, finished, job},
};
use uuid::Uuid;

use super::*;

fn host(name: &str, stand: Stand) -> HostStatus {
    HostStatus {
        job: job(name),
        class: class("x86_64-linux"),
        attempt: Some(1),
        claim: None,
        stand,
    }
}

fn ended(name: &str, outcome: Outcome) -> HostStatus {
    host(name, Stand::Finished(Box::new(finished(outcome))))
}

fn run() -> RunRecord {
    RunRecord {
        v: V1,
        run: RunId(Uuid::nil()),
        by: Identity::local(),
        at: Timestamp(1_700_000_000_000),
        repo: "nixos-servers".parse().expect("a repo"),
        revision: REV.parse().expect("a commit"),
        git_ref: None,
        overrides: Overrides::default(),
        hosts: BTreeMap::new(),
        excluded: Vec::new(),
        priority: Priority::Normal,
        force: false,
        trace: None,
    }
}

fn built() -> Outcome {
    let path = String::new();
    let (out_path, drv_path) = (path.clone(), path);
    let (reused, work, diff) = (false, None, None);
    Outcome::Built(Built { out_path, drv_path, closure_bytes: 1, reused, work, diff })
}

#[test]
fn each_host_that_ended_is_a_group_and_the_run_is_one() {
    let failed = Outcome::Failed { kind: FailureKind::BuildFailed, failure: Failure::default() };
    let hosts = [
        ended("web", built()),
        ended("db", failed),
        host("late", Stand::Queued(Queue::Served(None))),
    ];
    let now = Timestamp(1_700_000_090_000);
    let groups = of_run(&run(), &hosts, ExitCode::Failed, now);
    let keys: Vec<_> = groups.iter().map(|group| group.labels.clone()).collect();
    let repo = ("repo", "nixos-servers".to_owned());
    let of = |host: &str| vec![repo.clone(), ("host", host.to_owned())];
    assert_eq!(keys, [of("web"), of("db"), vec![repo.clone()]]);

    let (web, db, run) = (&groups[0].text, &groups[1].text, &groups[2].text);
    assert!(web.contains("\nnbp_submit_host_success 1.0\n"), "{web}");
    assert!(web.contains("\nnbp_submit_host_duration_seconds 62.0\n"), "{web}");
    assert!(web.contains("\nnbp_submit_host_last_success_timestamp_seconds 1700000090.0\n"));
    assert!(db.contains("\nnbp_submit_host_success 0.0\n"), "{db}");
    assert!(db.contains("nbp_submit_host_outcome{outcome=\"build-failed\"} 1.0"), "{db}");
    // The last success stays what it was.
    assert!(!db.contains("last_success"), "{db}");
    assert!(run.contains("nbp_submit_hosts{result=\"built\"} 1.0"), "{run}");
    assert!(run.contains("nbp_submit_hosts{result=\"open\"} 1.0"), "{run}");
    assert!(run.contains("\nnbp_submit_duration_seconds 90.0\n"), "{run}");
    assert!(run.contains("\nnbp_submit_success 0.0\n") && !run.contains("last_success"));
}

#[test]
fn a_green_run_and_one_that_could_not_begin() {
    let now = Timestamp(5000);
    let groups = of_run(&run(), &[ended("web", built())], ExitCode::Done, now);
    assert!(groups[1].text.contains("\nnbp_submit_success 1.0\n"));
    assert!(groups[1].text.contains("\nnbp_submit_last_success_timestamp_seconds 5.0\n"));
    let failure = of_failure(&run().repo, now).text;
    assert!(failure.contains("nbp_submit_success 0.0\n") && !failure.contains("hosts"));
}
