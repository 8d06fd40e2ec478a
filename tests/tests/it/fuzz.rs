//! Garbage by the thousand: on every subject a worker reads, and in every bucket.

use std::collections::BTreeMap;

use fastrand::Rng;
use proto::subject::JobSubject;
use tests::{Flake, Pool, WorkerOptions, eventually};

use crate::{DEADLINE, all_built};

const MESSAGES: usize = 10_000;
const RECORDS: usize = 10_000;
const NOBODYS_REV: &str = "0123456789abcdef0123456789abcdef01234567";

/// Printed when the test fails, and the same each time.
const SEED: u64 = 20_261_123;

/// Some bytes of it changed, lost, doubled or cut off, or all of it replaced.
fn mutated(rng: &mut Rng, text: &[u8]) -> Vec<u8> {
    let mut bytes = text.to_vec();
    match rng.u32(0..20) {
        0 => return (0..rng.usize(0..200)).map(|_| rng.u8(..)).collect(),
        1 => return vec![b'['; rng.usize(0..100_000)],
        2 => return Vec::new(),
        _ => {}
    }
    for _ in 0..rng.usize(1..4) {
        let at = rng.usize(0..bytes.len().max(1)).min(bytes.len());
        match rng.u32(0..6) {
            0 if at < bytes.len() => bytes[at] = rng.u8(..),
            1 if at < bytes.len() => drop(bytes.remove(at)),
            2 => bytes.truncate(at),
            3 => {
                let end = (at + rng.usize(1..30)).min(bytes.len());
                let part = bytes[at..end].to_vec();
                bytes.splice(at..at, part);
            }
            4 => bytes.splice(at..at, *b"99999999999999999999").for_each(drop),
            _ => bytes.splice(at..at, *b"\"v\":2,").for_each(drop),
        }
    }
    bytes
}

/// The same for a subject, which stays one that the broker takes.
fn mutated_subject(rng: &mut Rng, prefix: &str, tail: &str) -> String {
    let bytes = mutated(rng, tail.as_bytes());
    let text = String::from_utf8_lossy(&bytes);
    let legal = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '*' | '>');
    let legal: String = text.chars().filter(|c| legal(*c)).take(400).collect();
    let tokens: Vec<&str> = legal.split('.').filter(|token| !token.is_empty()).collect();
    match tokens.is_empty() {
        true => format!("{prefix}.x"),
        false => format!("{prefix}.{}", tokens.join(".")),
    }
}

#[test]
fn ten_thousand_garbled_messages_are_all_ended_and_good_jobs_go_on() {
    let pool = Pool::start();
    let rev = pool.commit("master", &Flake::hosts(4));
    let mut rng = Rng::with_seed(SEED);
    pool.block_on(async {
        let client = pool.connect().await;
        for number in 0..MESSAGES {
            let uuid = uuid::Uuid::from_u128(rng.u128(..));
            let tail = format!("homelab.{NOBODYS_REV}.h{number}.{uuid}");
            let payload = format!(
                "{{\"v\":1,\"job\":\"homelab.{NOBODYS_REV}.h{number}\",\
                 \"incarnation\":\"{uuid}\",\"at\":1}}"
            );
            let payload = mutated(&mut rng, payload.as_bytes());
            let subject = match number % 10 {
                0 => mutated_subject(&mut rng, "nbp.cancel", &tail),
                1..4 => format!("nbp.build.x86_64-linux.low.{tail}"),
                4..6 => mutated_subject(&mut rng, "nbp.build.x86_64-linux.high", &tail),
                6..8 => mutated_subject(&mut rng, "nbp.build.x86_64-linux.normal", &tail),
                _ => mutated_subject(&mut rng, "nbp.build.x86_64-linux.low", &tail),
            };
            client.publish(subject, payload.into()).await.expect("sends");
            if number % 500 == 0 {
                client.flush().await.expect("sends");
            }
        }
        // The stream takes them one after the other: when it has the last one, it has had all.
        let context = async_nats::jetstream::ContextBuilder::new().timeout(3 * DEADLINE);
        let context = context.build(client);
        let last = context.publish("nbp.build.x86_64-linux.low.last", "".into()).await;
        last.expect("sends").await.expect("is stored");
    });
    // What names no job is counted by a dead letter each; what names one that nobody asked for, as
    // the rest does, is stale.
    let nameless = pool
        .subjects("NBP_JOBS")
        .iter()
        .filter(|subject| JobSubject::parse(subject).is_err())
        .count();
    assert!(nameless > 100, "{nameless} name no job");
    let options = WorkerOptions { slots: 16, ..WorkerOptions::default() };
    let mut worker = pool.worker_with("w1", &options);

    all_built(pool.submit(&["--all", "--ref", "master", "--wait", "--json"]), 4);

    eventually("an empty queue", 3 * DEADLINE, || {
        assert!(worker.is_running(), "seed {SEED}: the worker ended");
        (pool.messages("NBP_JOBS") == 0).then_some(())
    });
    assert_eq!(pool.messages("NBP_DEAD"), nameless as u64);
    assert!(!worker.log().contains("panicked"), "seed {SEED}");
    let results: BTreeMap<_, _> = pool.results();
    assert_eq!(results.len(), 4, "nothing was made of garbage: {:?}", results.keys());
    assert!(results.keys().all(|key| key.contains(&rev)));
}

