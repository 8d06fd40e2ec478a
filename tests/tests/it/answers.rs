//! What people ask: what waits and who could build it, what each worker does, since when a host is
//! broken, and what became of one job.

use futures_util::StreamExt as _;
use options::check_documented;
use serde_json::{Value, json};
use tests::{Flake, Pool, WorkerOptions, eventually, pool::REPO};

use crate::{DEADLINE, all_built, host, text};

fn json(pool: &Pool, args: &[&str]) -> Value {
    pool.producer(&[args, &["--json"]].concat()).expect_code(0).json()
}

fn class<'a>(queue: &'a Value, name: &str) -> &'a Value {
    let mut classes = queue["classes"].as_array().expect("a list of classes").iter();
    classes.find(|it| it["class"] == name).unwrap_or_else(|| panic!("no {name} in {queue:#}"))
}

#[test]
fn what_waits_is_told_with_its_place_and_with_who_could_build_it() {
    let pool = Pool::start();
    let flake = Flake::hosts(4).held("h01").held("h02").held("h03");
    pool.commit("master", &flake.system("h04", "aarch64-linux"));
    let _worker = pool.worker_with("w1", &WorkerOptions { slots: 1, ..WorkerOptions::default() });
    let submitted = pool.submit(&["--all", "--ref", "master", "--json"]).expect_code(0).json();
    let run = text(&submitted["run"]);

    let queue = eventually("one job in the worker's hands", DEADLINE, || {
        let queue = json(&pool, &["queue"]);
        (class(&queue, "x86_64-linux")["building"] == 1).then_some(queue)
    });
    let ours = class(&queue, "x86_64-linux");
    assert_eq!((&ours["queued"], &ours["free_slots"]), (&2.into(), &0.into()), "{queue:#}");
    let lane = &ours["lanes"][1];
    assert_eq!((&lane["priority"], &lane["state"]), (&"normal".into(), &"open".into()));
    assert!(lane["oldest"]["asked_at"].as_u64().is_some(), "{queue:#}");
    assert_eq!(ours["workers"][0]["worker"], "w1");
    let other = class(&queue, "aarch64-linux");
    assert_eq!((&other["queued"], &other["workers"]), (&1.into(), &Value::Array(vec![])));
    let shown = pool.producer(&["queue"]).expect_code(0);
    assert!(shown.stdout.contains("aarch64-linux: no worker"), "{shown}");

    // The two that wait know their places, whichever they are.
    let status = pool.producer(&["status", &run]).expect_code(0);
    assert!(status.stdout.contains("queued (1 of 2)"), "{status}");
    assert!(status.stdout.contains("queued (2 of 2)"), "{status}");
    let status = json(&pool, &["status", &run]);
    assert_eq!(host(&status, "h04")["waits"]["why"], "no-worker");

    let paused = json(&pool, &["pause", "x86_64-linux"]);
    check_documented("pause", &paused);
    assert_eq!(
        (&paused["state"], &paused["consumers"][2]),
        (&"paused".into(), &"x86_64-linux-low".into())
    );
    let status = pool.producer(&["status", &run]).expect_code(0);
    assert!(status.stdout.contains("queued: class x86_64-linux is paused; "), "{status}");
    let shown = pool.producer(&["queue", "x86_64-linux"]).expect_code(0);
    assert!(shown.stdout.contains("paused until resumed"), "{shown}");
    assert!(!shown.stdout.contains("aarch64-linux"), "{shown}");
    check_documented("resume", &json(&pool, &["resume", "x86_64-linux"]));
    let queue = json(&pool, &["queue"]);
    assert_eq!(class(&queue, "x86_64-linux")["lanes"][1]["state"], "open");
    let cancelled = pool.producer(&["cancel", &run, "--json"]).expect_code(0).stdout;
    let cancelled: Vec<Value> = cancelled
        .lines()
        .map(|line| serde_json::from_str(line).expect("an object a line"))
        .collect();
    assert_eq!(cancelled.len(), 4);
    check_documented("cancel", &cancelled[0]);
    check_documented("retry", &json(&pool, &["retry", &text(&cancelled[0]["job"])]));
    assert_eq!(
        (&cancelled[0]["withdrawn"][0], &cancelled[0]["wanted_by"], &cancelled[0]["outcome"]),
        (&run.into(), &0.into(), &Value::Null)
    );
}

