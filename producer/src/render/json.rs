//! `--json` of submit, status and watch: one object, its shape fixed by DESIGN section 8.

use proto::{
    Class, Host, JobKey, LastGood, Outcome, Repo, Revision, RunId, Tally, Timestamp, Work,
    WorkerName,
};
use serde::Serialize;
use stand::{HostStatus, Stand};

use crate::render::{
    Report,
    waits::{Waits, waits},
};

#[derive(Serialize)]
struct Object<'a> {
    run: Option<RunId>,
    repo: &'a Repo,
    rev: &'a Revision,
    #[serde(rename = "ref")]
    git_ref: Option<&'a str>,
    hosts: Vec<HostObject<'a>>,
    summary: Tally,
}

#[derive(Serialize)]
struct HostObject<'a> {
    host: &'a Host,
    class: &'a Class,
    job: &'a JobKey,
    state: &'static str,
    phase: Option<&'static str>,
    attempt: Option<usize>,
    worker: Option<&'a WorkerName>,
    outcome: Option<&'static str>,
    drv_path: Option<&'a str>,
    out_path: Option<&'a str>,
    queue_ms: Option<u64>,
    build_ms: Option<u64>,
    reused: bool,
    work: Option<Work>,
    waits: Option<Waits<'a>>,
    failure: Option<FailureObject<'a>>,
}

#[derive(Serialize)]
struct FailureObject<'a> {
    class: &'static str,
    message: &'a str,
    drv: Option<&'a str>,
    log_tail: &'a [String],
}

/// The object, on one line.
pub(crate) fn report(report: &Report<'_>) -> String {
    let object = Object {
        run: report.run,
        repo: report.repo,
        rev: report.revision,
        git_ref: report.git_ref,
        hosts: report.hosts.iter().map(host).collect(),
        summary: stand::tally(report.hosts),
    };
    line(&object)
}

#[derive(Serialize)]
struct LastGoodObject<'a> {
    repo: &'a Repo,
    host: &'a Host,
    rev: &'a Revision,
    worker: &'a WorkerName,
    at: Timestamp,
    out_path: &'a str,
    drv_path: &'a str,
    closure_bytes: u64,
    real_ms: Option<u64>,
}

/// The last good build of a host, on one line.
pub(crate) fn last_good(repo: &Repo, host: &Host, good: &LastGood) -> String {
    line(&LastGoodObject {
        repo,
        host,
        rev: &good.revision,
        worker: &good.worker,
        at: good.at,
        out_path: &good.out_path,
        drv_path: &good.drv_path,
        closure_bytes: good.closure_bytes,
        real_ms: good.real_ms,
    })
}

/// One value on one line.
pub(crate) fn line(value: &impl Serialize) -> String {
    let json = serde_json::to_string(value).expect("text, numbers and lists always serialize");
    json + "\n"
}

fn host(status: &HostStatus) -> HostObject<'_> {
    let built = status.built();
    let phase = match &status.stand {
        Stand::Running { running, .. } => Some(running.phase.name()),
        _ => None,
    };
    HostObject {
        host: &status.job.host,
        class: &status.class,
        job: &status.job,
        state: status.state(),
        phase,
        attempt: status.attempt,
        worker: status.worker(),
        outcome: status.outcome().map(Outcome::name),
        drv_path: built.map(|built| built.drv_path.as_str()),
        out_path: built.map(|built| built.out_path.as_str()),
        queue_ms: status.finished().map(|finished| finished.queue_ms),
        build_ms: status.finished().map(|finished| finished.build_ms),
        reused: built.is_some_and(|built| built.reused),
        work: built.and_then(|built| built.work),
        waits: waits(&status.stand),
        failure: status.outcome().and_then(failure),
    }
}

