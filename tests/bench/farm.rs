//! Real hosts, built by real Nix: the pool beside what people do without one.
//!
//! Sixteen hosts of a second each share three derivations of a second each. Every way builds them in
//! a store of its own, from the same commit.

use std::time::Duration;

use tests::{Flake, NixStore, Pool, PoolOptions, Spawned, WorkerOptions};

use crate::{
    FEW,
    row::{Row, Target},
    timed,
};

const HOSTS: usize = 16;

/// The hosts and what they share, without nixpkgs.
const FARM: &str = r#"{ name }:
let
  step = name: deps: derivation {
    inherit name deps;
    system = "x86_64-linux";
    builder = "/bin/sh";
    args = [ "-c" "sleep 1; echo $deps > $out" ];
  };
in
step "nixos-system-${name}-26.05" (map (number: step "shared-${toString number}" [ ]) [ 1 2 3 ])
"#;

/// Seconds of one round.
struct Round {
    pool: f64,
    one_build: f64,
    xargs: f64,
    sequential: f64,
    cached_all: f64,
    cached_named: f64,
    cached_nix: f64,
}

pub(crate) fn rows(rounds: usize) -> Vec<Row> {
    let rounds: Vec<Round> = (0..rounds.min(FEW)).map(|_| round()).collect();
    let row = |what: &str, against, pair: fn(&Round) -> (f64, f64), most| {
        Row::against(what, "s", against, rounds.iter().map(pair), Target::RatioAtMost(most))
    };
    let built = "16 hosts sharing 3 dependencies, 2 slots";
    vec![
        row(built, "one `nix build`, 2 jobs", |it| (it.pool, it.one_build), 1.10),
        row(built, "`xargs -P2 nix build`", |it| (it.pool, it.xargs), 1.0),
        row(built, "`nix build` one by one", |it| (it.pool, it.sequential), 0.56),
        row(
            "16 hosts built already, --all",
            "16 × `nix build`",
            |it| (it.cached_all, it.cached_nix),
            0.33,
        ),
        row(
            "16 hosts built already, named, --rev",
            "16 × `nix build`",
            |it| (it.cached_named, it.cached_nix),
            0.10,
        ),
    ]
}

fn round() -> Round {
    let setup = ["--ack-wait", "60s"].map(str::to_owned).to_vec();
    let pool = Pool::start_with(&PoolOptions { setup, ..PoolOptions::default() });
    let names: Vec<String> = (1..=HOSTS).map(|number| format!("h{number:02}")).collect();
    let host = |flake: Flake, name: &String| {
        flake.toplevel(name, &format!("import ./farm.nix {{ name = \"{name}\"; }}"))
    };
    let flake = names.iter().fold(Flake::named(&names), host);
    let farm = [("farm.nix".to_owned(), FARM.to_owned())];
    let rev = pool.repo.commit("master", &[flake.files(), farm.into()].concat());
    let worker = worker(&pool);
    let submit = |args: &[&str]| {
        let mut submit = pool.client("producer");
        submit.args(["submit", "--repo", tests::pool::REPO, "--wait"]).args(args);
        timed(&mut submit).0
    };
    let built = submit(&["--all", "--ref", "master"]);
    let cached_all = submit(&["--all", "--ref", "master"]);
    let named: Vec<&str> = names.iter().map(String::as_str).chain(["--rev", &rev]).collect();
    let cached_named = submit(&named);
    drop(worker);
    let stores = [NixStore::new(), NixStore::new(), NixStore::new()];
    let flake = format!("git+file://{}?ref=master&rev={rev}", pool.repo.path().display());
    let one = format!("{flake}#nixosConfigurations.{{}}.config.system.build.toplevel");
    let all: Vec<String> = names.iter().map(|name| one.replace("{}", name)).collect();
    let mut one_build = stores[0].nix("nix");
    one_build.args(["build", "--no-link", "--max-jobs", "2"]).args(&all);
    let many = |store: &NixStore, at_once: &str| {
        let mut many = store.nix("sh");
        many.args([
            "-c",
            "printf '%s\\n' $1 | xargs -P$2 -I{} nix build --no-link --max-jobs 1 \"$3\"",
        ]);
        many.args(["sh", &names.join(" "), at_once, &one]);
        timed(&mut many).0
    };
    let one_build = timed(&mut one_build).0;
    let (xargs, sequential) = (many(&stores[1], "2"), many(&stores[2], "1"));
    let cached_nix = many(&stores[2], "1");
    Round { pool: built, one_build, xargs, sequential, cached_all, cached_named, cached_nix }
}

pub(crate) fn worker(pool: &Pool) -> Spawned {
    let worker = pool.worker_with("w1", &WorkerOptions { slots: 2, ..WorkerOptions::default() });
    worker.wait_for_log("ready for jobs", Duration::from_secs(30));
    worker
}
