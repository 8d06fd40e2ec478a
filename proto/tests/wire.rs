//! The bytes of every record. A fixture here is what some broker out there holds: it must decode
//! for ever, and a change that would write other bytes shows here first. (The log chunk alone was
//! changed once, before the first release.)

use std::{collections::BTreeMap, fmt::Debug, sync::Arc};

use proto::{
    Attempt, AttemptEnd, Before, Built, ClosureDiff, Epoch, Failure, FailureKind, Finished,
    Identity, InfraKind, JobMessage, LastGood, Outcome, Override, Overrides, Phase, Presence,
    Priority, Record, Request, RunRecord, Running, Signature, State, Timestamp, V1, Waiting, Wish,
    Work,
    event::{ClassChange, ClassEvent, DeadLetter, JobEvent, RunChange, RunEvent, What},
    gate::{
        Candidate, End, GateRun, Holder, HostResult, HostStanding, Landed, LandedHost, Lease, Made,
        Required, Source, Stage, Tested, Trial, Update,
    },
    log::{ChunkWriter, LogChunk, LogLine},
    record::{PhaseTime, Progress},
    worker::{PlaceRoom, PresentJob, Room},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

const JOB: &str = "nixos-servers.0123456789abcdef0123456789abcdef01234567.ns1";
const FIRST: &str = "01a205c2-16b4-7095-a68f-a42b236999a4";
const SECOND: &str = "01a205c2-40e1-770c-a21b-3f6cad08f9a0";

/// The value has exactly these bytes, these bytes are the value, a reader of today tolerates a
/// field of tomorrow, and nobody reads another version.
#[track_caller]
fn check<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T, fixture: &str) {
    let fixture: Value = serde_json::from_str(fixture).expect("a fixture is JSON");
    assert_eq!(serde_json::to_value(value).expect("encodes"), fixture, "encoding changed");
    let decode = |json: &Value| serde_json::from_value::<T>(json.clone());
    assert_eq!(&decode(&fixture).expect("decodes"), value, "decoding changed");
    let mut later = fixture.clone();
    later["of_tomorrow"] = true.into();
    assert_eq!(&decode(&later).expect("tolerates an unknown field"), value);
    let mut newer = fixture;
    newer["v"] = 2.into();
    let error = decode(&newer).expect_err("another version is refused").to_string();
    assert!(error.contains("unknown version 2"), "{error}");
}

fn parse<T: std::str::FromStr<Err: Debug>>(text: &str) -> T {
    text.parse().expect("a valid name")
}

fn attempt(epoch: u64, end: Option<AttemptEnd>) -> Attempt {
    let (worker, instance) = (parse("nix-cache01"), parse(SECOND));
    Attempt { epoch: Epoch(epoch), worker, instance, at: Timestamp(1_700_000_000_000), end }
}

fn record(state: State, attempts: Vec<Attempt>) -> Record {
    Record { v: V1, epoch: Epoch(3), incarnation: parse(FIRST), attempts, state }
}

fn finished(outcome: Outcome) -> State {
    State::Finished(Finished {
        outcome,
        at: Timestamp(1_700_000_100_000),
        worker: Some(parse("nix-cache01")),
        queue_ms: 12,
        build_ms: 90_000,
        phases: vec![PhaseTime { phase: Phase::Evaluate, ms: 4_000 }],
        overrides: Overrides::default(),
        signature: None,
    })
}

/// The example of the W3C recommendation.
const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn overrides() -> Overrides {
    let (repo, revision) =
        (parse("nixos-servers"), parse("89abcdef0123456789abcdef0123456789abcdef"));
    Overrides::new([(parse("servers"), Override { repo, revision })].into()).expect("overrides")
}

#[test]
fn record_with_overrides() {
    let State::Finished(finished) = finished(Outcome::Cancelled) else { panic!("as just made") };
    let finished = Finished { overrides: overrides(), ..finished };
    let record = record(State::Finished(finished), Vec::new());
    check(&record, include_str!("wire/record_overrides.json"));
}