#[test]
fn workers_say_what_is_in_their_slots_what_room_they_have_and_that_they_drain() {
    let pool = Pool::start();
    let rev = pool.commit("master", &Flake::hosts(1).held("h01"));
    let none = pool.producer(&["workers"]).expect_code(0);
    assert_eq!(none.stdout, "no worker is there\n");
    let options =
        WorkerOptions { worker: "labels = { role = \"build-host\" }", ..WorkerOptions::default() };
    let worker = pool.worker_with("w1", &options);
    pool.submit(&["h01", "--rev", &rev]).expect_code(0);

    let workers = eventually("the job in its slot", DEADLINE, || {
        let workers = json(&pool, &["workers"]);
        (workers["workers"][0]["jobs"][0]["phase"] == "build").then_some(workers)
    });
    let ours = &workers["workers"][0];
    assert_eq!(ours["jobs"][0]["job"], format!("{REPO}.{rev}.h01"));
    assert!(ours["jobs"][0]["since"].as_u64() > ours["started_at"].as_u64(), "{workers:#}");
    assert_eq!((&ours["state"], &ours["labels"]["role"]), (&"ready".into(), &"build-host".into()));
    let places = ours["room"]["places"].as_array().expect("what room it has");
    let free = |place: &Value| place["bytes_free"].as_u64().is_some_and(|free| free > 0);
    assert!(!places.is_empty() && places.iter().all(free), "{workers:#}");
    let shown = pool.producer(&["workers"]).expect_code(0);
    let line = format!("h01 of {REPO} at {}: build", &rev[..12]);
    assert!(shown.stdout.contains(&line), "{shown}");
    assert!(shown.stdout.contains("labels: role=build-host"), "{shown}");

    worker.sigterm();
    eventually("a worker that drains", DEADLINE, || {
        (json(&pool, &["workers"])["workers"][0]["state"] == "draining").then_some(())
    });
    pool.store.release("h01");
}

#[test]
fn a_history_names_the_first_bad_revision_and_the_last_good_one() {
    let pool = Pool::start();
    let _worker = pool.worker("w1");
    let flake = |salt: &str| Flake::hosts(1).salt(salt);
    let build = |rev: &str, code| pool.submit(&["h01", "--rev", rev, "--wait"]).expect_code(code);
    let good = pool.commit("master", &flake("good"));
    build(&good, 0);
    let bad = pool.commit("master", &flake("bad").failing("h01"));
    build(&bad, 1);
    let worse = pool.commit("master", &flake("worse").failing("h01"));
    build(&worse, 1);

    let history = json(&pool, &["history", "h01", "--repo", REPO]);
    let broken = &history["broken"];
    assert_eq!(broken["first_bad"], bad, "{history:#}");
    assert_eq!((&broken["last_good"], &broken["failures"]), (&good.clone().into(), &2.into()));
    let revisions = history["revisions"].as_array().expect("a list of revisions");
    let told: Vec<_> =
        revisions.iter().map(|it| (text(&it["rev"]), text(&it["outcome"]))).collect();
    let expected = [(&worse, "build-failed"), (&bad, "build-failed"), (&good, "built")];
    assert_eq!(told, expected.map(|(rev, outcome)| (rev.clone(), outcome.to_owned())));
    let shown = pool.producer(&["history", "h01", "--repo", REPO, "--limit", "1"]).expect_code(0);
    let line = format!("h01 of {REPO}: broken since {} (", &bad[..12]);
    assert!(shown.stdout.starts_with(&line), "{shown}");
    let more = format!("\nmore: producer explain {REPO}.{worse}.h01\n");
    let last = format!("2 older; --limit shows them\n{more}");
    assert!(shown.stdout.ends_with(&last), "{shown}");

    // Mended.
    let mended = pool.commit("master", &flake("mended"));
    build(&mended, 0);
    assert_eq!(json(&pool, &["history", "h01", "--repo", REPO])["broken"], Value::Null);
}

