//! What is counted, when, and how much of it there may be.

use std::{path::Path, time::Duration};

use bus::OpenJob;
use proto::{
    Attempt, Built, Failure, FailureKind, Incarnation, InfraKind, Instance, Overrides, Phase,
    Priority, Record, Running, Timestamp, V1, Work, record::PhaseTime, subject::JobSubject,
};
use uuid::Uuid;

use super::*;
use crate::build::Plan;

const CONFIG: &str = "[worker]\nname = \"w1\"\nlabels = { role = \"build\\\"host\" }\n\
    [telemetry]\nlisten = \"127.0.0.1:0\"\n\
    [repos.r]\nurl = \"https://git.example/r\"\n[repos.r.hosts.known]\nfeatures = [\"kvm\"]\n";

fn metrics() -> Metrics {
    Metrics::new(&Config::parse(CONFIG, Path::new("worker.toml")).expect("a config"))
}

fn text(metrics: &Metrics) -> String {
    exposition::text(&metrics.0.families.registry)
}

/// The value of the one series with this name and all these labels.
#[track_caller]
fn value(metrics: &Metrics, name: &str, labels: &[&str]) -> f64 {
    let text = text(metrics);
    let of = |line: &&str| {
        let (key, _) = line.split_once([' ', '{']).expect("a series");
        key == name && labels.iter().all(|label| line.contains(label))
    };
    let found: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).filter(of).collect();
    let [line] = found[..] else { panic!("{name} {labels:?}: {found:#?}\n{text}") };
    line.rsplit(' ').next().expect("a value").parse().expect("a number")
}

fn subject(repo: &str, host: &str) -> JobSubject {
    JobSubject {
        class: "x86_64-linux".parse().expect("a class"),
        priority: Priority::Normal,
        job: format!("{repo}.{}.{host}", "0".repeat(40)).parse().expect("a job"),
        incarnation: Incarnation(Uuid::nil()),
    }
}

fn finished(outcome: Outcome, claimed: bool) -> Finished {
    Finished {
        outcome,
        at: Timestamp(1_700_000_000_500),
        worker: claimed.then(|| "w1".parse().expect("a name")),
        queue_ms: 2000,
        build_ms: 45_000,
        phases: vec![PhaseTime { phase: Phase::Build, ms: 40_000 }],
        overrides: Overrides::default(),
        signature: None,
    }
}

fn built(reused: bool) -> Outcome {
    built_with(reused, None)
}

fn built_with(reused: bool, work: Option<Work>) -> Outcome {
    let path = String::new();
    let (out_path, drv_path) = (path.clone(), path);
    Outcome::Built(Built { out_path, drv_path, closure_bytes: 1, reused, work, diff: None })
}

fn failed() -> Outcome {
    Outcome::Failed { kind: FailureKind::BuildFailed, failure: Failure::default() }
}

/// The end of a job as the machine has it carried out: written, told, acked.
fn end(metrics: &Metrics, subject: &JobSubject, finished: &Finished) {
    let id = DeliveryId(7);
    let record = Record {
        v: V1,
        epoch: Epoch(1),
        incarnation: subject.incarnation,
        attempts: Vec::new(),
        state: State::Finished(finished.clone()),
    };
    let (job, record) = (subject.job.clone(), Box::new(record));
    // Twice: the first write had no answer.
    for _ in 0..2 {
        let (job, record) = (job.clone(), record.clone());
        metrics.performed(&Effect::WriteRecord { id, job, record, expected: 1 });
    }
    let outcome = finished.outcome.name().to_owned();
    tell(metrics, subject, What::Finished { outcome });
    metrics.performed(&Effect::Ack(id));
}

fn tell(metrics: &Metrics, subject: &JobSubject, what: What) {
    let subject = subject.clone();
    metrics.performed(&Effect::Tell { subject, epoch: Epoch(1), what });
}

/// A claim of a job, as the machine has its build begun.
fn claimed(metrics: &Metrics, subject: &JobSubject, attempts: u64) {
    let attempt = |epoch| Attempt {
        epoch: Epoch(epoch),
        worker: "w1".parse().expect("a name"),
        instance: Instance(Uuid::nil()),
        at: Timestamp(0),
        end: None,
    };
    let attempts: Vec<Attempt> = (1..=attempts).map(attempt).collect();
    let running = Running {
        instance: Instance(Uuid::nil()),
        claim: 1,
        worker: "w1".parse().expect("a name"),
        lease_ms: 1,
        phase: Phase::Claimed,
        progress: None,
    };
    let record = Record {
        v: V1,
        epoch: Epoch(1),
        incarnation: subject.incarnation,
        attempts,
        state: State::Running(running),
    };
    let (subject, record) = (subject.clone(), Box::new(record));
    let (plan, overrides) = (Plan::Full { force: false }, Overrides::default());
    metrics.performed(&Effect::Build { id: DeliveryId(7), subject, record, plan, overrides });
}