#[test]
fn job_message() {
    let at = Timestamp(1_700_000_000_000);
    let (job, incarnation) = (parse(JOB), parse(FIRST));
    let message = JobMessage { v: V1, job, incarnation, at, before: Before::Unknown };
    check(&message, include_str!("wire/job_message.json"));
    let first = JobMessage { before: Before::Nothing, ..message };
    check(&first, include_str!("wire/job_message_first.json"));
}

#[test]
fn request() {
    let by = parse("UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4");
    let wish = Wish { priority: Priority::High, by, at: Timestamp(1_700_000_000_000) };
    let request = Request {
        v: V1,
        class: parse("x86_64-linux_kvm"),
        incarnation: parse(FIRST),
        wanted_by: [(parse(SECOND), wish)].into(),
        force: true,
        avoid_worker: Some(parse("w2")),
        overrides: Overrides::default(),
        superseded_by: None,
        trace: None,
    };
    check(&request, include_str!("wire/request.json"));
    let traced = Request { trace: Some(parse(TRACE)), ..request.clone() };
    check(&traced, include_str!("wire/request_traced.json"));
    let request = Request { overrides: overrides(), ..request };
    check(&request, include_str!("wire/request_overrides.json"));
}

#[test]
fn record_running() {
    let state = State::Running(Running {
        instance: parse(SECOND),
        claim: 17,
        worker: parse("nix-cache01"),
        lease_ms: 60_000,
        phase: Phase::Build,
        progress: Some(Progress { done: 3, expected: 40 }),
    });
    let lost = attempt(1, Some(AttemptEnd::WorkerLost));
    let back = attempt(2, Some(AttemptEnd::HandedBack));
    let record = record(state, vec![lost, back, attempt(3, None)]);
    check(&record, include_str!("wire/record_running.json"));
    let State::Running(running) = &record.state else { panic!("as just made") };
    let uncounted = State::Running(Running { claim: 0, ..running.clone() });
    let uncounted = Record { state: uncounted, ..record };
    check(&uncounted, include_str!("wire/record_running_uncounted.json"));
}

#[test]
fn record_waiting() {
    let message = "no space left on device".to_owned();
    let reason = AttemptEnd::Infra { kind: InfraKind::DiskFull, message };
    let state = State::Waiting(Waiting { delay_ms: 7_123, reason: reason.clone() });
    let record = record(state, vec![attempt(3, Some(reason))]);
    check(&record, include_str!("wire/record_waiting.json"));
}

#[test]
fn record_built() {
    let outcome = Outcome::Built(Built {
        out_path: "/nix/store/5ba1zbq5fg0ss86n4zz7x71rmvb5k59l-nixos-system-ns1-26.05".into(),
        drv_path: "/nix/store/bn4p257w1xwbzcqr86hcalsgkn4c1ymh-nixos-system-ns1-26.05.drv".into(),
        closure_bytes: 2_345_678_901,
        reused: true,
        work: None,
        diff: None,
    });
    let before = record(finished(outcome.clone()), vec![attempt(3, None)]);
    check(&before, include_str!("wire/record_built.json"));
    let Outcome::Built(mut built) = outcome else { unreachable!("as just made") };
    built.diff = Some(Box::new(ClosureDiff {
        from: parse("89abcdef0123456789abcdef0123456789abcdef"),
        from_path: "/nix/store/8ws3sa0kkj0v7lqz7s2ccbqwyi5s0vjh-nixos-system-ns1-26.05".into(),
        bytes: -204_800,
        lines: vec!["nginx: 1.26 → 1.27, -200.0 KiB".into()],
        lines_cut: 2,
    }));
    let differs = record(finished(Outcome::Built(built.clone())), vec![attempt(3, None)]);
    check(&differs, include_str!("wire/record_built_diff.json"));
    built.diff = None;
    built.reused = false;
    built.work = Some(Work { derivations: 3, downloads: 20 });
    let counted = record(finished(Outcome::Built(built)), vec![attempt(3, None)]);
    check(&counted, include_str!("wire/record_built_work.json"));
}