#[test]
fn a_commit_that_changes_nothing_in_a_host_is_no_real_build() {
    let pool = Pool::start();
    let _worker = pool.worker("w1");
    let build = |rev: &str| {
        let args = ["h01", "--rev", rev, "--ref", "master", "--wait", "--json"];
        let answer = all_built(pool.submit(&args), 1);
        host(&answer, "h01").clone()
    };
    let history = || json(&pool, &["history", "h01", "--repo", REPO]);
    let work = |derivations: u64| serde_json::json!({"derivations": derivations, "downloads": 0});
    let took = |host: &Value| host["build_ms"].as_u64().expect("a length");
    let first = pool.commit("master", &Flake::hosts(1).seconds(1.0));
    let built = build(&first);
    assert_eq!(built["work"], work(2), "the leaf and the host");

    let readme = pool.repo.commit("master", &[("README", "the same host")]);
    let same = build(&readme);

    assert_eq!(same["out_path"], built["out_path"]);
    assert_eq!((&same["reused"], &same["work"]), (&false.into(), &work(0)), "{same:#}");
    let record = pool.result(&readme, "h01").expect("a result");
    assert_eq!(record["state"]["outcome"]["work"], work(0), "{record:#}");
    let told = history();
    assert_eq!(told["trend"], Value::Null, "there is one real build: {told:#}");
    assert_eq!(told["revisions"][0]["work"], work(0), "{told:#}");
    let shown = pool.producer(&["history", "h01", "--repo", REPO]).expect_code(0).stdout;
    let ends = |rev: &str, with: &str| {
        shown.lines().any(|line| line.starts_with(&rev[..12]) && line.ends_with(with))
    };
    assert!(ends(&readme, "  nothing to build"), "{shown}");
    assert!(ends(&first, "  2 built"), "{shown}");
    let explained = pool.producer(&["explain", &text(&same["job"])]).expect_code(0);
    assert!(explained.stdout.contains(": built (nothing to build)\n"), "{explained}");

    // The next real one is compared with the first.
    let other = pool.commit("master", &Flake::hosts(1).salt("other"));
    let other = build(&other);
    let trend =
        serde_json::json!({"newest_ms": took(&other), "median_ms": took(&built), "over": 1});
    assert_eq!(history()["trend"], trend);
}

#[test]
fn names_that_nobody_knows_come_with_what_may_have_been_meant() {
    let pool = Pool::start();
    let rev = pool.commit("master", &Flake::named(&["web01", "monitoring01"]));
    pool.submit(&["--all", "--ref", "master"]).expect_code(0);
    let check = |args: &[&str], said: &str| {
        let refused = pool.producer(args).expect_code(2);
        assert!(refused.stderr.contains(said), "{said:?} is not in {refused}");
    };
    check(&["history", "wbe01", "--repo", REPO], "did you mean web01?");
    check(&["last-good", "monitorng01", "--repo", REPO], "did you mean monitoring01?");
    check(
        &["history", "web01", "--repo", "homelba"],
        "no job of repo homelba is known; did you mean homelab?",
    );
    check(&["explain", &format!("{REPO}.{rev}.web1")], "did you mean web01?");
    check(&["explain", &format!("{REPO}.{rev}.x")], "nobody asked for it\n");
    check(&["logs", &format!("{REPO}.{rev}.web1")], "did you mean web01?");
    check(&["status", "--repo", "homelba"], "did you mean homelab?; name a run");
    check(&["logs", "web01", "--repo", "homelba"], "did you mean homelab?; name a run");
    check(
        &["submit", "web01", "--repo", "homelba", "--ref", "master"],
        "knows homelab; did you mean homelab?",
    );
    check(&["statsu"], "'status'");
    check(&["status", "--rpeo", REPO], "'--repo'");
}

