//! Tests of the machine: tables for the rules, stories for one job, and any order of events.

mod any_order;
mod claiming;
mod simulation;
mod slots;
mod stories;
mod table;

use std::time::Duration;

use bus::Entry;
use proto::{
    Before, Built, Class, Epoch, Incarnation, Instance, JobKey, Outcome, Overrides, Priority,
    Record, Request, RunId, Timestamp, V1, Wish, record,
    record::{Finished, Running, State},
    subject::JobSubject,
};
use uuid::Uuid;

use super::{
    Settings,
    io::{Delivered, DeliveryId, Now},
};

pub(super) const LEASE: Duration = Duration::from_secs(60);
/// When the worker of these tests starts, by the server's clock.
const START: u64 = 1_000_000;

pub(super) fn incarnation(n: u128) -> Incarnation {
    Incarnation(Uuid::from_u128(n))
}

pub(super) fn instance(n: u128) -> Instance {
    Instance(Uuid::from_u128(n))
}

pub(super) fn settings() -> Settings {
    Settings {
        worker: "w1".parse().expect("a name"),
        instance: instance(1),
        classes: vec![class()],
        repos: [subject("h", incarnation(1)).job.repo].into(),
        slots: 2,
        lease: LEASE,
        attempts_max: 3,
        retry_delay_min: Duration::from_secs(10),
        retry_delay_max: Duration::from_secs(600),
        drain_timeout: Duration::from_secs(300),
        orphan_grace: Duration::from_secs(900),
        avoid_max: Duration::from_secs(600),
        key: None,
        standalone: false,
        seed: 7,
    }
}

fn class() -> Class {
    "x86_64-linux".parse().expect("a class")
}

pub(super) fn subject(host: &str, of: Incarnation) -> JobSubject {
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let job: JobKey = format!("nixos.{commit}.{host}").parse().expect("a key");
    JobSubject { class: class(), priority: Priority::Normal, job, incarnation: of }
}

pub(super) fn delivered(id: u64, host: &str) -> Delivered {
    Delivered {
        id: DeliveryId(id),
        subject: subject(host, incarnation(1)),
        published: Timestamp(START),
        waiting: 0,
        before: Before::Unknown,
        poison: None,
    }
}

/// The three clocks, this many seconds after the start.
pub(super) fn at(seconds: u64) -> Now {
    let mono = Duration::from_secs(seconds);
    let wall = Timestamp(START).plus(mono);
    Now { mono, local: wall, server: wall }
}

pub(super) fn request(of: Incarnation, wishes: usize) -> Request {
    let by = "local".parse().expect("an identity");
    let wish = Wish { priority: Priority::Normal, by, at: Timestamp(START) };
    let runs = (0..wishes).map(|n| (RunId(Uuid::from_u128(n as u128)), wish.clone()));
    Request {
        v: V1,
        class: class(),
        incarnation: of,
        wanted_by: runs.collect(),
        force: false,
        avoid_worker: None,
        overrides: Overrides::default(),
        superseded_by: None,
        trace: None,
    }
}

pub(super) fn entry<T>(value: T, revision: u64, seconds: u64) -> Entry<T> {
    let time = Timestamp(START).plus(Duration::from_secs(seconds));
    Entry { value: Some(value), revision, time }
}

/// A claim of `of` by an instance of worker w`n`.
pub(super) fn claimed(previous: Option<&Record>, of: Incarnation, n: u128) -> Record {
    let by = record::Claimer {
        worker: format!("w{n}").parse().expect("a name"),
        instance: instance(n),
        claim: 1,
        at: Timestamp(START),
        lease_ms: 60_000,
    };
    Record::claimed(previous, of, &by)
}

pub(super) fn finished(record: &Record, outcome: Outcome) -> Record {
    let at = Timestamp(START);
    let (queue_ms, build_ms, phases) = (0, 0, Vec::new());
    let (worker, signature) = (None, None);
    let overrides = Overrides::default();
    record.finished(Finished {
        outcome,
        at,
        worker,
        queue_ms,
        build_ms,
        phases,
        overrides,
        signature,
    })
}

pub(super) fn built() -> Built {
    Built {
        out_path: "/nix/store/x-nixos".into(),
        drv_path: "/nix/store/x-nixos.drv".into(),
        closure_bytes: 1,
        reused: false,
        work: None,
        diff: None,
    }
}

pub(super) fn epoch(record: &Record) -> Epoch {
    record.epoch
}

pub(super) fn running(record: &Record) -> &Running {
    match &record.state {
        State::Running(running) => running,
        other => panic!("not running: {other:?}"),
    }
}