#[test]
fn record_signed() {
    let mut state = finished(Outcome::Cancelled);
    let State::Finished(end) = &mut state else { unreachable!("it was just made") };
    let body = serde_json::to_string(end).expect("encodes");
    let by = parse("UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4");
    end.signature = Some(Signature { by, body, sig: "c2lnbmF0dXJl".into() });
    check(&record(state, Vec::new()), include_str!("wire/record_signed.json"));
}

#[test]
fn record_failed() {
    let failure = Failure {
        message: "builder for 'x.drv' failed with exit code 1".into(),
        drv: Some("/nix/store/n991rrxzxjqkdzr5356dlvpyfhvsbazw-prometheus-3.9.0.drv".into()),
        log_tail: vec!["line".into(), "last line".into()],
    };
    let outcome = Outcome::Failed { kind: FailureKind::BuildFailed, failure };
    let record = record(finished(outcome), vec![attempt(3, None)]);
    check(&record, include_str!("wire/record_failed.json"));
}

#[test]
fn record_infra_failed_and_cancelled() {
    let failure = Failure::message("the worker was lost in the middle");
    let outcome = Outcome::InfraFailed { kind: InfraKind::WorkerLost, failure };
    let infra = record(finished(outcome), Vec::new());
    check(&infra, include_str!("wire/record_infra_failed.json"));
    let cancelled = record(finished(Outcome::Cancelled), Vec::new());
    check(&cancelled, include_str!("wire/record_cancelled.json"));
}

fn a_run() -> RunRecord {
    RunRecord {
        v: V1,
        run: parse(SECOND),
        by: parse("local"),
        at: Timestamp(1_700_000_000_000),
        repo: parse("nixos-servers"),
        revision: parse("0123456789abcdef0123456789abcdef01234567"),
        git_ref: Some("refs/heads/master".into()),
        overrides: Overrides::default(),
        hosts: [(parse("ns1"), parse("x86_64-linux"))].into(),
        excluded: vec![parse("pi4")],
        priority: Priority::Normal,
        force: false,
        trace: None,
    }
}

#[test]
fn run() {
    let run = a_run();
    check(&run, include_str!("wire/run.json"));
    let traced = RunRecord { trace: Some(parse(TRACE)), ..run.clone() };
    check(&traced, include_str!("wire/run_traced.json"));
    let revision = run.revision.with(&overrides());
    let overridden = RunRecord { overrides: overrides(), revision, ..run.clone() };
    check(&overridden, include_str!("wire/run_overrides.json"));
    assert_eq!(run.key(), format!("local.{SECOND}"));
}

#[test]
fn last_good() {
    let good = LastGood {
        v: V1,
        revision: parse("0123456789abcdef0123456789abcdef01234567"),
        incarnation: parse(FIRST),
        out_path: "/nix/store/5ba1zbq5fg0ss86n4zz7x71rmvb5k59l-nixos-system-ns1-26.05".into(),
        drv_path: "/nix/store/bn4p257w1xwbzcqr86hcalsgkn4c1ymh-nixos-system-ns1-26.05.drv".into(),
        closure_bytes: 2_345_678_901,
        at: Timestamp(1_700_000_100_000),
        worker: parse("nix-cache01"),
        real_ms: None,
    };
    check(&good, include_str!("wire/last_good.json"));
    let told = LastGood { real_ms: Some(90_000), ..good };
    check(&told, include_str!("wire/last_good_real.json"));
    let key = proto::last_good::key(&parse("nixos-servers"), &parse("ns1"));
    assert_eq!(key, "nixos-servers.ns1");
}

