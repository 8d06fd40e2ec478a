//! What happened, told once and in order to whoever asks and to whoever follows.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tests::{Flake, Pool, eventually, pool::REPO};

use crate::{DEADLINE, text};

/// Whole lines that a follower has written, as JSON.
fn told(log: &str) -> Vec<Value> {
    let whole = log.rsplit_once('\n').map_or("", |(whole, _)| whole);
    // Its messages stand among its data here.
    let lines = whole.lines().filter(|line| line.starts_with('{'));
    lines.map(|line| serde_json::from_str(line).expect("one object a line")).collect()
}

fn sequences(events: &[Value]) -> Vec<u64> {
    events.iter().map(|event| event["sequence"].as_u64().expect("a number")).collect()
}

fn finished(pool: &Pool, filter: &[&str]) -> Vec<Value> {
    told(&pool.producer(&[&["events", "--json"], filter].concat()).expect_code(0).stdout)
}

fn publish(pool: &Pool, numbers: std::ops::Range<usize>) {
    for n in numbers {
        pool.publish(&format!("nbp.event.test.{n}"), b"{}");
    }
}

#[test]
fn events_are_printed_by_subject_and_from_a_place_on() {
    let pool = Pool::start();
    let rev = pool.commit("master", &Flake::hosts(2).failing("h02"));
    let _worker = pool.worker("w1");
    pool.submit(&["--all", "--ref", "master", "--wait"]).expect_code(1);
    let all = eventually("both ends", DEADLINE, || {
        let all = finished(&pool, &[]);
        let ends = all.iter().filter(|it| text(&it["subject"]).contains(".job.finished."));
        (ends.count() == 2).then_some(all)
    });

    let only = finished(&pool, &["--filter", &format!("job.finished.{REPO}.{rev}.h02")]);
    assert_eq!(only.len(), 1);
    assert_eq!(only[0]["event"]["what"]["outcome"], "build-failed");
    assert!(only[0]["at"].as_u64().is_some(), "{only:?}");
    let place = sequences(&only)[0];
    let behind = finished(&pool, &["--after", &place.to_string()]);
    let expected: Vec<u64> = sequences(&all).into_iter().filter(|it| *it > place).collect();
    assert_eq!(sequences(&behind), expected);
    assert_eq!(finished(&pool, &["--since", "1h"]).len(), all.len());
    assert_eq!(finished(&pool, &["--since", "2099-01-01T00:00:00Z"]).len(), 0);
    let shown = pool.producer(&["events", "--filter", "worker.ready.>"]).expect_code(0);
    assert!(shown.stdout.ends_with(" worker.ready w1 w1\n"), "{shown}");
    pool.producer(&["events", "--since", "yesterday"]).expect_code(2);
    pool.producer(&["events", "--filter", "a b"]).expect_code(2);
}

#[test]
fn a_time_is_found_among_many_events() {
    let pool = Pool::start();
    publish(&pool, 0..20);
    let times = finished(&pool, &[]);
    let at = |n: usize| times[n]["at"].as_u64().expect("a time");
    for n in [0, 7, 19] {
        let since = pool.producer(&["events", "--json", "--since", &rfc3339(at(n))]);
        let found = told(&since.expect_code(0).stdout);
        let expected: Vec<u64> =
            (0..20).filter(|it| at(*it) >= at(n)).map(|it| it as u64 + 1).collect();
        assert_eq!(sequences(&found), expected, "since {n}");
    }
}

#[test]
fn a_follower_misses_nothing_and_repeats_nothing_over_restarts_of_the_broker() {
    let mut pool = Pool::start();
    publish(&pool, 0..5);
    let mut follower = pool.spawn_producer(
        "events",
        &["events", "-f", "--json", "--since", "1h", "--filter", "test.>"],
    );
    follower.wait_for_log("nbp.event.test.4", DEADLINE);
    publish(&pool, 5..50);
    pool.nats.restart();
    publish(&pool, 50..100);
    pool.nats.restart();
    publish(&pool, 100..120);

    eventually("all events", DEADLINE, || (told(&follower.log()).len() >= 120).then_some(()));
    let events = told(&follower.log());
    assert!(follower.is_running());
    assert_eq!(sequences(&events), (1..=120).collect::<Vec<u64>>(), "in order, each once");
    let subjects: BTreeSet<String> = events.iter().map(|it| text(&it["subject"])).collect();
    assert_eq!(subjects.len(), 120);

    // Taken up where it was left, as a program does that was restarted itself.
    pool.publish("nbp.event.test.120", b"{}");
    let behind = finished(&pool, &["--after", "120", "--filter", "test.>"]);
    assert_eq!(sequences(&behind), [121]);
}

