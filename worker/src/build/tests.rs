//! Whole attempts with real Nix and real git, in a store and a state folder of their own.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use proto::log::{LogChunk, LogLine};
use proto::{Host, Revision, Work};

use super::*;
use crate::{
    log_sink::LogRoom,
    mirror::tests::Upstream,
    nix::{command::StorePath, process::Guard},
};

const FLAKE: &str = r#"{ outputs = { self }: let
  sys = system: name: deps: cmd: derivation {
    inherit name deps system; builder = "/bin/sh"; args = ["-c" cmd];
  };
  mk = sys "x86_64-linux";
  host = toplevel: { config.system.build = { inherit toplevel; }; };
in { nixosConfigurations = {
  web = host (mk "web" [ (mk "dep" [] "echo deep; echo > $out") ] "echo top; mkdir $out");
  random = host (mk "random" [] "read x < /proc/sys/kernel/random/uuid; echo again; echo $x > $out");
  broken = host (mk "broken" [ (mk "leaf" [] "echo no header; exit 3") ] "mkdir $out");
  thrown = host (throw "not ready");
  hollow = { config.system.build = { }; };
  foreign = host (sys "aarch64-linux" "foreign" [] "mkdir $out");
  silent = host (mk "silent" [] "echo quiet; sleep 60");
  noisy = host (mk "noisy" [] "while :; do echo noise; done");
  hungry = host (throw (toString (builtins.length (builtins.genList (x: x) 200000000))));
  forged = host { drvPath = "--help"; };
}; }; }"#;

/// The supervisor, under a Nix that needs no daemon, no substituter and no `/bin/sh` but busybox.
fn with_nix() -> Supervisor {
    let path = std::env::var_os("PATH").expect("a search path");
    let mut found = std::env::split_paths(&path).map(|dir| dir.join("busybox"));
    let busybox = found.find(|file| file.exists()).expect("a static busybox in PATH");
    let config = format!(
        "NIX_CONFIG=experimental-features = nix-command flakes\nbuild-users-group =\n\
         sandbox = true\nsandbox-paths = /bin/sh={}\nsubstituters =\n",
        busybox.display()
    );
    let words = crate::supervise::tests::supervisor();
    Supervisor::new("env", std::iter::once(config.into()).chain(words))
}

struct Pool {
    upstream: Upstream,
    state: tempfile::TempDir,
    ctx: Arc<BuildContext>,
    rev: Revision,
    overrides: Overrides,
    last_good: Option<LastGood>,
    stop: CancellationToken,
}

struct Seen {
    ended: Ended,
    notices: Vec<Notice>,
    lines: Vec<LogLine>,
}

impl Pool {
    fn new(limits: &str) -> Self {
        let upstream = Upstream::new();
        let rev = upstream.commit("flake.nix", FLAKE);
        let state = tempfile::tempdir().expect("a folder");
        let dir = state.path().display();
        let text = format!(
            "[worker]\nname = \"w\"\nstate_dir = \"{dir}/s\"\n[nix]\nstore = \"local?root={dir}/x\"\n\
             [limits]\n{limits}\n[repos.r]\nurl = {:?}",
            upstream.path()
        );
        let config = Config::parse(&text, Path::new("worker.toml")).expect("a config");
        let ctx = Arc::new(BuildContext::new(&config, with_nix()).expect("a context"));
        let last_good = None;
        let overrides = Overrides::default();
        Self { upstream, state, ctx, rev, overrides, last_good, stop: CancellationToken::new() }
    }

    async fn build(&self, host: &str, plan: Plan) -> Seen {
        let host: Host = host.parse().expect("a host");
        let repo = "r".parse().expect("a repo");
        let overrides = self.overrides.clone();
        let job = JobKey { repo, revision: self.rev.with(&overrides), host };
        let good = self.last_good.clone();
        let last_good = Earlier::new(|| std::future::ready(good));
        let task = Task { job, epoch: Epoch(7), plan, overrides, last_good };
        let (notices, mut heard) = mpsc::channel(1000);
        let (log, mut chunks) = LogSink::new(u64::MAX, &LogRoom::default());
        let ended = build(&self.ctx, task, notices, log, self.stop.clone()).await;
        let mut seen = Seen { ended, notices: Vec::new(), lines: Vec::new() };
        heard.recv_many(&mut seen.notices, 1000).await;
        while let Some(chunk) = chunks.next().await {
            let chunk: LogChunk = serde_json::from_slice(&chunk.json).expect("a chunk");
            seen.lines.extend(chunk.lines);
        }
        seen
    }