#[test]
fn presence() {
    let presence = Presence {
        v: V1,
        worker: parse("nix-cache01"),
        instance: parse(SECOND),
        classes: vec![parse("x86_64-linux")],
        // As older workers wrote it.
        repos: Vec::new(),
        slots: 2,
        labels: BTreeMap::new(),
        jobs: vec![PresentJob {
            job: parse(JOB),
            phase: Phase::Fetch,
            since: None,
            progress: None,
        }],
        draining: true,
        paused: Some("store: 3 GiB free, want 10 GiB".into()),
        room: None,
        version: "0.1.0".into(),
        since: Timestamp(1_700_000_000_000),
    };
    check(&presence, include_str!("wire/presence.json"));
    let repos = vec![parse("nixos-servers")];
    let presence = Presence { repos, ..presence };
    check(&presence, include_str!("wire/presence_with_repos.json"));
    let labels = BTreeMap::from([("role".into(), "build-host".into())]);
    let presence = Presence { labels, ..presence };
    check(&presence, include_str!("wire/presence_with_labels.json"));
    let place = PlaceRoom {
        name: "the store".into(),
        bytes_free: 3 << 30,
        bytes_free_min: 10 << 30,
        inodes_free: Some(1_000_000),
        inodes_free_min: 100_000,
    };
    let (memory_pressure, memory_pressure_max) = (Some(3), 60);
    let room = Some(Room { places: vec![place], memory_pressure, memory_pressure_max });
    let since = Some(Timestamp(1_700_000_050_000));
    let progress = Some(Progress { done: 3, expected: 40 });
    let job = PresentJob { job: parse(JOB), phase: Phase::Build, since, progress };
    let presence = Presence { room, jobs: vec![job], ..presence };
    check(&presence, include_str!("wire/presence_with_room.json"));
}

#[test]
fn log_chunk() {
    let drv: Option<Arc<str>> =
        Some("/nix/store/n991rrxzxjqkdzr5356dlvpyfhvsbazw-prometheus-3.9.0.drv".into());
    let lines = vec![
        LogLine { drv: drv.clone(), text: "Running phase: \u{1b}[1mbuildPhase".into() },
        LogLine { drv, text: "unpacking source archive".into() },
        LogLine { drv: None, text: "evaluating ns1".into() },
    ];
    let chunk = LogChunk { v: V1, seq: 7, dropped: 3, lines, end: true };
    check(&chunk, include_str!("wire/log_chunk.json"));
}

#[test]
fn a_chunk_written_line_by_line_is_the_same() {
    let line =
        |drv: Option<&str>, text: &str| LogLine { drv: drv.map(Into::into), text: text.into() };
    let one = Some("/nix/store/a\"b.drv");
    let lines = vec![
        line(one, "\u{1b}[1m \\ \"é\" \u{7f}\0"),
        line(one, ""),
        line(None, "x"),
        line(Some("/nix/store/c.drv"), "y"),
        line(one, "z"),
    ];
    for (dropped, lines, end) in [
        (0, lines.clone(), false),
        (3, lines.clone(), true),
        (0, lines[2..].to_vec(), true),
        (0, Vec::new(), true),
    ] {
        let mut writer = ChunkWriter::new(7, dropped, b"old".to_vec());
        for (number, line) in lines.iter().enumerate() {
            let (drv, before) = (line.drv.as_deref(), writer.bytes());
            let mut probe = ChunkWriter::new(0, 0, Vec::new());
            let most = probe.line(drv, &line.text, usize::MAX).expect("room");
            assert_eq!(writer.line(drv, &line.text, 0), None, "no room");
            assert_eq!((writer.lines(), writer.bytes()), (number, before));
            let text = serde_json::to_vec(&line.text).expect("JSON");
            let size = writer.written(drv, &text, most + "]},".len()).expect("room");
            assert_eq!((writer.lines(), writer.bytes()), (number + 1, before + size));
        }
        let bytes = writer.bytes();
        let written = writer.finish(end);
        assert!(written.len() <= bytes + ChunkWriter::END_BYTES_MAX);
        let chunk = LogChunk { v: V1, seq: 7, dropped, lines, end };
        assert_eq!(written, serde_json::to_vec(&chunk).expect("JSON"));
    }
}

#[test]
fn job_event_and_dead_letter() {
    let reason = InfraKind::FetchFailed;
    let event = JobEvent {
        v: V1,
        at: Timestamp(1_700_000_000_000),
        job: parse(JOB),
        incarnation: parse(FIRST),
        epoch: Epoch(3),
        worker: parse("nix-cache01"),
        what: What::Retrying { reason, message: "no route to host".into(), delay_ms: 100 },
    };
    check(&event, include_str!("wire/job_event.json"));
    let letter = DeadLetter {
        v: V1,
        at: Timestamp(1_700_000_000_000),
        worker: parse("nix-cache01"),
        subject: "nbp.build.short".into(),
        payload: "{".into(),
        reason: "it is not nbp.build and six tokens".into(),
        attempts: vec![attempt(1, Some(AttemptEnd::WorkerLost))],
    };
    check(&letter, include_str!("wire/dead_letter.json"));
}

