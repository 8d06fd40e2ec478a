//! `worker doctor`: a good set-up is all ok, and of each broken one it names cause and remedy.

mod broken_broker;
mod broken_machine;
mod broken_nix;
mod skewed;

use std::process::Command;

use serde_json::Value;
use tests::{Flake, KeyedPool, Output, Pool, WorkerOptions, flake::system_name, process::run};

use crate::{DEADLINE, all_built, cache::Cache, host, text};

/// Enough for an evaluation of nothing on any machine.
const LIMITS: &str = "[limits]\neval_memory_max = \"64MiB\"\n";

/// What the doctor says with these options, as JSON.
#[track_caller]
fn examined(command: &mut Command, code: i32) -> Value {
    let output = run(command.arg("--json"), DEADLINE);
    assert_no_secret(&output);
    let report = output.expect_code(code).json();
    assert_eq!(report["exit_code"], code, "{report:#}");
    report
}

/// The finding of a check at this level; all of `words` stand in it.
#[track_caller]
fn found(report: &Value, check: &str, level: &str, words: &[&str]) -> Value {
    let findings = report["findings"].as_array().expect("a list");
    let mut those = findings.iter().filter(|it| it["check"] == check && it["level"] == level);
    let has = |it: &&Value| {
        let all = ["of", "seen", "why", "fix"].map(|key| text(&it[key])).join("\n");
        words.iter().all(|word| all.contains(word))
    };
    let finding = those.find(has);
    let finding = finding.unwrap_or_else(|| {
        panic!("no {level} of {check} with {words:?} in {report:#}");
    });
    let told = ["why", "fix"].iter().all(|key| finding[*key].is_string());
    assert!(told || level == "ok", "without reason or remedy: {finding:#}");
    finding.clone()
}

/// Everything that is not ok, but for what depends on the machine that runs the tests.
fn bad(report: &Value) -> Vec<String> {
    let findings = report["findings"].as_array().expect("a list").iter();
    let of_tests = |it: &Value| {
        let tmpfs = it["level"] == "warning" && text(&it["seen"]).contains("tmpfs");
        tmpfs || it["check"] == "memory pressure"
    };
    let bad = findings.filter(|it| it["level"] != "ok" && !of_tests(it));
    bad.map(|it| format!("{it:#}")).collect()
}

#[track_caller]
fn assert_no_secret(output: &Output) {
    let all = format!("{}{}", output.stdout, output.stderr);
    let seed = |word: &str| word.starts_with("SU") && word.len() == 58;
    let mut words = all.split(|c: char| !c.is_ascii_alphanumeric());
    assert!(!words.any(seed), "a seed was shown: {output}");
    assert!(!all.contains("hunter2"), "a login was shown: {output}");
}

fn options<'a>() -> WorkerOptions<'a> {
    WorkerOptions { extra: LIMITS.to_owned(), ..WorkerOptions::default() }
}

#[track_caller]
fn doctor(pool: &Pool, options: &WorkerOptions<'_>) -> Command {
    pool.worker_command("doctor", "w1", options)
}

#[track_caller]
fn keyed_doctor(pool: &KeyedPool, name: &str) -> Command {
    let command = pool.worker_command("doctor", name, &pool.store, "");
    // A table of its own at the end of a config that has none after the repos.
    let config = command.get_args().last().expect("the config's name").to_owned();
    let config = std::path::PathBuf::from(config);
    let text = std::fs::read_to_string(&config).expect("the config") + LIMITS;
    std::fs::write(&config, text).expect("a writable folder");
    command
}

#[test]
fn a_good_worker_with_least_rights_is_all_ok_and_its_jobs_stay_where_they_are() {
    let pool = KeyedPool::start();
    pool.repo.commit("master", &Flake::hosts(2).files());
    let args = ["submit", "--repo", "homelab", "--all", "--ref", "master", "--json"];
    let asked = pool.producer("ci", &args).expect_code(0).json();
    let violations = pool.server.violations().len();

    let report = examined(&mut keyed_doctor(&pool, "w1"), 0);

    assert_eq!(bad(&report), Vec::<String>::new());
    assert_eq!(report["worker"], "w1");
    let seed = found(&report, "NKey seed", "ok", &[pool.keys().public("w1")]);
    assert!(text(&seed["seen"]).contains("mode 0600"), "{seed}");
    found(&report, "class", "ok", &["x86_64-linux"]);
    found(&report, "clock", "ok", &["s "]);
    found(&report, "push", "ok", &["this store is the cache"]);
    assert_eq!(pool.server.violations().len(), violations, "{}", pool.server.log());
    // Nobody had the jobs in hands meanwhile: each is built at its first delivery.
    let _worker = pool.worker("w1", "");
    let watch = ["watch", &text(&asked["run"]), "--timeout", "180s", "--json"];
    let answer = all_built(pool.producer("ci", &watch), 2);
    assert_eq!(host(&answer, "h01")["attempt"], 1, "{answer:#}");
}