#[test]
fn ten_thousand_garbled_records_stop_neither_workers_nor_people() {
    let pool = Pool::start();
    let rev = pool.commit("master", &Flake::hosts(4));
    let options = WorkerOptions {
        slots: 16,
        max_attempts: 1,
        worker: "sweep_every = \"1s\"",
        ..WorkerOptions::default()
    };
    // Real records to start from.
    let mut worker = pool.worker_with("w1", &options);
    all_built(pool.submit(&["--all", "--ref", "master", "--wait", "--json"]), 4);
    let request = pool.bucket("nbp-requests").into_values().next().expect("a request").to_string();
    let record = pool.results().into_values().next().expect("a record").to_string();
    let mut rng = Rng::with_seed(SEED);
    pool.block_on(async {
        let client = pool.connect().await;
        for number in 0..RECORDS {
            let key = format!("fuzz.{NOBODYS_REV}.h{number}");
            let (bucket, text) = match number % 2 {
                0 => ("nbp-requests", &request),
                _ => ("nbp-results", &record),
            };
            let bytes = mutated(&mut rng, text.as_bytes());
            client.publish(format!("$KV.{bucket}.{key}"), bytes.into()).await.expect("sends");
            // Some of them are in the queue as well, so that a worker looks at them.
            if number % 20 < 2 {
                let uuid = uuid::Uuid::from_u128(rng.u128(..));
                let subject = format!("nbp.build.x86_64-linux.high.{key}.{uuid}");
                let payload =
                    format!("{{\"v\":1,\"job\":\"{key}\",\"incarnation\":\"{uuid}\",\"at\":1}}");
                client.publish(subject, payload.into()).await.expect("sends");
            }
            if number % 500 == 0 {
                client.flush().await.expect("sends");
            }
        }
        client.flush().await.expect("sends");
    });

    pool.commit("master", &Flake::hosts(4).salt("another"));
    let answer = all_built(pool.submit(&["--all", "--ref", "master", "--wait", "--json"]), 4);
    let run = crate::text(&answer["run"]);
    pool.producer(&["status", &run]).expect_code(0);
    pool.gate_check(&["--rev", &rev, "--hosts", "h01"]).expect_code(0);
    // A sweep that met all of them, and comes to an end.
    worker.wait_for_log("was wanted and in no queue", DEADLINE);
    assert!(worker.is_running(), "seed {SEED}: the worker ended");
    assert!(!worker.log().contains("panicked"), "seed {SEED}");
    assert!(worker.peak_memory() < 64 << 20, "{} MiB", worker.peak_memory() >> 20);
}
