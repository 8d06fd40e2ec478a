//! The page over a full pool: 10,000 jobs in the buckets.

use std::time::{Duration, Instant};

use serde_json::json;
use tests::{Browser, Pool, eventually};

use super::Page;
use crate::{DEADLINE, among_rivals};

const COMMITS: u64 = 10;
const HOSTS: u64 = 1_000;

/// For the broker to take 20,000 records, each of them synced to disk.
const FILLED_WITHIN: Duration = Duration::from_secs(300);

/// Well above what is measured (about 50 MiB), and below what it is with whole records.
const MEMORY_MAX: u64 = 90 << 20;

/// What a person takes for at once.
const PAINT_MAX: Duration = Duration::from_secs(1);

fn revision(commit: u64) -> String {
    format!("{commit:040x}")
}

/// Nine jobs of ten fail and have the last lines of their log with them, as real records do.
fn record(commit: u64, host: u64) -> serde_json::Value {
    let failure = json!({
        "message": "builder for '/nix/store/x-leaf.drv' failed with exit code 1",
        "drv": "/nix/store/x-leaf.drv",
        "log_tail": vec!["a line of a log ".repeat(5); 100],
    });
    let built = json!({
        "result": "built",
        "out_path": "/nix/store/00000000000000000000000000000000-system",
        "drv_path": "/nix/store/00000000000000000000000000000000-system.drv",
        "closure_bytes": 1,
    });
    let outcome = match host % 10 {
        0 => built,
        _ => json!({ "result": "failed", "kind": "build-failed", "failure": failure }),
    };
    let at = 1_700_000_000_000_u64 + commit;
    json!({
        "v": 1, "epoch": 1, "incarnation": "01900000-0000-7000-8000-000000000001",
        "attempts": [{ "epoch": 1, "worker": "w1", "at": at,
            "instance": "01900000-0000-7000-8000-000000000002" }],
        "state": { "is": "finished", "outcome": outcome, "at": at, "worker": "w1",
            "queue_ms": 1, "build_ms": 2,
            "phases": [{ "phase": "fetch", "ms": 1 }, { "phase": "build", "ms": 1 }] },
    })
}

fn fill(pool: &Pool) {
    let mut messages: Vec<(String, serde_json::Value)> = Vec::new();
    for commit in 0..COMMITS {
        let rev = revision(commit);
        let run = format!("01900000-0000-7000-8000-{commit:012x}");
        let names = (0..HOSTS).map(|host| (format!("h{host:04}"), json!("x86_64-linux")));
        let hosts: serde_json::Map<_, _> = names.collect();
        let at = 1_700_000_000_000_u64 + commit;
        messages.push((
            format!("$KV.nbp-runs.local.{run}"),
            json!({ "v": 1, "run": run, "by": "local", "at": at, "repo": "homelab",
                "revision": rev, "ref": "refs/heads/master", "hosts": hosts, "priority": "normal" }),
        ));
        for host in 0..HOSTS {
            let key = format!("homelab.{rev}.h{host:04}");
            let request = json!({
                "v": 1, "class": "x86_64-linux", "wanted_by": {},
                "incarnation": "01900000-0000-7000-8000-000000000001",
            });
            messages.push((format!("$KV.nbp-requests.{key}"), request));
            messages.push((format!("$KV.nbp-results.{key}"), record(commit, host)));
        }
    }
    pool.block_on(async {
        let client = pool.connect().await;
        for (subject, payload) in messages {
            let bytes = payload.to_string().into_bytes();
            client.publish(subject, bytes.into()).await.expect("a connected client");
        }
        client.flush().await.expect("a connected client");
    });
    eventually("10,000 jobs in the buckets", FILLED_WITHIN, || {
        (pool.messages("KV_nbp-results") == COMMITS * HOSTS).then_some(())
    });
}

/// From the click to the first paint of a page that has the hosts in it, in a browser. The best of
/// three, for what else this machine does is not the page's doing.
#[track_caller]
fn fastest_paint(page: &Page) -> Duration {
    const PAINT: &str = "return performance.getEntriesByName('first-contentful-paint')[0]\
        ?.startTime";
    const SHOWN: &str = "const { top, height } = \
        document.querySelector('.matrix td.failed').getBoundingClientRect(); \
        return height > 0 && top < window.innerHeight";
    let browser = Browser::start();
    let paint = |_| {
        browser.open(&page.url("/"));
        assert_eq!(browser.run(SHOWN), json!(true), "the paint is one of hosts");
        let ms = eventually("the first paint", DEADLINE, || browser.run(PAINT).as_f64());
        Duration::from_secs_f64(ms / 1_000.0)
    };
    (0..3).map(paint).min().expect("three of them")
}

#[test]
fn ten_thousand_jobs_are_on_the_page_soon_and_in_little_memory() {
    let pool = Pool::start();
    fill(&pool);
    let newest = revision(COMMITS - 1);
    let failed = format!("/job/homelab/{newest}/h0011\" title=\"h0011: build-failed");

    let began = Instant::now();
    let page = Page::of(&pool);
    // The newest commit is read first.
    eventually("the newest commit", DEADLINE, || {
        page.get("/").body.contains(&failed).then_some(())
    });
    let first = began.elapsed();
    eventually("all jobs", DEADLINE, || {
        (!page.get("/").body.contains("Reading what the broker knows")).then_some(())
    });
    let all = began.elapsed();
    let mut slowest = Duration::ZERO;
    for path in
        ["/", "/repo/homelab", "/repo/homelab?from=900", &format!("/commit/homelab/{newest}")]
    {
        let asked = Instant::now();
        let answer = page.get(path);
        slowest = slowest.max(asked.elapsed());
        assert_eq!(answer.status, 200);
        assert!(answer.body.len() < 1 << 20, "{path} has {} bytes", answer.body.len());
    }

    let shown = |path: &str, text: &str| {
        let body = page.get(path).body;
        assert!(body.contains(text), "{text:?} in {path}");
    };
    shown("/", "900 of 1000 hosts need a look, the first 60: ");
    shown("/repo/homelab?from=9999", "1000 hosts, shown 901 to 1000");
    shown("/repo/homelab?from=18446744073709551615", "1000 hosts, shown 901 to 1000");

    let memory = page.process.peak_memory();
    let paint = fastest_paint(&page);
    println!(
        "first {first:?}, all {all:?}, slowest page {slowest:?}, paint {paint:?}, {} MiB",
        memory >> 20
    );
    assert!(paint < among_rivals(PAINT_MAX), "{paint:?}");
    assert!(memory < MEMORY_MAX, "{} MiB", memory >> 20);
    assert!(slowest < among_rivals(PAINT_MAX), "{slowest:?}");
}