fn failure(outcome: &Outcome) -> Option<FailureObject<'_>> {
    let (class, failure) = match outcome {
        Outcome::Failed { kind, failure } => (kind.name(), failure),
        Outcome::InfraFailed { kind, failure } => (kind.name(), failure),
        Outcome::Built(_) | Outcome::Cancelled | Outcome::Superseded => return None,
    };
    let (message, drv) = (failure.message.as_str(), failure.drv.as_deref());
    Some(FailureObject { class, message, drv, log_tail: &failure.log_tail })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use stand::{Place, Queue, examples::*};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn the_object_has_the_shape_that_scripts_rely_on() {
        let end = |outcome| Stand::Finished(Box::new(finished(outcome)));
        let proto::State::Running(running) = running() else { panic!("a running state") };
        let hosts = [
            status("a", Some(1), end(built(true))),
            status("b", Some(2), end(failed())),
            status("c", Some(1), Stand::Running { running, silent: None, unwanted: false }),
            status("d", None, Stand::Queued(Queue::Served(Some(Place { position: 2, of: 3 })))),
        ];
        let job = job("a");
        let run = Some(RunId(Uuid::nil()));
        let (repo, revision) = (&job.repo, &job.revision);
        let shown = super::report(&Report {
            run,
            repo,
            revision,
            git_ref: Some("refs/heads/m"),
            hosts: &hosts,
        });
        assert!(shown.ends_with("}\n") && shown.lines().count() == 1);
        let shown: Value = serde_json::from_str(&shown).expect("JSON");
        let class = "x86_64-linux";
        let job = |host: &str| format!("nixos-servers.{REV}.{host}");
        let drv = "/nix/store/0000000000000000000000000000000a-nginx-1.27.drv";
        let expected = json!({
            "run": Uuid::nil(), "repo": "nixos-servers", "rev": REV, "ref": "refs/heads/m",
            "hosts": [
                {"host": "a", "class": class, "job": job("a"), "state": "finished", "phase": null,
                 "attempt": 1, "worker": "w1", "outcome": "built",
                 "drv_path": "/nix/store/y-web.drv", "out_path": "/nix/store/x-web",
                 "queue_ms": 1500, "build_ms": 62000, "reused": true, "work": null,
                 "waits": null, "failure": null},
                {"host": "b", "class": class, "job": job("b"), "state": "finished", "phase": null,
                 "attempt": 2, "worker": "w1", "outcome": "build-failed", "drv_path": null,
                 "out_path": null, "queue_ms": 1500, "build_ms": 62000, "reused": false,
                 "work": null, "waits": null,
                 "failure": {"class": "build-failed", "message": "builder for nginx failed",
                             "drv": drv, "log_tail": ["cc: \u{1b}[31mno\u{1b}[0m"]}},
                {"host": "c", "class": class, "job": job("c"), "state": "running",
                 "phase": "evaluate", "attempt": 1, "worker": "w1", "outcome": null,
                 "drv_path": null, "out_path": null, "queue_ms": null, "build_ms": null,
                 "reused": false, "work": null, "waits": null, "failure": null},
                {"host": "d", "class": class, "job": job("d"), "state": "queued", "phase": null,
                 "attempt": null, "worker": null, "outcome": null, "drv_path": null,
                 "out_path": null, "queue_ms": null, "build_ms": null, "reused": false,
                 "work": null,
                 "waits": {"why": "queued", "since": null, "worker": null, "reason": null,
                           "position": 2, "of": 3, "left_ms": null},
                 "failure": null},
            ],
            "summary": {"expected": 4, "finished": 2, "built": 1, "failed": 1, "undecided": 0},
        });
        options::check_documented("status", &shown);
        assert_eq!(shown, expected);
    }
    #[test]
    fn a_last_good_build_is_documented() {
        let good = |real_ms| LastGood {
            v: proto::V1,
            incarnation: proto::Incarnation(Uuid::nil()),
            revision: REV.parse().expect("a revision"),
            at: Timestamp(1),
            worker: "w1".parse().expect("a worker"),
            out_path: "/nix/store/x-web".into(),
            drv_path: "/nix/store/y-web.drv".into(),
            closure_bytes: 6856,
            real_ms,
        };
        let job = job("web");
        let shown = |real_ms| -> Value {
            let shown = last_good(&job.repo, &job.host, &good(real_ms));
            serde_json::from_str(&shown).expect("JSON")
        };
        options::check_documented("last-good", &shown(Some(62_000)));
        assert_eq!(shown(Some(62_000))["real_ms"], 62_000);
        assert_eq!(shown(None)["real_ms"], Value::Null);
    }
}
