//! A repository whose hosts come from an input, on a forge, with a pool that builds them and a gate
//! that updates the input: everything that an update needs to be landed.

use std::{fs, process::Command, time::Duration};

use serde_json::Value;

use crate::{
    Flake, MockForge, NixStore, Output, Pool, PoolOptions, Repo, Spawned,
    forge::Persona,
    pool::REPO,
    process::{command, run},
    scratch::scratch,
};

/// For a gate run to end, builds included, on a machine busy with other tests.
const GATE_DEADLINE: Duration = Duration::from_secs(180);
/// To make a lock file.
const LOCK_DEADLINE: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Debug)]
pub struct Updates {
    pub pool: Pool,
    pub forge: MockForge,
    /// The repository of the input that has the hosts.
    pub fleet: Repo,
    /// Further lines of `[forge]`, and of `[gate]`.
    pub forge_table: String,
    pub gate_table: String,
    /// Further tables of `gate.toml`, and further lines of the repository's.
    pub tables: String,
    pub repo_lines: String,
}

impl Updates {
    /// The repository's `master` is locked to these hosts. No worker runs.
    pub fn start(hosts: &Flake) -> Self {
        Self::start_with(hosts, Persona::Gitea126, &PoolOptions::default())
    }

    pub fn start_with(hosts: &Flake, persona: Persona, options: &PoolOptions) -> Self {
        let pool = Pool::start_with(options);
        let fleet = Repo::new();
        fleet.commit("master", &hosts.files());
        let forge = MockForge::start(persona, &pool.repo);
        let none = String::new;
        let (forge_table, gate_table, tables, repo_lines) = (none(), none(), none(), none());
        let site = Self { pool, forge, fleet, forge_table, gate_table, tables, repo_lines };
        site.pool.repo.commit("master", &locked(&site.fleet, &site.pool.store));
        site
    }

    /// The input gets other hosts: the next update brings them.
    pub fn upstream(&self, hosts: &Flake) -> String {
        self.fleet.commit("master", &hosts.files())
    }

    /// Updates the lock file of a branch by hand, as a person does; returns the commit.
    pub fn commit_lock(&self, branch: &str) -> String {
        let [_, lock] = locked(&self.fleet, &self.pool.store);
        self.pool.repo.commit(branch, &[lock])
    }

    /// Gives the flake on `master` further inputs, locked to where they are; returns the commit.
    pub fn commit_flake(&self, inputs: &[(&str, &Repo)]) -> String {
        let files = locked_with(&self.fleet, inputs, &self.pool.store);
        self.pool.repo.commit("master", &files)
    }

    /// Where a branch is.
    pub fn rev(&self, branch: &str) -> String {
        self.pool.repo.rev(&format!("refs/heads/{branch}"))
    }

    /// All branches but `master`, sorted.
    pub fn branches(&self) -> Vec<String> {
        let names =
            self.pool.repo.git(&["for-each-ref", "--format=%(refname:lstrip=2)", "refs/heads"]);
        names.lines().filter(|name| *name != "master").map(str::to_owned).collect()
    }

    /// The files that a commit changes.
    pub fn changed(&self, rev: &str) -> Vec<String> {
        let names = self.pool.repo.git(&["diff", "--name-only", &format!("{rev}^"), rev]);
        names.lines().map(str::to_owned).collect()
    }

    /// `gate run --repo homelab --json` with these arguments, to its end.
    #[track_caller]
    pub fn run(&self, args: &[&str]) -> Output {
        let mut gate = self.gate(&[&["run", "--repo", REPO, "--json"], args].concat());
        run(&mut gate, GATE_DEADLINE)
    }

    /// `gate resume --json`, to its end.
    #[track_caller]
    pub fn resume(&self) -> Output {
        run(&mut self.gate(&["resume", "--json"]), GATE_DEADLINE)
    }

    /// What `gate status --json` says of each branch.
    #[track_caller]
    pub fn status(&self) -> Vec<Value> {
        let output = run(&mut self.gate(&["status", "--json"]), GATE_DEADLINE).expect_code(0);
        output.json().as_array().expect("a list").clone()
    }

    /// `gate run` beside the test, with the broker under this URL.
    #[track_caller]
    pub fn spawn(&self, name: &str, args: &[&str], nats_url: Option<&str>) -> Spawned {
        let mut gate = self.gate(&[&["run", "--repo", REPO, "--json"], args].concat());
        if let Some(url) = nats_url {
            gate.arg("--nats-url").arg(url);
        }
        self.pool.spawn(name, &mut gate)
    }

    /// Any gate command.
    pub fn gate(&self, args: &[&str]) -> Command {
        let mut gate = self.pool.client_with("gate", &self.config());
        gate.args(args);
        gate
    }

    /// The records of all gate runs.
    pub fn records(&self) -> Vec<Value> {
        let records = self.pool.bucket("nbp-gates").into_iter();
        records.filter(|(key, _)| key.starts_with("run.")).map(|(_, run)| run).collect()
    }

    /// What was told of landings.
    pub fn landings(&self) -> Vec<Value> {
        self.pool.events("nbp.event.landed.>")
    }

    /// What was told of the ends of runs.
    pub fn ends(&self) -> Vec<Value> {
        self.pool.events("nbp.event.gate.>")
    }

    fn config(&self) -> String {
        format!(
            "[repos.{REPO}]\nurl = {:?}\nrefs = [\"master\", \"flake-update/*\"]\n{}\n\n\
             {}{}\n\n[gate]\nlease = \"2s\"\n{}\n\n{}\n",
            self.forge.git_url(),
            self.repo_lines,
            self.forge.config(),
            self.forge_table,
            self.gate_table,
            self.tables,
        )
    }
}

/// The files of a flake that passes on what its one input has, locked to where that input is.
pub fn locked(fleet: &Repo, store: &NixStore) -> [(String, String); 2] {
    locked_with(fleet, &[], store)
}

/// The same with further inputs, of which it uses nothing.
fn locked_with(fleet: &Repo, others: &[(&str, &Repo)], store: &NixStore) -> [(String, String); 2] {
    let input = |name: &str, repo: &Repo| {
        format!("  inputs.{name}.url = \"git+{}?ref=master\";\n", repo.url())
    };
    let others: String = others.iter().map(|(name, repo)| input(name, repo)).collect();
    let fleet = input("fleet", fleet);
    let flake = format!(
        "{{\n{fleet}{others}  outputs = {{ self, fleet, ... }}: {{\n    \
         inherit (fleet) nixosConfigurations;\n  }};\n}}\n"
    );
    let dir = scratch();
    fs::write(dir.path().join("flake.nix"), &flake).expect("a writable temporary folder");
    let mut nix = command("nix");
    nix.args(["--extra-experimental-features", "nix-command flakes", "flake", "lock"]);
    nix.arg(format!("path:{}", dir.path().display())).envs(store.env());
    run(&mut nix, LOCK_DEADLINE).expect_code(0);
    let lock = fs::read_to_string(dir.path().join("flake.lock")).expect("a lock file");
    [("flake.nix".to_owned(), flake), ("flake.lock".to_owned(), lock)]
}
