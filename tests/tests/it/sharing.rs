//! Many who want something of the same queue.

use std::time::{Duration, Instant};

use bus::{Bus, Endpoint};
use tests::{Flake, Pool, WorkerOptions, eventually, flake::system_name};

use crate::{DEADLINE, all_built, among_rivals, text};

fn asked(pool: &Pool, args: &[&str]) -> String {
    text(&pool.submit(&[args, &["--json"]].concat()).expect_code(0).json()["run"])
}

#[test]
fn a_job_wanted_low_and_high_is_built_once_at_the_high_place() {
    let pool = Pool::start();
    let rev = pool.commit("master", &Flake::hosts(8));
    let low = asked(&pool, &["--all", "--ref", "master", "--priority", "low"]);
    let high = asked(&pool, &["h08", "--rev", &rev, "--priority", "high"]);
    let _worker = pool.worker_with("w1", &WorkerOptions { slots: 1, ..WorkerOptions::default() });

    all_built(pool.producer(&["watch", &low, "--timeout", "180s", "--json"]), 8);

    all_built(pool.producer(&["status", &high, "--json"]), 1);
    let claimed = pool.events("nbp.event.job.claimed.>");
    let hosts: Vec<String> = claimed
        .iter()
        .map(|event| text(&event["job"]).rsplit('.').next().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(hosts[0], "h08", "the high one first: {hosts:?}");
    assert_eq!(hosts.len(), 8, "each once: {hosts:?}");
    assert_eq!(pool.store.builds_begun(&system_name("h08")), 1);
    eventually("an empty queue", DEADLINE, || (pool.messages("NBP_JOBS") == 0).then_some(()));
}

#[test]
fn three_hundred_waiting_jobs_of_one_repo_do_not_delay_another_repo() {
    let pool = Pool::start();
    let rev = pool.commit("master", &Flake::hosts(1));
    // The first repo's git server is away: its jobs wait for their retries, minutes from now.
    let options = WorkerOptions {
        delay_min: "10m",
        delay_max: "10m",
        extra: "[repos.away]\nurl = \"http://127.0.0.1:1/away.git\"\n".to_owned(),
        ..WorkerOptions::default()
    };
    let _worker = pool.worker_with("w1", &options);
    let hosts: Vec<String> = (0..300).map(|number| format!("h{number}")).collect();
    let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
    let args = [&["submit", "--repo", "away", "--rev", &rev], &hosts[..]].concat();
    pool.producer(&args).expect_code(0);
    let waiting = || {
        let results = pool.results();
        results.values().filter(|it| it["state"]["is"] == "waiting").count()
    };
    eventually("300 waiting jobs", 2 * DEADLINE, || (waiting() >= 295).then_some(()));

    let start = Instant::now();
    all_built(pool.submit(&["h01", "--rev", &rev, "--wait", "--json"]), 1);

    // An evaluation and a build take about a second here.
    let took = start.elapsed();
    assert!(took < among_rivals(Duration::from_secs(10)), "took {took:?}");
    assert!(waiting() > 280, "they still wait");
}

#[test]
fn idle_pulls_and_surplus_deliveries_cost_no_attempt() {
    let pool = Pool::start();
    let rev = pool.commit("master", &Flake::hosts(12));
    // Fifty workers that pull, are given jobs, and hand all of them back.
    pool.block_on(async {
        let endpoint = Endpoint {
            url: pool.nats.url(),
            nkey_file: None,
            ca_file: None,
            name: "idle".to_owned(),
            patience: Some(DEADLINE),
        };
        let bus = Bus::connect(&endpoint).await.expect("connects");
        let consumers: Vec<String> =
            ["high", "normal", "low"].map(|priority| format!("x86_64-linux-{priority}")).into();
        let pulls = (0..50).map(|_| async {
            let never = std::future::pending::<()>();
            let pulled = bus.pull(&consumers, 1, Duration::from_secs(8), never).await;
            let pulled = pulled.expect("the broker is there");
            let mut handed_back = 0;
            for delivery in pulled.taken.into_iter().chain(pulled.rest.surplus().await) {
                delivery.nak(Duration::ZERO).await;
                handed_back += 1;
            }
            handed_back
        });
        let submit = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            tokio::task::block_in_place(|| pool.submit(&["--all", "--ref", "master"]))
        };
        let (handed_back, submitted) = tokio::join!(futures_util::future::join_all(pulls), submit);
        submitted.expect_code(0);
        let handed_back: usize = handed_back.into_iter().sum();
        assert!(handed_back >= 12, "only {handed_back} deliveries were handed back");
    });

    let _worker = pool.worker("w1");
    all_built(pool.submit(&["--all", "--ref", "master", "--wait", "--json"]), 12);

    for name in 1..=12 {
        let record = pool.result(&rev, &format!("h{name:02}")).expect("a result");
        assert_eq!(record["epoch"], 1, "{record:#}");
    }
}
