//! More builders than one: each has a store of its own, and all push to one cache.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tests::{Flake, NixStore, Pool, WorkerOptions, eventually, flake::system_name};

use crate::{DEADLINE, all_built, host, hosts, text};

/// A binary cache of files, and the key that signs in it.
pub(crate) struct Cache {
    dir: tempfile::TempDir,
}

impl Cache {
    pub(crate) fn new(store: &NixStore) -> Self {
        let cache = Self { dir: tests::scratch() };
        let mut generate = store.nix("nix-store");
        generate.args(["--generate-binary-cache-key", "pool-1"]);
        let made = generate.arg(cache.key()).arg(cache.path("public")).status().expect("it runs");
        assert!(made.success());
        cache
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.path("secret")
    }

    pub(crate) fn url(&self) -> String {
        format!("file://{}", self.path("cache").display())
    }

    pub(crate) fn public(&self) -> String {
        fs::read_to_string(self.path("public")).expect("a public key")
    }

    /// The tables of a worker that pushes here.
    pub(crate) fn pushed_to(&self) -> String {
        format!("[cache]\npush_to = {:?}\nsign_key_file = {:?}\n", self.url(), self.key())
    }

    /// The description of a path, if the cache has it.
    fn narinfo(&self, out: &str) -> Option<String> {
        let hash = out.strip_prefix("/nix/store/").and_then(|it| it.split_once('-'));
        let (hash, _) = hash.expect("a store path");
        fs::read_to_string(self.path("cache").join(format!("{hash}.narinfo"))).ok()
    }

    /// How many files it is made of.
    pub(crate) fn files(&self) -> usize {
        let count = |dir: PathBuf| fs::read_dir(dir).into_iter().flatten().flatten().count();
        count(self.path("cache")) + count(self.path("cache/nar"))
    }

    fn narinfos(&self) -> usize {
        let entries = fs::read_dir(self.path("cache")).into_iter().flatten().flatten();
        entries.filter(|it| it.path().extension().is_some_and(|it| it == "narinfo")).count()
    }
}

/// Fetches a path from the cache into the store, as a machine that only has the public key.
fn substitute(store: &NixStore, cache: &Cache, out: &str) -> bool {
    let mut fetch = store.nix("nix-store");
    fetch.args(["--realise", out, "--option", "trusted-public-keys", cache.public().trim()]);
    fetch.output().expect("it runs").status.success()
}

#[test]
fn what_two_builders_build_is_signed_in_the_cache_and_a_third_machine_fetches_it() {
    let pool = Pool::start();
    let (cache, second) = (Cache::new(&pool.store), NixStore::new());
    pool.commit("master", &Flake::hosts(6).seconds(0.3));
    let options = WorkerOptions { slots: 1, extra: cache.pushed_to(), ..WorkerOptions::default() };
    let _one = pool.worker_with("w1", &options);
    let _two = pool.worker_with("w2", &WorkerOptions { store: Some(&second), ..options });

    let answer = all_built(pool.submit(&["--all", "--ref", "master", "--wait", "--json"]), 6);

    let workers: BTreeSet<String> = hosts(&answer).map(|host| text(&host["worker"])).collect();
    assert_eq!(workers.len(), 2, "{answer:#}");
    let third = NixStore::with_substituters(&cache.url());
    for host in hosts(&answer) {
        let (name, out) = (text(&host["host"]), text(&host["out_path"]));
        let begun = |store: &NixStore| store.builds_begun(&system_name(&name));
        assert_eq!(begun(&pool.store) + begun(&second), 1, "{name}");
        let narinfo = cache.narinfo(&out).expect("it is in the cache");
        assert!(narinfo.contains("\nSig: pool-1:"), "{narinfo}");
        assert!(substitute(&third, &cache, &out), "{name}");
        assert!(third.real(&out).join("deps").exists(), "{out}");
        assert_eq!(begun(&third), 0, "fetched, not built");
    }
    let results = pool.results();
    for record in results.values() {
        let phases = record["state"]["phases"].as_array().expect("phases");
        let names: Vec<String> = phases.iter().map(|phase| text(&phase["phase"])).collect();
        assert_eq!(names, ["fetch", "evaluate", "build", "push", "root"], "{record:#}");
    }
    // Who does not trust the key takes nothing from there.
    let stranger = NixStore::with_substituters(&cache.url());
    let out = text(&host(&answer, "h01")["out_path"]);
    let mut fetch = stranger.nix("nix-store");
    assert!(!fetch.args(["--realise", &out]).output().expect("it runs").status.success());
}

