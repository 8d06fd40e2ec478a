//! Requests, records and workers as the tests of several crates make them.

use std::collections::BTreeMap;

use bus::Entry;
use proto::{
    Attempt, AttemptEnd, Built, Class, Epoch, Failure, FailureKind, Finished, Incarnation,
    Instance, JobKey, Outcome, Phase, Presence, Priority, Record, Request, RunId, Running, State,
    Timestamp, V1, Wish, Work, WorkerName,
};
use uuid::Uuid;

use crate::view::{Claim, HostStatus, Stand};

pub const REV: &str = "0123456789abcdef0123456789abcdef01234567";
pub const STORED: Timestamp = Timestamp(1_000_000);

pub fn job(host: &str) -> JobKey {
    format!("nixos-servers.{REV}.{host}").parse().expect("a job key")
}

pub fn class(name: &str) -> Class {
    name.parse().expect("a class")
}

pub fn worker() -> WorkerName {
    "w1".parse().expect("a worker")
}

pub fn entry<T>(value: Option<T>) -> Entry<T> {
    Entry { value, revision: 1, time: STORED }
}

pub fn request(incarnation: u128, wishes: u128) -> Request {
    let wish = |n: u128| {
        let by = proto::Identity::local();
        let at = Timestamp(900_000 + u64::try_from(n).expect("small"));
        (RunId(Uuid::from_u128(n)), Wish { priority: Priority::Normal, by, at })
    };
    Request {
        v: V1,
        class: class("aarch64-linux"),
        incarnation: Incarnation(Uuid::from_u128(incarnation)),
        wanted_by: (0..wishes).map(wish).collect::<BTreeMap<_, _>>(),
        force: false,
        avoid_worker: None,
        overrides: proto::Overrides::default(),
        superseded_by: None,
        trace: None,
    }
}

pub fn record(incarnation: u128, state: State) -> Record {
    let instance = Instance(Uuid::nil());
    let attempt =
        |epoch, end| Attempt { epoch: Epoch(epoch), worker: worker(), instance, at: STORED, end };
    let attempts = vec![attempt(1, Some(AttemptEnd::WorkerLost)), attempt(2, None)];
    let incarnation = Incarnation(Uuid::from_u128(incarnation));
    Record { v: V1, epoch: Epoch(2), incarnation, attempts, state }
}

pub fn running() -> State {
    State::Running(Running {
        instance: Instance(Uuid::nil()),
        claim: 1,
        worker: worker(),
        lease_ms: 60_000,
        phase: Phase::Evaluate,
        progress: None,
    })
}

pub fn finished(outcome: Outcome) -> Finished {
    let (worker, signature, phases) = (Some(worker()), None, Vec::new());
    let overrides = proto::Overrides::default();
    Finished {
        outcome,
        at: STORED,
        worker,
        queue_ms: 1500,
        build_ms: 62_000,
        phases,
        overrides,
        signature,
    }
}

pub fn built(reused: bool) -> Outcome {
    let (out_path, drv_path) = ("/nix/store/x-web".into(), "/nix/store/y-web.drv".into());
    let (work, diff) = (None, None);
    Outcome::Built(Built { out_path, drv_path, closure_bytes: 1, reused, work, diff })
}

/// Built by a worker that counted what it did.
pub fn built_with(derivations: u32, downloads: u32) -> Outcome {
    let Outcome::Built(built) = built(false) else { unreachable!("as just made") };
    Outcome::Built(Built { work: Some(Work { derivations, downloads }), ..built })
}

pub fn failed() -> Outcome {
    let failure = Failure {
        message: "builder for nginx failed".into(),
        drv: Some("/nix/store/0000000000000000000000000000000a-nginx-1.27.drv".into()),
        log_tail: vec!["cc: \u{1b}[31mno\u{1b}[0m".into()],
    };
    Outcome::Failed { kind: FailureKind::BuildFailed, failure }
}

pub fn presence(of: &str) -> Presence {
    Presence {
        v: V1,
        worker: worker(),
        instance: Instance(Uuid::nil()),
        classes: vec![class(of)],
        repos: vec![job("web").repo],
        slots: 2,
        labels: BTreeMap::new(),
        jobs: Vec::new(),
        draining: false,
        paused: None,
        room: None,
        version: "0".into(),
        since: STORED,
    }
}

pub fn status(host: &str, attempt: Option<usize>, stand: Stand) -> HostStatus {
    let claim = attempt.map(|_| Claim { epoch: Epoch(1), at: Timestamp(1) });
    HostStatus { job: job(host), class: class("x86_64-linux"), attempt, claim, stand }
}
