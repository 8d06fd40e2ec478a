//! Ten thousand jobs in one run: what is asked of them is answered soon and in little memory.

use std::{
    io::Read as _,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, stream};
use proto::{
    Attempt, Before, Built, ClosureDiff, Failure, FailureKind, Finished, Host, Incarnation,
    Instance, JobKey, JobMessage, Outcome, Overrides, Priority, Record, Request, RunId, RunRecord,
    State, V1, Wish, record::Epoch, subject::JobSubject,
};
use tests::{Pool, pool::REPO};
use uuid::Uuid;

const JOBS: usize = 10_000;

/// Writes in flight at once.
const AT_ONCE: usize = 256;

/// Of an unoptimized program; `make bench` measures a release one.
const STATUS_WITHIN: Duration = Duration::from_secs(20);

/// What the whole answer may take, of any build.
const MEMORY_MAX: u64 = 100 << 20;

fn host(n: usize) -> Host {
    format!("host-{n:05}").parse().expect("a host")
}

fn job(n: usize) -> JobKey {
    format!("{REPO}.{}.{}", "0123456789abcdef".repeat(3).get(..40).expect("40"), host(n))
        .parse()
        .expect("a job")
}

fn run() -> RunRecord {
    RunRecord {
        v: V1,
        run: RunId(Uuid::now_v7()),
        by: proto::Identity::local(),
        at: bus::clock::now(),
        repo: job(0).repo,
        revision: job(0).revision,
        git_ref: Some("refs/heads/master".into()),
        hosts: (0..JOBS).map(|n| (host(n), "x86_64-linux".parse().expect("a class"))).collect(),
        excluded: Vec::new(),
        priority: Priority::Normal,
        force: false,
        overrides: Overrides::default(),
        trace: None,
    }
}

fn request(run: &RunRecord, incarnation: Incarnation) -> Request {
    let wish = Wish { priority: run.priority, by: run.by.clone(), at: run.at };
    Request {
        v: V1,
        class: "x86_64-linux".parse().expect("a class"),
        incarnation,
        wanted_by: [(run.run, wish)].into(),
        force: false,
        avoid_worker: None,
        superseded_by: None,
        overrides: Overrides::default(),
        trace: None,
    }
}

/// Built with a closure difference, or failed with a log: as large as they come.
fn record(n: usize, incarnation: Incarnation) -> Record {
    let outcome = match n % 20 {
        1 => Outcome::Failed {
            kind: FailureKind::BuildFailed,
            failure: Failure {
                message: "builder for nginx failed with exit code 1".into(),
                drv: Some(format!("/nix/store/{}-nginx-1.27.drv", "a".repeat(32))),
                log_tail: vec!["cc -O2 -c -o some/object/file.o some/source/file.c".into(); 100],
            },
        },
        _ => Outcome::Built(Built {
            out_path: format!("/nix/store/{}-nixos-system-{}-26.05", "b".repeat(32), host(n)),
            drv_path: format!("/nix/store/{}-nixos-system-{}-26.05.drv", "c".repeat(32), host(n)),
            closure_bytes: 5 << 30,
            reused: false,
            work: None,
            diff: Some(Box::new(ClosureDiff {
                from: job(n).revision,
                from_path: format!("/nix/store/{}-nixos-system", "d".repeat(32)),
                bytes: 1 << 20,
                lines: vec!["some-package: 1.2.3 → 1.2.4, +12.3 KiB".into(); 300],
                lines_cut: 0,
            })),
        }),
    };
    let (worker, instance) = ("w1".parse().expect("a worker"), Instance(Uuid::nil()));
    let at = bus::clock::now();
    let attempt = Attempt { epoch: Epoch(1), worker, instance, at, end: None };
    let finished = Finished {
        outcome,
        at,
        worker: Some(attempt.worker.clone()),
        queue_ms: 1,
        build_ms: 1,
        phases: Vec::new(),
        overrides: Overrides::default(),
        signature: None,
    };
    let (epoch, state) = (Epoch(1), State::Finished(finished));
    Record { v: V1, epoch, incarnation, attempts: vec![attempt], state }
}

