//! One machine and no broker.

use std::{fs, time::Duration};

use tests::{
    Flake, NixStore, Repo, Spawned, eventually,
    flake::system_name,
    process::{binary, command, find, run},
    scratch,
};

use crate::{DEADLINE, all_built};

/// A standalone worker with everything of its own.
struct Alone {
    dir: tempfile::TempDir,
    store: NixStore,
    repo: Repo,
}

impl Alone {
    fn new() -> Self {
        let alone = Self { dir: scratch(), store: NixStore::new(), repo: Repo::new() };
        let text = format!(
            "[worker]\nname = \"alone\"\nstate_dir = {:?}\ndrain_timeout = \"1s\"\n\
             [nix]\nstore = {:?}\n[repos.homelab]\nurl = {:?}\n",
            alone.dir.path().join("state"),
            alone.store.uri(),
            alone.repo.url(),
        );
        fs::write(alone.dir.path().join("worker.toml"), text).expect("a writable folder");
        alone
    }

    /// Starts it; each life has a log of its own, by name.
    fn start(&self, life: &str) -> Spawned {
        let mut worker = self.worker();
        worker.arg("--nats-server").arg(find("nats-server"));
        Spawned::start(life, &mut worker, self.dir.path())
    }

    fn worker(&self) -> std::process::Command {
        let mut worker = command(binary("worker"));
        worker.envs(self.store.env()).arg("standalone");
        worker.arg("--config").arg(self.dir.path().join("worker.toml"));
        worker.arg("--data-dir").arg(self.dir.path().join("data")).args(["--port", "0"]);
        worker
    }

    fn producer(&self, args: &[&str]) -> tests::Output {
        let url = eventually("the broker's URL", DEADLINE, || {
            fs::read_to_string(self.dir.path().join("data/nats-url")).ok()
        });
        let mut producer = command(binary("producer"));
        producer.envs(self.store.env()).args(["--nats-url", url.trim()]).args(args);
        run(&mut producer, DEADLINE)
    }
}

#[test]
fn a_standalone_worker_brings_its_own_broker_and_takes_it_along() {
    let alone = Alone::new();
    let rev = alone.repo.commit("master", &Flake::hosts(2).files());
    let mut worker = alone.start("first");
    worker.wait_for_log("ready for jobs", DEADLINE);

    let submit = ["submit", "--repo", "homelab", "h01", "h02", "--rev", &rev, "--wait", "--json"];
    all_built(alone.producer(&submit), 2);

    // Its folder is locked: a second one is told so.
    let mut second = alone.start("second");
    assert_eq!(second.wait(DEADLINE).code(), Some(2), "{}", second.log());
    assert!(second.log().contains("another `worker standalone`"), "{}", second.log());

    worker.sigterm();
    assert!(worker.wait(DEADLINE).success(), "{}", worker.log());
    eventually("no process left", DEADLINE, || alone.processes().is_empty().then_some(()));

    // What it did is still known to the next one.
    let mut worker = alone.start("third");
    worker.wait_for_log("ready for jobs", DEADLINE);
    all_built(alone.producer(&submit), 2);
    worker.sigkill();
    eventually("no process left after a kill", DEADLINE, || {
        alone.processes().is_empty().then_some(())
    });
}

#[test]
fn a_standalone_worker_finds_its_broker_on_the_path_or_says_what_is_missing() {
    let alone = Alone::new();
    // Whatever the machine has, here it is another name.
    let bin = scratch();
    let link = bin.path().join("my-nats");
    std::os::unix::fs::symlink(find("nats-server"), &link).expect("a link");
    let inherited = std::env::var_os("PATH").expect("a PATH");
    let dirs = std::iter::once(bin.path().to_owned()).chain(std::env::split_paths(&inherited));
    let path = std::env::join_paths(dirs).expect("plain names");
    let start = |life: &str, program: &str| {
        let mut worker = alone.worker();
        worker.env("PATH", &path).args(["--nats-server", program]);
        Spawned::start(life, &mut worker, alone.dir.path())
    };

    let mut missing = start("missing", "no-such-nats");
    assert_eq!(missing.wait(DEADLINE).code(), Some(2), "{}", missing.log());
    let told = missing.log();
    for words in ["no-such-nats", "No such file", "install nats-server or name it by --nats-server"]
    {
        assert!(told.contains(words), "{told}");
    }
    let mut found = start("found", "my-nats");
    found.wait_for_log("ready for jobs", DEADLINE);
    found.sigterm();
    assert!(found.wait(DEADLINE).success(), "{}", found.log());

    // Without the option it is `nats-server`.
    fs::rename(&link, bin.path().join("nats-server")).expect("a rename");
    let mut worker = alone.worker();
    worker.env("PATH", &path);
    let mut plain = Spawned::start("plain", &mut worker, alone.dir.path());
    plain.wait_for_log("ready for jobs", DEADLINE);
    plain.sigterm();
    assert!(plain.wait(DEADLINE).success(), "{}", plain.log());
    eventually("no process left", DEADLINE, || alone.processes().is_empty().then_some(()));
}

#[test]
fn a_standalone_worker_takes_up_at_once_what_its_former_life_left() {
    let alone = Alone::new();
    let rev = alone.repo.commit("master", &Flake::hosts(1).held("h01").files());
    let mut worker = alone.start("first");
    worker.wait_for_log("ready for jobs", DEADLINE);
    let submit = ["submit", "--repo", "homelab", "h01", "--rev", &rev, "--json"];
    alone.producer(&submit).expect_code(0);
    alone.store.wait_for_build(&system_name("h01"), DEADLINE);
    worker.sigkill();
    eventually("no builder left", DEADLINE, || alone.store.builders().is_empty().then_some(()));
    eventually("no broker left", DEADLINE, || alone.processes().is_empty().then_some(()));

    let worker = alone.start("second");
    worker.wait_for_log("ready for jobs", DEADLINE);
    // The lease and the delivery of the former life would last for a minute yet.
    worker.wait_for_log("h01: claimed", Duration::from_secs(15));
    alone.store.release("h01");

    let wait = ["submit", "--repo", "homelab", "h01", "--rev", &rev, "--wait", "--json"];
    let answer = all_built(alone.producer(&wait), 1);
    assert_eq!(crate::host(&answer, "h01")["attempt"], 2, "{answer:#}");
}

impl Alone {
    /// Processes that name the data folder: the broker and its supervisor.
    fn processes(&self) -> Vec<String> {
        let name = self.dir.path().display().to_string();
        let all = fs::read_dir("/proc").expect("a system with /proc").flatten();
        all.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok())
            .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
            .filter(|line| line.contains(&name))
            .collect()
    }
}