#[test]
fn it_leaves_nothing_behind_and_measures_what_is_kept() {
    let pool = Pool::start();
    let cache = Cache::new(&pool.store);
    pool.commit("master", &Flake::hosts(3));
    let options = WorkerOptions { extra: cache.pushed_to() + LIMITS, ..WorkerOptions::default() };
    let _worker = pool.worker_with("w1", &options);
    let built = all_built(pool.submit(&["--all", "--ref", "master", "--wait", "--json"]), 3);
    let streams = ["NBP_JOBS", "NBP_DEAD", "NBP_LOGS", "NBP_EVENTS"];
    let before = (
        streams.map(|stream| pool.messages(stream)),
        pool.histories("nbp-results"),
        pool.histories("nbp-last-good"),
        paths(&pool),
        cache.files(),
    );

    let report = examined(&mut doctor(&pool, &options), 0);

    assert_eq!(bad(&report), Vec::<String>::new());
    found(&report, "push", "ok", &["signed, deleted again"]);
    found(&report, "signing key", "ok", &[cache.public().trim()]);
    let outs = ["h01", "h02", "h03"].map(|name| text(&host(&built, name)["out_path"]));
    let shared = kib(closure_bytes(&pool, &outs));
    let words = format!("3 hosts built, 3 of them here with {shared} together");
    found(&report, "kept generations", "ok", &[&words, "for 3 generations"]);
    let after = (
        streams.map(|stream| pool.messages(stream)),
        pool.histories("nbp-results"),
        pool.histories("nbp-last-good"),
        paths(&pool),
        cache.files(),
    );
    assert_eq!(before, after);
    assert!(pool.store.builds_begun(&system_name("h01")) == 1, "it has built a host");
}

#[test]
fn a_job_that_waits_is_handed_to_nobody() {
    let pool = Pool::start();
    pool.commit("master", &Flake::hosts(1));
    pool.submit(&["--all", "--ref", "master"]).expect_code(0);
    let report = examined(&mut doctor(&pool, &options()), 0);
    found(&report, "rights", "ok", &[]);
    let consumer = pool.block_on(async {
        let stream = pool.jetstream().await.get_stream("NBP_JOBS").await.expect("the stream");
        stream.consumer_info("x86_64-linux-normal").await.expect("the consumer")
    });
    assert_eq!((consumer.num_pending, consumer.num_ack_pending), (1, 0));
    assert_eq!(consumer.delivered.consumer_sequence, 0, "{consumer:#?}");
}

#[test]
fn people_read_groups_and_a_sum() {
    let pool = Pool::start();
    pool.commit("master", &Flake::hosts(1));
    let output = run(&mut doctor(&pool, &options()), DEADLINE).expect_code(0);
    for group in ["Machine\n", "\nSecrets\n", "\nNix\n", "\nSpace\n", "\nBroker\n", "\nGit\n"] {
        assert!(output.stdout.contains(group), "{output}");
    }
    assert!(output.stdout.contains(" checks"), "{output}");
    assert_eq!(output.stderr, "", "{output}");
}

/// All that is in the store.
#[track_caller]
fn paths(pool: &Pool) -> Vec<String> {
    let dir = pool.store.real("/nix/store");
    let entries = std::fs::read_dir(dir).expect("a store").flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|name| !name.starts_with('.')).collect();
    names.sort_unstable();
    names
}

/// Of several closures together, each path once, as Nix itself counts.
#[track_caller]
fn closure_bytes(pool: &Pool, outs: &[String]) -> u64 {
    let query = |what: &str, paths: &[String]| {
        let mut nix = pool.store.nix("nix-store");
        let answer = run(nix.args(["--query", what]).args(paths), DEADLINE).expect_code(0);
        answer.stdout.lines().map(str::to_owned).collect::<Vec<String>>()
    };
    let mut all: Vec<String> = Vec::new();
    for out in outs {
        all.extend(query("--requisites", std::slice::from_ref(out)));
    }
    let with_shared = all.len();
    all.sort_unstable();
    all.dedup();
    assert!(all.len() < with_shared, "these hosts share nothing");
    query("--size", &all).iter().map(|size| size.parse::<u64>().expect("a number")).sum()
}

fn kib(bytes: u64) -> String {
    assert!((1 << 10..1 << 20).contains(&bytes), "{bytes} bytes");
    let tenths = bytes * 10 / (1 << 10);
    format!("{}.{} KiB", tenths / 10, tenths % 10)
}