#[test]
fn a_builder_takes_from_the_cache_what_another_one_built() {
    let pool = Pool::start();
    let (cache, second) = (Cache::new(&pool.store), NixStore::new());
    pool.commit("master", &Flake::hosts(2));
    let options = WorkerOptions { extra: cache.pushed_to(), ..WorkerOptions::default() };
    let mut one = pool.worker_with("w1", &options);
    all_built(pool.submit(&["--all", "--ref", "master", "--wait", "--json"]), 2);
    one.sigterm();
    one.wait(DEADLINE);
    let next = pool.repo.commit("master", &[("README", "the same hosts")]);
    let nix = format!(
        "substituters = [{:?}]\ntrusted_public_keys = [{:?}]\n",
        cache.url(),
        cache.public().trim()
    );
    let options = WorkerOptions { store: Some(&second), nix: &nix, ..options };
    let _two = pool.worker_with("w2", &options);

    let args = ["h01", "h02", "--rev", &next, "--wait", "--json"];
    let answer = all_built(pool.submit(&args), 2);

    assert_eq!(host(&answer, "h01")["worker"], "w2");
    assert_eq!(second.builds_begun(&system_name("h01")), 0, "fetched, not built");
    let work = &pool.result(&next, "h01").expect("a result")["state"]["outcome"]["work"];
    assert_eq!(work["derivations"], 0, "{work:#}");
    assert!(work["downloads"].as_u64() >= Some(1), "{work:#}");
    assert_eq!(&host(&answer, "h01")["work"], work);
    let explained = pool.producer(&["explain", &text(&host(&answer, "h01")["job"])]).expect_code(0);
    assert!(explained.stdout.contains(" downloaded\n"), "{explained}");
}

/// A host with a small dependency, which is in the cache at once, and a part that takes seconds to
/// compress.
pub(crate) const SLOW_TO_PUSH: &str = "let step = name: cmd: derivation { inherit name; \
    system = \"x86_64-linux\"; builder = \"/bin/sh\"; args = [ \"-c\" cmd ]; }; \
    small = step \"small\" \"echo > $out\"; in step \"nixos-system-h01-26.05\" \
    \"mkdir $out; echo ${small} > $out/deps; dd if=/dev/urandom of=$out/big bs=1M count=6\"";

/// The `nix copy` of a store, if one runs.
fn copying(store: &NixStore) -> Option<Pid> {
    let copy = |id: &u32| {
        let command = fs::read(Path::new("/proc").join(id.to_string()).join("cmdline"));
        command.is_ok_and(|command| command.starts_with(b"nix\0copy\0"))
    };
    let id = store.processes().into_iter().find(copy)?;
    Pid::from_raw(i32::try_from(id).ok()?)
}

#[test]
fn a_push_that_is_killed_midway_is_tried_again_and_ends_well() {
    let pool = Pool::start();
    let cache = Cache::new(&pool.store);
    let rev = pool.commit("master", &Flake::hosts(1).toplevel("h01", SLOW_TO_PUSH));
    let options = WorkerOptions { extra: cache.pushed_to(), ..WorkerOptions::default() };
    let _worker = pool.worker_with("w1", &options);
    pool.submit(&["h01", "--rev", &rev]).expect_code(0);

    let copy = eventually("half a push", DEADLINE, || {
        (cache.narinfos() == 1).then(|| copying(&pool.store)).flatten()
    });
    kill_process(copy, Signal::KILL).expect("it runs");
    assert_eq!(cache.narinfos(), 1, "it was killed midway");

    let answer = all_built(pool.submit(&["h01", "--rev", &rev, "--wait", "--json"]), 1);
    assert_eq!(host(&answer, "h01")["attempt"], 1, "{answer:#}");
    let out = text(&host(&answer, "h01")["out_path"]);
    assert!(cache.narinfo(&out).is_some_and(|it| it.contains("\nSig: pool-1:")));
    let third = NixStore::with_substituters(&cache.url());
    assert!(substitute(&third, &cache, &out));
    let log = pool.producer(&["logs", "h01", "--repo", "homelab", "--rev", &rev]).expect_code(0);
    assert!(log.stdout.contains("; again in "), "{log}");
}