    fn generations(&self, host: &str) -> Vec<PathBuf> {
        let dir = self.state.path().join("s/gcroots/r").join(host).join("master");
        let entries = std::fs::read_dir(dir).expect("generations");
        let mut links: Vec<_> = entries.map(|entry| entry.expect("a link").path()).collect();
        links.sort();
        links
    }
}

impl Seen {
    #[track_caller]
    fn built(&self) -> &Built {
        let BuildEnd::Built(built) = &self.ended.end else { panic!("{:?}", self.ended) };
        built
    }

    #[track_caller]
    fn failure(&self) -> (&'static str, &Failure) {
        match &self.ended.end {
            BuildEnd::Failed { kind, failure } => (kind.name(), failure),
            BuildEnd::Infra { kind, failure } => (kind.name(), failure),
            other => panic!("{other:?}"),
        }
    }

    fn says(&self, text: &str) -> bool {
        self.lines.iter().any(|line| line.text.contains(text))
    }
}

const FULL: Plan = Plan::Full { force: false };

fn work(derivations: u32) -> Option<Work> {
    Some(Work { derivations, downloads: 0 })
}

#[tokio::test]
async fn a_host_is_built_rooted_and_then_reused() {
    let pool = Pool::new("");
    let seen = pool.build("web", FULL).await;
    let built = seen.built().clone();
    assert!(built.out_path.ends_with("-web") && built.drv_path.ends_with("-web.drv"), "{built:?}");
    assert!(built.closure_bytes > 0 && !built.reused);
    assert_eq!(built.work, work(2));
    let phases: Vec<_> = seen.ended.phases.iter().map(|time| time.phase).collect();
    assert_eq!(phases, [Phase::Fetch, Phase::Evaluate, Phase::Build, Phase::Root]);
    assert!(seen.notices.contains(&Notice::Progress(Progress { done: 2, expected: 2 })));
    let root = seen.notices.iter().position(|it| *it == Notice::Phase(Phase::Root));
    let idle = seen.notices.iter().rposition(|it| *it == Notice::Idle(true));
    assert!(idle.is_some() && idle < root, "its slot is free for another one: {:?}", seen.notices);
    let deep = |line: &LogLine| line.drv.as_deref().is_some_and(|drv| drv.ends_with("-dep.drv"));
    assert!(seen.lines.iter().any(|line| deep(line) && line.text == "deep"));
    let root = std::fs::read_link(&pool.generations("web")[0]).expect("a root");
    assert_eq!(root, Path::new(&built.out_path));
    let in_use = pool.state.path().join("s/gcroots/.in-use");
    assert_eq!(std::fs::read_dir(in_use).expect("a folder").count(), 0);

    let seen = pool.build("web", Plan::Reuse(built.clone())).await;
    assert_eq!(seen.built(), &Built { reused: true, work: work(0), ..built.clone() });
    let phases: Vec<_> = seen.ended.phases.iter().map(|time| time.phase).collect();
    assert_eq!(phases, [Phase::Root], "all is as it should be");
    assert_eq!(pool.generations("web").len(), 1);
    let gone = Built { out_path: built.out_path.replace("-web", "-bew"), ..built.clone() };
    let seen = pool.build("web", Plan::Reuse(gone)).await;
    let valid = Built { work: work(0), ..built };
    assert_eq!(seen.built(), &valid, "what is gone is built, and here it was valid");
}

#[tokio::test]
async fn a_reuse_of_what_is_rooted_elsewhere_makes_its_root() {
    let pool = Pool::new("");
    let built = pool.build("web", FULL).await.built().clone();
    let root = pool.generations("web").remove(0);
    std::fs::remove_file(&root).expect("a root");
    let reuse = Plan::Reuse(built.clone());
    let reused = Built { reused: true, work: work(0), ..built.clone() };
    assert_eq!(pool.build("web", reuse.clone()).await.built(), &reused);
    assert_eq!(pool.generations("web"), std::slice::from_ref(&root));
    // A link that Nix did not make in this life may be on nobody's books.
    let store_dir = Some(pool.state.path().join("x/nix/store"));
    let fresh = Roots::new(pool.state.path().join("s/gcroots"), 3, store_dir);
    let mut pool = pool;
    Arc::get_mut(&mut pool.ctx).expect("nobody else has it").roots = fresh;
    assert_eq!(pool.build("web", reuse).await.built(), &reused);
    let again = pool.generations("web");
    assert_ne!(again, [root]);
    assert_eq!(std::fs::read_link(&again[0]).expect("a root"), Path::new(&built.out_path));
}