/// A request of somebody, as it stands in the bucket.
fn asked_for(pool: &Pool, job: &str) {
    let request = json!({
        "v": 1, "class": "x86_64-linux", "wanted_by": {},
        "incarnation": "01900000-0000-7000-8000-000000000001",
    });
    pool.publish(&format!("$KV.nbp-requests.{job}"), request.to_string().as_bytes());
}

#[test]
fn the_first_digits_of_a_commit_name_a_job_where_they_fit_one() {
    let pool = Pool::start();
    let rev = pool.commit("master", &Flake::named(&["web01", "web02"]));
    let (short, least) = (&rev[..12], &rev[..7]);
    let job = format!("{REPO}.{rev}.web01");
    pool.submit(&["--all", "--ref", "master"]).expect_code(0);

    for digits in [short, least, &rev[..39]] {
        let named = format!("{REPO}.{digits}.web01");
        assert_eq!(json(&pool, &["explain", &named])["job"], job);
        let status = json(&pool, &["status", "--repo", REPO, "--rev", digits]);
        assert_eq!((&status["rev"], &status["summary"]["expected"]), (&json!(rev), &json!(2)));
        for logs in [&["logs", &named][..], &["logs", "web01", "--repo", REPO, "--rev", digits]] {
            let said = pool.producer(logs).expect_code(0);
            assert!(said.stderr.contains("web01: queued"), "{said}");
        }
    }
    let retried = json(&pool, &["retry", &format!("{REPO}.{least}.web01")]);
    assert_eq!(retried["job"], job);
    let refused = pool.producer(&["retry", "--failed", &format!("{REPO}.{least}.web01")]);
    let refused = refused.expect_code(2);
    assert!(refused.stderr.contains("is a job"), "{refused}");

    // Nobody asked for these.
    let check = |args: &[&str], said: &str| {
        let refused = pool.producer(args).expect_code(2);
        assert!(refused.stderr.contains(said), "{said:?} is not in {refused}");
        refused
    };
    check(&["explain", &format!("{REPO}.0000000.web01")], "find job homelab.0000000.web01: nobody");
    check(&["explain", &format!("{REPO}.{short}.web1")], "did you mean web01");
    check(&["retry", &format!("homelba.{short}.web01")], "did you mean homelab?");
    check(&["status", "--repo", REPO, "--rev", "0000000"], "find a job of homelab.0000000: nobody");
    check(&["explain", &format!("{REPO}.{}.web01", &rev[..6])], "nor its first 7 or more");

    // Of two commits that begin alike, and of one with other inputs.
    let twin = format!("{short}{}", "0".repeat(28));
    let overridden = format!("{rev}-0123456789ab");
    asked_for(&pool, &format!("{REPO}.{overridden}.web01"));
    assert_eq!(json(&pool, &["explain", &format!("{REPO}.{short}.web01")])["job"], job);
    let over = json(&pool, &["explain", &format!("{REPO}.{short}+.web01")]);
    assert_eq!(over["job"], format!("{REPO}.{overridden}.web01"));
    asked_for(&pool, &format!("{REPO}.{twin}.web01"));
    for args in [&["explain"][..], &["logs"], &["cancel"], &["retry"]] {
        let refused = check(&[args, &[&format!("{REPO}.{short}.web01")]].concat(), "several fit: ");
        for whole in [&rev, &twin, &overridden] {
            let whole = format!("{REPO}.{whole}.web01");
            assert!(refused.stderr.contains(&whole), "{whole} is not in {refused}");
        }
    }
    let refused = check(&["status", "--repo", REPO, "--rev", short], "several fit: ");
    assert!(refused.stderr.contains(&twin), "{refused}");
    // It is the name of one where another host is meant.
    assert_eq!(json(&pool, &["explain", &format!("{REPO}.{short}.web02")])["state"], "queued");
    assert_eq!(json(&pool, &["explain", &job])["job"], job);
}