#[test]
fn everything_that_can_be_known_begins_with_a_zero() {
    let metrics = metrics();
    for outcome in families::outcomes() {
        let outcome = format!("outcome=\"{outcome}\"");
        assert_eq!(value(&metrics, "nbp_builds_total", &["host=\"known\"", &outcome]), 0.0);
    }
    for name in ["nbp_redeliveries_total", "nbp_fenced_total", "nbp_buried_total"] {
        assert_eq!(value(&metrics, name, &[]), 0.0);
    }
    assert_eq!(value(&metrics, "nbp_retries_total", &["reason=\"disk-full\""]), 0.0);
    assert_eq!(value(&metrics, "nbp_admission_paused", &["reason=\"clock\""]), 0.0);
    assert_eq!(value(&metrics, "nbp_build_duration_seconds_count", &["repo=\"r\""]), 0.0);
    let waits = &["class=\"x86_64-linux\"", "reason=\"no-worker\""];
    assert_eq!(value(&metrics, "nbp_jobs_waiting", waits), 0.0);
    assert_eq!(value(&metrics, "nbp_broker_connected", &[]), 0.0);
    // Nobody has counted them: that is not the same as none.
    assert!(!text(&metrics).contains("\nnbp_dead_letters{"));
}

#[test]
fn every_series_has_the_name_and_the_labels_of_its_worker() {
    let text = text(&metrics());
    let own = r#"worker="w1",role="build\"host""#;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        assert!(line.starts_with("nbp_") && line.contains(own), "{line}");
    }
}

#[test]
fn an_end_is_counted_once_and_with_its_times() {
    let metrics = metrics();
    let web = subject("r", "web");
    tell(&metrics, &web, What::Claimed);
    end(&metrics, &web, &finished(built(false), true));
    end(&metrics, &web, &finished(failed(), true));
    let host = "host=\"web\"";
    assert_eq!(value(&metrics, "nbp_builds_total", &[host, "outcome=\"built\""]), 1.0);
    assert_eq!(value(&metrics, "nbp_builds_total", &[host, "outcome=\"build-failed\""]), 1.0);
    assert_eq!(value(&metrics, "nbp_builds_total", &[host, "outcome=\"silent\""]), 0.0);
    assert_eq!(value(&metrics, "nbp_build_duration_seconds_count", &[]), 2.0);
    assert_eq!(value(&metrics, "nbp_build_duration_seconds_bucket", &["le=\"30\""]), 0.0);
    assert_eq!(value(&metrics, "nbp_build_duration_seconds_bucket", &["le=\"60\""]), 2.0);
    assert_eq!(value(&metrics, "nbp_phase_duration_seconds_sum", &["phase=\"build\""]), 80.0);
    assert_eq!(value(&metrics, "nbp_queue_wait_seconds_sum", &[]), 4.0);
    assert_eq!(value(&metrics, "nbp_last_build_duration_seconds", &[host]), 45.0);
    let success = value(&metrics, "nbp_last_success_timestamp_seconds", &[host]);
    assert_eq!(success, 1_700_000_000.5);
}

#[test]
fn what_was_not_built_takes_no_time() {
    let metrics = metrics();
    let web = subject("r", "web");
    end(&metrics, &web, &finished(built(true), true));
    // A commit that changes nothing in the host.
    let valid = built_with(false, Some(Work::default()));
    end(&metrics, &web, &finished(valid, true));
    end(&metrics, &web, &finished(Outcome::Cancelled, false));
    assert_eq!(value(&metrics, "nbp_builds_total", &["outcome=\"cancelled\"", "web"]), 1.0);
    assert_eq!(value(&metrics, "nbp_build_duration_seconds_count", &[]), 0.0);
    assert_eq!(value(&metrics, "nbp_queue_wait_seconds_count", &[]), 2.0);
    let downloaded = built_with(false, Some(Work { derivations: 0, downloads: 1 }));
    end(&metrics, &web, &finished(downloaded, true));
    assert_eq!(value(&metrics, "nbp_build_duration_seconds_count", &[]), 1.0);
}

#[test]
fn a_late_end_is_not_counted_and_a_lost_claim_is() {
    let metrics = metrics();
    let web = subject("r", "web");
    let id = DeliveryId(7);
    let ended = finished(built(false), true);
    let record = Record {
        v: V1,
        epoch: Epoch(1),
        incarnation: web.incarnation,
        attempts: Vec::new(),
        state: State::Finished(ended),
    };
    let (job, record) = (web.job.clone(), Box::new(record));
    metrics.performed(&Effect::WriteRecord { id, job, record, expected: 1 });
    tell(&metrics, &web, What::Fenced);
    metrics.performed(&Effect::Abandon(id));
    tell(&metrics, &web, What::Late { outcome: "built".into() });
    assert_eq!(value(&metrics, "nbp_fenced_total", &[]), 1.0);
    assert!(!text(&metrics).contains("host=\"web\""));
    assert!(metrics.state().ending.is_empty(), "nothing is remembered for ever");
}