#[test]
fn what_is_no_event_of_ours_stops_nobody() {
    let pool = Pool::start();
    pool.publish("nbp.event.job.finished.x", b"\xff no JSON \x1b]0;x\x07");
    pool.publish(
        "nbp.event.job.finished.y",
        &[b"{\"what\": \"".as_slice(), &[b'x'; 200_000], b"\"}"].concat(),
    );
    pool.publish("nbp.event.worker.ready.w1", b"{\"worker\": \"\\u001b[2Jw\", \"what\": [1]}");
    let events = finished(&pool, &[]);
    assert_eq!((events.len(), &events[0]["event"]), (3, &Value::Null));
    assert!(events[0]["error"].is_string());
    let shown = pool.producer(&["events"]).expect_code(0);
    assert!(shown.stdout.contains("it is no JSON") && !shown.stdout.contains('\u{1b}'), "{shown}");
}

#[test]
fn who_asked_for_what_and_who_took_it_back_is_told() {
    let pool = Pool::start();
    let rev = pool.commit("master", &Flake::hosts(2));
    let id = |output: tests::Output| text(&output.expect_code(0).json()["run"]);
    pool.producer(&["pause", "--for", "2h"]).expect_code(0);
    let first = id(pool.submit(&["--all", "--ref", "master", "--json"]));
    let second = id(pool.submit(&["--all", "--ref", "master", "--supersede", "--json"]));
    pool.producer(&["cancel", &second]).expect_code(0);
    // Nobody wants it any more: told once.
    pool.producer(&["cancel", &second]).expect_code(0);
    pool.producer(&["resume"]).expect_code(0);
    let worker = pool.worker("w1");
    pool.producer(&["watch", &second]).expect_code(4);
    pool.producer(&["retry", &second]).expect_code(0);
    pool.producer(&["watch", &second]).expect_code(0);
    // One job, in a run of its own.
    let third = id(pool.producer(&["retry", &format!("{REPO}.{rev}.h01"), "--json"]));
    drop(worker);

    let (hosts, reference) = (json!(["h01", "h02"]), "refs/heads/master");
    let submitted = |hosts: &Value| {
        json!({"kind": "submitted", "hosts": hosts, "priority": "normal",
                                           "force": false})
    };
    let mut of_branch = submitted(&hosts);
    of_branch["ref"] = reference.into();
    let expected = [
        (&first, of_branch.clone()),
        (&second, of_branch),
        (&first, json!({"kind": "superseded", "by_run": second})),
        (&second, json!({"kind": "cancelled", "hosts": hosts})),
        (&second, json!({"kind": "retried", "hosts": hosts})),
        (&third, submitted(&json!(["h01"]))),
    ];
    let told = finished(&pool, &["--filter", "run.>"]);
    let whats = told.iter().map(|it| (text(&it["event"]["run"]), it["event"]["what"].clone()));
    let expected = expected.map(|(run, what)| (run.clone(), what));
    assert_eq!(whats.collect::<Vec<_>>(), expected);
    let submitted = &told[0];
    assert_eq!(submitted["subject"], format!("nbp.event.run.submitted.{REPO}.local"));
    assert_eq!(submitted["event"]["by"], "local");
    assert_eq!(submitted["event"]["revision"], rev);

    let classes = finished(&pool, &["--filter", "class.*.x86_64-linux.>"]);
    let [paused, resumed] = &classes[..] else { panic!("{classes:?}") };
    assert_eq!(paused["subject"], "nbp.event.class.paused.x86_64-linux.local");
    let length = paused["event"]["what"]["until"].as_u64().expect("a time")
        - paused["event"]["at"].as_u64().expect("a time");
    assert!((7_199_000..=7_200_000).contains(&length), "{length}");
    assert_eq!(resumed["event"]["what"], json!({"kind": "resumed"}));
}

/// To the millisecond, as `date --iso-8601=ns` writes it.
fn rfc3339(millis: u64) -> String {
    let date = std::process::Command::new("date")
        .args(["--utc", "+%Y-%m-%dT%H:%M:%S", "--date"])
        .arg(format!("@{}", millis / 1000))
        .output()
        .expect("date");
    let seconds = String::from_utf8(date.stdout).expect("text");
    format!("{}.{:03}Z", seconds.trim(), millis % 1000)
}