#[test]
fn what_was_done_to_a_run_and_a_class() {
    let (at, by) = (Timestamp(1_700_000_000_000), parse::<Identity>("local"));
    let event = RunEvent::of(&a_run(), by.clone(), at, RunChange::submitted(&a_run()));
    check(&event, include_str!("wire/run_event.json"));
    let what = ClassChange::Paused { until: Some(Timestamp(1_700_000_100_000)) };
    let event = ClassEvent { v: V1, at, class: parse("x86_64-linux"), by, what };
    check(&event, include_str!("wire/class_event.json"));
}

fn gate_run(stage: Stage) -> GateRun {
    GateRun {
        v: V1,
        id: parse(FIRST),
        repo: parse("nixos-servers"),
        base: "master".into(),
        source: Source::Update,
        by: parse("local"),
        at: Timestamp(1_700_000_000_000),
        rounds: 1,
        stage,
        trace: None,
    }
}

fn gate_trial() -> Trial {
    let made = Made::Update(Update {
        lock: "{}".into(),
        old_lock: String::new(),
        message: "flake.lock: update\n".into(),
        date: 1_700_000_000,
        kept: Vec::new(),
    });
    let candidate = Candidate {
        base: parse("89abcdef0123456789abcdef0123456789abcdef"),
        revision: parse("0123456789abcdef0123456789abcdef01234567"),
        branch: "flake-update/2026-11-25".into(),
        replaces: None,
        made,
    };
    let (class, overrides) = (parse("x86_64-linux"), Overrides::default());
    let required = Required { job: parse(JOB), class, overrides, advisory: false };
    Trial {
        candidate,
        required: [("ns1".to_owned(), required)].into(),
        excluded: vec!["pi4".into()],
        external: Vec::new(),
        run: parse(SECOND),
        base_run: parse(FIRST),
    }
}

#[test]
fn gate_runs() {
    check(&gate_run(Stage::Test(gate_trial())), include_str!("wire/gate_run_test.json"));
    let result = HostResult {
        standing: HostStanding::Built,
        outcome: "built".into(),
        drv_path: Some("/nix/store/a.drv".into()),
        out_path: Some("/nix/store/a".into()),
        leaf: None,
        message: None,
        attempts: 2,
        build_ms: 90_000,
        reused: false,
        flaky: true,
        pre_existing: false,
        advisory: false,
    };
    let tested = Tested { trial: gate_trial(), results: [("ns1".to_owned(), result)].into() };
    let ended = Stage::Ended(Box::new(End::Landed(Box::new(tested))));
    check(&gate_run(ended), include_str!("wire/gate_run_landed.json"));
}

#[test]
fn gate_lease_and_landing() {
    let nonce = parse::<proto::RunId>(SECOND).0;
    let place = "runner, process 7".to_owned();
    let holder = Holder { by: parse("local"), place, nonce, lease_ms: 60_000 };
    let lease = Lease { v: V1, holder: Some(holder), run: Some(parse(FIRST)), failed: None };
    check(&lease, include_str!("wire/gate_lease.json"));
    let (drv_path, out_path) = ("/nix/store/a.drv".to_owned(), "/nix/store/a".to_owned());
    let host = LandedHost { drv_path, out_path, changed: Some(true) };
    let landed = Landed {
        v: V1,
        at: Timestamp(1_700_000_000_000),
        repo: parse("nixos-servers"),
        branch: "master".into(),
        revision: parse("0123456789abcdef0123456789abcdef01234567"),
        base: parse("89abcdef0123456789abcdef0123456789abcdef"),
        gate: parse(FIRST),
        hosts: [("ns1".to_owned(), host)].into(),
    };
    check(&landed, include_str!("wire/gate_landed.json"));
}