#[test]
fn retries_burials_and_redeliveries_are_counted() {
    let metrics = metrics();
    let web = subject("r", "web");
    let (reason, message) = (InfraKind::DiskFull, String::new());
    tell(&metrics, &web, What::Retrying { reason, message, delay_ms: 1 });
    tell(&metrics, &web, What::Dead { reason: String::new() });
    for attempts in 1..=3 {
        claimed(&metrics, &web, attempts);
    }
    assert_eq!(value(&metrics, "nbp_retries_total", &["reason=\"disk-full\""]), 1.0);
    assert_eq!(value(&metrics, "nbp_buried_total", &[]), 1.0);
    assert_eq!(value(&metrics, "nbp_redeliveries_total", &[]), 2.0, "the first was no repetition");
}

#[test]
fn foreign_names_make_only_so_many_series() {
    let metrics = metrics();
    for number in 0..bounds::HOSTS_MAX + 50 {
        let host = subject("r", &format!("h{number}"));
        end(&metrics, &host, &finished(failed(), true));
    }
    end(&metrics, &subject("strange", "web"), &finished(failed(), true));
    let text = text(&metrics);
    // One place is the config's own host.
    let other = ["repo=\"r\"", "host=\"(other)\"", "build-failed"];
    assert_eq!(value(&metrics, "nbp_builds_total", &other), 51.0);
    assert!(!text.contains("strange"));
    assert!(text.len() < 4 << 20, "{} bytes", text.len());
}

#[test]
fn a_sweep_tells_what_waits_what_was_built_and_what_is_no_more() {
    let metrics = metrics();
    let web = subject("r", "web").job;
    let class: Class = "riscv64-linux".parse().expect("a class");
    let key = (web.repo.clone(), web.host.clone());
    let mut swept = Swept::default();
    swept.open.push(OpenJob { job: web, class, since: Timestamp(0) });
    swept.hosts.insert(key, Some(Timestamp(5000)));
    metrics.swept(&swept, &[], Some(3));
    let waits = &["class=\"riscv64-linux\"", "reason=\"no-worker\""];
    assert_eq!(value(&metrics, "nbp_jobs_waiting", waits), 1.0);
    assert!(value(&metrics, "nbp_queue_oldest_seconds", &["riscv64"]) > 1e9);
    assert_eq!(value(&metrics, "nbp_last_success_timestamp_seconds", &["web"]), 5.0);
    assert_eq!(value(&metrics, "nbp_dead_letters", &[]), 3.0);
    assert!(value(&metrics, "nbp_swept_timestamp_seconds", &[]) > 1e9);

    metrics.swept(&Swept::default(), &[], Some(0));
    assert_eq!(value(&metrics, "nbp_jobs_waiting", waits), 0.0, "told, not forgotten");
    assert!(!text(&metrics).contains("nbp_last_success_timestamp_seconds{"));
    assert_eq!(value(&metrics, "nbp_dead_letters", &[]), 0.0);
}

#[test]
fn what_a_worker_saw_of_the_pool_is_withdrawn_when_it_sees_it_no_more() {
    let metrics = metrics();
    let web = subject("r", "web").job;
    let class: Class = "riscv64-linux".parse().expect("a class");
    let mut swept = Swept::default();
    swept.hosts.insert((web.repo.clone(), web.host.clone()), Some(Timestamp(5000)));
    swept.open.push(OpenJob { job: web, class, since: Timestamp(0) });
    let of_pool = ["jobs_waiting", "queue_oldest_seconds", "dead_letters", "last_success"];
    let told = |after: Duration| {
        let page = metrics.page(clock::steady() + after);
        of_pool.map(|name| page.contains(&format!("\nnbp_{name}")))
    };
    metrics.swept(&swept, &[], Some(3));
    // Sweeps are two minutes apart on average, and twice that at most.
    assert_eq!(told(Duration::from_secs(7 * 60)), [true; 4]);
    assert_eq!(told(Duration::from_secs(9 * 60)), [false; 4]);
    let seen = metrics.page(clock::steady());
    assert!(seen.contains("\nnbp_swept_timestamp_seconds{"), "it says since when: {seen}");

    metrics.swept(&Swept::default(), &[], Some(0));
    assert_eq!(told(Duration::ZERO), [true, true, true, false]);
    let waits = &["class=\"riscv64-linux\"", "reason=\"no-worker\""];
    assert_eq!(value(&metrics, "nbp_jobs_waiting", waits), 0.0);
}

#[test]
fn what_is_missing_is_told_by_place_and_reason() {
    let metrics = metrics();
    let config = Config::parse(CONFIG, Path::new("worker.toml")).expect("a config");
    let rooms = [Some(Room { bytes: 7, inodes: Some(9) }), Some(Room { bytes: 8, inodes: None })];
    metrics.measured(&config.admission, &rooms);
    metrics.paused(Some(Reason::Inodes));
    assert_eq!(value(&metrics, "nbp_store_free_bytes", &["place=\"store\""]), 7.0);
    assert_eq!(value(&metrics, "nbp_store_free_inodes", &["place=\"store\""]), 9.0);
    assert_eq!(value(&metrics, "nbp_store_free_bytes", &["place=\"build\""]), 8.0);
    assert_eq!(value(&metrics, "nbp_admission_paused", &["inodes"]), 1.0);
    metrics.paused(None);
    assert_eq!(value(&metrics, "nbp_admission_paused", &["inodes"]), 0.0);
}