#[tokio::test]
async fn what_was_to_be_reused_and_is_gone_is_built_if_there_is_room() {
    let pool = Pool::new("");
    let built = pool.build("web", FULL).await.built().clone();
    let delete = async || {
        let mut delete = pool.ctx.nix.delete([&StorePath::parse(&built.out_path).expect("a path")]);
        delete.args.push("--ignore-liveness".into());
        let guard = Guard::new(&pool.stop, Duration::from_secs(60));
        let end = pool.ctx.supervisor.run(&delete, &guard, |_| {}).await;
        assert!(end.expect("it runs").success());
    };
    delete().await;
    let reuse = Plan::Reuse(built.clone());
    let no_room = pool.ctx.anew_slots.acquire_many(2).await.expect("it is open");
    let seen = pool.build("web", reuse.clone()).await;
    assert_eq!(seen.ended.end, BuildEnd::Stopped, "left to others");
    drop(no_room);
    let seen = pool.build("web", reuse).await;
    assert_eq!(seen.built(), &Built { work: work(1), ..built }, "its dependency was left");
    assert!(seen.notices.contains(&Notice::Anew) && seen.says("is gone"));
}

#[tokio::test]
async fn force_builds_for_real_and_randomness_is_no_failure() {
    let pool = Pool::new("");
    let first = pool.build("random", Plan::Full { force: true }).await.built().clone();
    assert_eq!(first.work, work(1));
    let seen = pool.build("random", FULL).await;
    assert_eq!(seen.built().work, work(0));
    assert!(!seen.lines.iter().any(|line| line.text == "again"), "valid: nothing is built");
    let seen = pool.build("random", Plan::Full { force: true }).await;
    // Nix counts a rebuild that differs as failed; its builder ran all the same.
    assert_eq!(seen.built(), &first);
    assert!(seen.lines.iter().any(|line| line.text == "again"), "{:?}", seen.lines);
    assert!(seen.says("may not be deterministic"));
}

#[tokio::test]
async fn failures_are_told_apart() {
    let pool = Pool::new("");
    for (host, outcome, message) in [
        ("broken", "build-failed", "failed with exit code 3"),
        ("thrown", "eval-failed", "not ready"),
        ("hollow", "eval-failed", "does not provide attribute"),
        ("absent", "missing-host", "does not provide attribute"),
        ("foreign", "wrong-system", "aarch64-linux"),
        ("forged", "eval-failed", "\"--help\", not a derivation"),
    ] {
        let seen = pool.build(host, FULL).await;
        let (name, failure) = seen.failure();
        assert_eq!(name, outcome, "{host}: {failure:?}");
        assert!(failure.message.contains(message), "{host}: {failure:?}");
        assert!(seen.says(&format!("{outcome}: ")), "{host}");
        if host == "broken" {
            assert!(failure.drv.as_deref().is_some_and(|drv| drv.ends_with("-leaf.drv")));
            assert_eq!(failure.log_tail, ["no header"]);
        }
    }
}

#[tokio::test]
async fn limits_end_a_build() {
    let pool = Pool::new("silence = \"1s\"\nlog_kill_max = \"100KiB\"");
    for (host, outcome) in [("silent", "silent"), ("noisy", "log-limit")] {
        let seen = pool.build(host, FULL).await;
        let (name, failure) = seen.failure();
        assert_eq!(name, outcome, "{failure:?}");
        assert!(failure.drv.as_deref().is_some_and(|drv| drv.ends_with(&format!("-{host}.drv"))));
    }
    let pool = Pool::new("wall = \"1s\"");
    assert_eq!(pool.build("silent", FULL).await.failure().0, "timed-out");
    let pool = Pool::new("eval_wall = \"1ms\"");
    assert_eq!(pool.build("web", FULL).await.failure().0, "timed-out");
}