/// Nine of ten have ended; the others wait in the queue.
fn fill(pool: &Pool, run: &RunRecord) {
    pool.block_on(async {
        let context = pool.jetstream().await;
        let put = |subject: String, bytes: Vec<u8>| {
            let context = context.clone();
            async move {
                let published = context.publish(subject, bytes.into()).await;
                published.expect("connected").await.expect("a stream that takes it");
            }
        };
        let json = |value: serde_json::Result<Vec<u8>>| value.expect("encodes");
        put(format!("$KV.nbp-runs.{}", run.key()), json(serde_json::to_vec(run))).await;
        let jobs = (0..JOBS).map(|n| {
            let (put, job, incarnation) = (&put, job(n), Incarnation(Uuid::now_v7()));
            async move {
                let wanted = json(serde_json::to_vec(&request(run, incarnation)));
                put(format!("$KV.nbp-requests.{job}"), wanted).await;
                if n % 10 > 0 {
                    let known = json(serde_json::to_vec(&record(n, incarnation)));
                    return put(format!("$KV.nbp-results.{job}"), known).await;
                }
                let at = bus::clock::now();
                let before = Before::Nothing;
                let message = JobMessage { v: V1, job: job.clone(), incarnation, at, before };
                let class = "x86_64-linux".parse().expect("a class");
                let subject = JobSubject { class, priority: run.priority, job, incarnation };
                put(subject.subject(), json(serde_json::to_vec(&message))).await;
            }
        });
        stream::iter(jobs).buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
    });
}

/// None of one that has ended.
fn peak_memory(child: &Child) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id()));
    let status = status.expect("a program that nobody has waited for");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = peak.trim().trim_end_matches("kB").trim().parse().expect("a number");
    Some(kib << 10)
}

/// Runs a command to its end; what it printed, how long it took to begin, and its memory then, when
/// all of the answer is there and none of it is read. One whose answer fits into a pipe may have ended
/// by then.
fn measured(pool: &Pool, args: &[&str]) -> (String, Duration, Option<u64>) {
    let begun = Instant::now();
    let mut command = pool.client("producer");
    let mut child = command.args(args).stdout(Stdio::piped()).spawn().expect("a program");
    let mut output = child.stdout.take().expect("a pipe");
    let mut text = vec![0];
    output.read_exact(&mut text).expect("it prints something");
    let (took, memory) = (begun.elapsed(), peak_memory(&child));
    output.read_to_end(&mut text).expect("it prints the rest");
    assert!(child.wait().expect("our own child").success());
    (String::from_utf8(text).expect("text"), took, memory)
}

#[test]
fn the_status_of_ten_thousand_jobs_is_told_soon_and_in_little_memory() {
    let pool = Pool::start();
    let run = run();
    fill(&pool, &run);
    let id = run.run.to_string();
    for (args, known) in [
        (&["status", &id][..], "10000 hosts: 8500 built, 500 failed, 1000 not finished"),
        (&["status", &id, "--json"], "\"expected\":10000,\"finished\":9000,\"built\":8500"),
        (&["queue"], "x86_64-linux"),
        (&["history", "host-00002", "--repo", REPO], "built"),
    ] {
        let (text, took, memory) = measured(&pool, args);
        assert!(text.contains(known), "{args:?} does not say {known}");
        assert!(took < crate::among_rivals(STATUS_WITHIN), "{args:?} took {took:?}");
        assert!(memory.is_some() || args[0] != "status", "{args:?} ended with its answer unread");
        assert!(memory < Some(MEMORY_MAX), "{args:?} took {memory:?} bytes");
    }
    let (queue, ..) = measured(&pool, &["queue", "--json"]);
    let queue: serde_json::Value = serde_json::from_str(&queue).expect("JSON");
    let mut classes = queue["classes"].as_array().expect("a list").iter();
    let class = classes.find(|it| it["class"] == "x86_64-linux").expect("the class");
    assert_eq!(class["queued"], JOBS / 10);
}