#[test]
fn a_cache_that_is_down_is_push_failed_and_nobodys_fault() {
    let pool = Pool::start();
    let rev = pool.commit("master", &Flake::hosts(1));
    let extra = "[cache]\npush_to = \"http://127.0.0.1:1/cache\"\n".to_owned();
    let options = WorkerOptions { extra, max_attempts: 1, ..WorkerOptions::default() };
    let mut worker = pool.worker_with("w1", &options);

    let answer = pool.submit(&["h01", "--rev", &rev, "--wait", "--json"]).expect_code(3).json();

    let failed = host(&answer, "h01");
    assert_eq!(
        (&failed["outcome"], &failed["failure"]["class"]),
        (&"infra-failed".into(), &"push-failed".into())
    );
    assert!(text(&failed["failure"]["message"]).contains("http://127.0.0.1:1/cache"), "{failed:#}");
    assert_eq!(pool.store.builds_begun(&system_name("h01")), 1);
    worker.sigterm();
    worker.wait(DEADLINE);
}

#[test]
fn a_push_that_fails_for_a_while_goes_on_with_the_next_attempt_and_builds_nothing_twice() {
    let pool = Pool::start();
    let cache = Cache::new(&pool.store);
    // In the way of the cache's folder.
    fs::write(cache.path("cache"), "").expect("a file");
    let rev = pool.commit("master", &Flake::hosts(1));
    let options = WorkerOptions {
        extra: cache.pushed_to(),
        delay_min: "1s",
        delay_max: "1s",
        ..WorkerOptions::default()
    };
    let mut worker = pool.worker_with("w1", &options);
    pool.submit(&["h01", "--rev", &rev]).expect_code(0);
    worker.wait_for_log("push-failed, again in", DEADLINE);
    fs::remove_file(cache.path("cache")).expect("out of the way");

    let answer = all_built(pool.submit(&["h01", "--rev", &rev, "--wait", "--json"]), 1);

    assert!(cache.narinfo(&text(&host(&answer, "h01")["out_path"])).is_some());
    let record = pool.result(&rev, "h01").expect("a result");
    assert_eq!(record["attempts"][0]["end"]["kind"], "push-failed", "{record:#}");
    assert_eq!(pool.store.builds_begun(&system_name("h01")), 1);
    worker.sigterm();
    worker.wait(Duration::from_secs(10));
}

#[test]
fn what_lies_unsigned_in_the_cache_is_signed_also_when_nothing_is_built() {
    let pool = Pool::start();
    let cache = Cache::new(&pool.store);
    let rev = pool.commit("master", &Flake::hosts(1));
    let mut bare = pool.worker("w1");
    let args = ["h01", "--rev", &rev, "--wait", "--json"];
    let answer = all_built(pool.submit(&args), 1);
    let out = text(&host(&answer, "h01")["out_path"]);
    let mut copy = pool.store.nix("nix");
    let copied = copy.args(["copy", "--to", &cache.url(), &out]).output().expect("it runs");
    assert!(copied.status.success(), "{copied:?}");
    assert!(cache.narinfo(&out).is_some_and(|it| !it.contains("Sig:")));
    bare.sigterm();
    bare.wait(DEADLINE);
    let options = WorkerOptions { extra: cache.pushed_to(), ..WorkerOptions::default() };
    let _worker = pool.worker_with("w1", &options);

    let answer = all_built(pool.submit(&args), 1);

    assert_eq!(host(&answer, "h01")["reused"], true);
    assert!(cache.narinfo(&out).is_some_and(|it| it.contains("\nSig: pool-1:")));
    let third = NixStore::with_substituters(&cache.url());
    assert!(substitute(&third, &cache, &out), "its dependencies are signed too");
}