#[tokio::test]
async fn an_evaluation_that_takes_too_much_memory_is_tried_once_more_alone() {
    let pool = Pool::new("eval_memory_max = \"300MiB\"");
    let beside = pool.ctx.alone.read().await;
    let waits = pool.build("hungry", FULL);
    tokio::pin!(waits);
    let early = tokio::time::timeout(Duration::from_secs(4), &mut waits).await;
    assert!(early.is_err(), "it did not wait for the others");
    drop(beside);
    let seen = waits.await;
    let (name, failure) = seen.failure();
    assert_eq!(name, "out-of-memory");
    assert!(failure.message.contains("allowed are 300 MiB"), "{failure:?}");
    let again = seen.lines.iter().filter(|line| line.text.contains("with nothing beside it"));
    assert_eq!(again.count(), 1);
    assert!(!pool.build("web", FULL).await.built().reused, "others are built after it");
}

#[tokio::test]
async fn a_stopped_build_is_stopped_and_leaves_no_process() {
    let pool = Pool::new("");
    let stop = pool.stop.clone();
    let later = async {
        let roots = pool.state.path().join("x/nix/store");
        let building = || {
            let entries = std::fs::read_dir(&roots).into_iter().flatten().flatten();
            let mut names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
            names.any(|name| name.ends_with("-silent.drv.chroot"))
        };
        while !building() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        stop.cancel();
    };
    let (seen, ()) = tokio::join!(pool.build("silent", FULL), later);
    assert_eq!(seen.ended.end, BuildEnd::Stopped);
    let home = format!("HOME={}", pool.state.path().join("s/home").display());
    let ours = |pid: &std::fs::DirEntry| {
        let environ = std::fs::read(pid.path().join("environ")).unwrap_or_default();
        String::from_utf8_lossy(&environ).split('\0').any(|variable| variable == home)
    };
    let processes = std::fs::read_dir("/proc").expect("processes").flatten();
    assert_eq!(processes.filter(ours).count(), 0);
    assert!(pool.upstream.path().exists());
}

#[tokio::test]
async fn a_build_says_what_changed_since_the_last_good_one() {
    let package = |version: &str, kib: u32| {
        format!(
            "{{ outputs = {{ self }}: let mk = name: cmd: derivation {{ inherit name; \
             system = \"x86_64-linux\"; builder = \"/bin/sh\"; args = [\"-c\" cmd]; }}; in {{ \
             nixosConfigurations.web.config.system.build.toplevel = mk \"web\" \
             \"mkdir $out; echo ${{mk \"nginx-{version}\" \
             \"dd if=/dev/zero of=$out bs=1024 count={kib}\"}} > $out/x\"; }}; }}"
        )
    };
    let mut pool = Pool::new("");
    pool.rev = pool.upstream.commit("flake.nix", &package("1.26", 100));
    let first = pool.build("web", FULL).await.built().clone();
    assert_eq!(first.diff, None, "there was none before");
    let good = LastGood {
        v: proto::V1,
        revision: pool.rev.clone(),
        incarnation: proto::Incarnation(uuid::Uuid::nil()),
        out_path: first.out_path.clone(),
        drv_path: first.drv_path.clone(),
        closure_bytes: first.closure_bytes,
        at: proto::Timestamp(1),
        worker: "w".parse().expect("a name"),
        real_ms: None,
    };
    pool.last_good = Some(good.clone());
    let from = pool.rev.clone();
    pool.rev = pool.upstream.commit("flake.nix", &package("1.27", 300));
    let diff = pool.build("web", FULL).await.built().diff.clone().expect("a difference");
    assert_eq!((&diff.from, &diff.from_path), (&from, &first.out_path));
    assert_eq!(diff.lines, ["nginx: 1.26 → 1.27, +200.0 KiB"]);
    assert_eq!((diff.bytes, diff.lines_cut), (200 << 10, 0));
    // The same closure again is no difference.
    pool.rev = pool.upstream.commit("flake.nix", &package("1.26", 100));
    let same = pool.build("web", FULL).await.built().diff.clone().expect("a difference");
    assert_eq!((same.bytes, same.lines), (0, Vec::new()));
    // What this store does not have, or what is no path at all, is not compared with.
    for out_path in [first.out_path.replace("-web", "-bew"), "--help".to_owned()] {
        pool.last_good = Some(LastGood { out_path, ..good.clone() });
        assert_eq!(pool.build("web", FULL).await.built().diff, None);
    }
}