/// How often somebody asks which keys the buckets of jobs have while a command runs.
fn lists_of_keys(pool: &Pool, args: &[&str]) -> usize {
    pool.block_on(async {
        let client = pool.connect().await;
        let calls = client.subscribe("$JS.API.STREAM.INFO.*").await.expect("a subscription");
        client.flush().await.expect("a connected client");
        pool.producer(args).expect_code(0);
        // What comes after it came after all that the command said.
        client.publish("$JS.API.STREAM.INFO.end", "".into()).await.expect("a connected client");
        let before = calls.map(|it| it.subject.to_string());
        let before = before.take_while(|it| std::future::ready(!it.ends_with(".end")));
        let buckets = ["KV_nbp-requests", "KV_nbp-results"];
        let lists = before
            .filter(|it| std::future::ready(buckets.iter().any(|bucket| it.ends_with(bucket))));
        tokio::time::timeout(DEADLINE, lists.count()).await.expect("the end")
    })
}

#[test]
fn a_commit_that_is_named_whole_is_not_looked_for() {
    let pool = Pool::start();
    let rev = pool.commit("master", &Flake::hosts(1));
    pool.submit(&["h01", "--rev", &rev]).expect_code(0);
    for command in ["explain", "logs", "cancel", "retry"] {
        let whole = lists_of_keys(&pool, &[command, &format!("{REPO}.{rev}.h01")]);
        let short = lists_of_keys(&pool, &[command, &format!("{REPO}.{}.h01", &rev[..12])]);
        assert_eq!((whole, short), (0, 2), "{command}");
    }
}

#[test]
fn a_job_is_explained_with_every_attempt_over_all_its_askings() {
    let pool = Pool::start();
    let rev = pool.commit("master", &Flake::hosts(1).held("h01"));
    let job = format!("{REPO}.{rev}.h01");
    let mut first = pool.worker("w1");
    let submitted = pool.submit(&["h01", "--rev", &rev, "--json"]).expect_code(0).json();
    let run = text(&submitted["run"]);
    eventually("the build to begin", DEADLINE, || {
        let story = json(&pool, &["explain", &job]);
        let attempt = &story["askings"][0]["attempts"][0];
        (attempt["end"] == "running" && !attempt["phases"][2].is_null()).then_some(())
    });
    first.sigkill();
    let _second = pool.worker("w2");
    pool.store.release("h01");
    all_built(pool.producer(&["watch", &run, "--json"]), 1);

    let story = eventually("the event of its end", DEADLINE, || {
        let story = json(&pool, &["explain", &job]);
        (story["askings"][0]["attempts"][1]["phases"][0]["phase"] == "fetch").then_some(story)
    });
    assert_eq!((&story["state"], &story["outcome"]), (&"finished".into(), &"built".into()));
    let attempts = story["askings"][0]["attempts"].as_array().expect("a list of attempts");
    let told: Vec<_> = attempts.iter().map(|it| (text(&it["worker"]), text(&it["end"]))).collect();
    let expected = [("w1", "worker-lost"), ("w2", "built")];
    assert_eq!(told, expected.map(|(worker, end)| (worker.to_owned(), end.to_owned())));
    // A lease of two seconds ran out in between.
    assert!(story["between_ms"].as_u64() > Some(1000), "{story:#}");
    let shown = pool.producer(&["explain", &job]).expect_code(0);
    assert!(shown.stdout.contains("worker-lost: its lease ran out"), "{shown}");
    assert!(shown.stdout.contains(&format!("wanted by run {run} of local")), "{shown}");

    let again = pool.submit(&["h01", "--rev", &rev, "--force", "--wait", "--json"]);
    all_built(again, 1);
    let story = json(&pool, &["explain", &job]);
    let ends: Vec<_> = story["askings"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|it| text(&it["outcome"]))
        .collect();
    assert_eq!(ends, ["built", "built"], "{story:#}");
    let epochs = [
        &story["askings"][0]["attempts"][1]["epoch"],
        &story["askings"][1]["attempts"][0]["epoch"],
    ];
    assert_eq!(epochs, [&Value::from(2), &Value::from(3)]);
}
