//! The gate as a process of its own on a broker with exactly the rendered roles: its role is enough
//! for all that it does, and it never asks for more.

use std::process::Command;

use proto::{subject, topology};
use serde_json::Value;
use tests::{
    Flake, KeyedOptions, KeyedPool, MockForge, NixStore, Output, Repo, Terminal, eventually,
    forge::Persona, pool::REPO, process::run, updates::locked,
};

use crate::{DEADLINE, roles::block_on};

/// A keyed pool whose repository is on a forge, with hosts from an input.
struct Site {
    pool: KeyedPool,
    forge: MockForge,
    fleet: Repo,
}

impl Site {
    fn start(nats: &str) -> Self {
        let options = KeyedOptions { server: String::new(), nats, ca_file: None };
        let pool = KeyedPool::start_with(&options);
        let fleet = Repo::new();
        fleet.commit("master", &Flake::hosts(2).files());
        pool.repo.commit("master", &locked(&fleet, &pool.store));
        let forge = MockForge::start(Persona::Gitea126, &pool.repo);
        Self { pool, forge, fleet }
    }

    fn upstream(&self, hosts: &Flake) {
        self.fleet.commit("master", &hosts.files());
    }

    /// A gate command in the gate's name; only what `w1` signed counts.
    fn gate(&self, args: &[&str]) -> Output {
        run(self.command().arg("--json").args(args), DEADLINE)
    }

    fn command(&self) -> Command {
        let tables = format!(
            "[repos.{REPO}]\nurl = {:?}\nrefs = [\"master\", \"flake-update/*\"]\n{}\n\
             [gate]\ntrusted_workers = [{:?}]\n",
            self.forge.git_url(),
            self.forge.config(),
            self.pool.keys().public("w1"),
        );
        self.pool.client_with("gate", "gate", &tables)
    }

    fn master(&self) -> String {
        self.pool.repo.rev("master")
    }

    /// What the gate told last of a landing.
    fn landed(&self) -> Value {
        block_on(async {
            let (client, _) = self.pool.raw("admin").await;
            let events = async_nats::jetstream::new(client).get_stream(topology::EVENTS).await;
            let subject = subject::landed(&REPO.parse().expect("a name"));
            let told = events.expect("the stream").get_last_raw_message_by_subject(&subject).await;
            serde_json::from_slice(&told.expect("an event").payload).expect("JSON")
        })
    }
}

/// All commands, with a green and a red update.
fn everything(nats: &str) {
    let site = Site::start(nats);
    let worker = site.pool.worker("w1", "");
    let base = site.master();

    site.upstream(&Flake::hosts(2).salt("newer"));
    // Nobody waits that long: the run is left to `gate resume`.
    site.gate(&["run", "--repo", REPO, "--deadline", "1ms"]).expect_code(3);
    let resumed = &site.gate(&["resume"]).expect_code(0).json()[0];
    assert_eq!(resumed["end"], "landed", "{resumed:#}");
    let landed = site.master();
    assert_ne!(landed, base);
    let hosts = ["check", "--repo", REPO, "--rev", &landed, "--hosts", "h01,h02"];
    assert_eq!(site.gate(&hosts).expect_code(0).json()["verdict"], "pass");
    assert_eq!(site.landed()["revision"], *landed);

    site.upstream(&Flake::hosts(2).salt("broken").failing("h02"));
    let answer = site.gate(&["run", "--repo", REPO]).expect_code(1).json();
    assert_eq!(answer["end"], "failed", "{answer:#}");
    assert_eq!(site.master(), landed);
    let comments = site.forge.comments(1);
    assert_eq!(comments[0].files.len(), 1, "the log was read: {comments:?}");
    let standing = site.gate(&["status"]).expect_code(0).json();
    assert_eq!(standing[0]["end"], "failed", "{standing:#}");

    site.upstream(&Flake::hosts(2).salt("mended"));
    site.gate(&["run", "--repo", REPO, "--dry-run"]).expect_code(0);
    let answer = site.gate(&["run", "--repo", REPO]).expect_code(0).json();
    assert_eq!(answer["end"], "landed", "{answer:#}");
    assert!(!site.forge.pull(1).open, "superseded");
    assert_eq!(site.gate(&["resume"]).expect_code(0).stdout, "[]\n");

    drop(worker);
    assert_eq!(site.pool.server.violations(), Vec::<String>::new());
}

#[test]
fn the_rendered_role_is_enough_for_a_gate() {
    everything("");
}

#[test]
fn the_rendered_role_is_enough_for_a_gate_in_the_second_ack_form() {
    everything("feature_flags { js_ack_fc_v2: true }\n");
}

#[test]
fn the_rendered_role_is_enough_to_say_why_hosts_wait() {
    let site = Site::start("");
    let worker = site.pool.worker("w1", "");
    site.upstream(&Flake::hosts(2).salt("newer"));
    site.pool.producer("ops", &["pause", "x86_64-linux"]).expect_code(0);

    let terminal = Terminal::start(100, 24, site.command().args(["run", "--repo", REPO]));

    terminal.wait_for("2 queued: class x86_64-linux is paused; ", DEADLINE);
    site.pool.producer("ops", &["resume", "x86_64-linux"]).expect_code(0);
    assert_eq!(terminal.wait(DEADLINE), 0, "{:#?}", terminal.everything());
    drop(worker);
    assert_eq!(site.pool.server.violations(), Vec::<String>::new());
}

#[test]
fn what_only_an_untrusted_worker_says_is_undecided_and_asked_of_another_one() {
    let site = Site::start("");
    let base = site.master();
    let mallory = site.pool.worker("mallory", "");
    // It builds one host, and says of the other that it fails.
    site.upstream(&Flake::hosts(2).salt("newer").moody("h02"));

    let answer = site.gate(&["run", "--repo", REPO]).expect_code(3);

    assert!(answer.stderr.contains("no fault of the update"), "{answer}");
    assert!(site.forge.pulls().is_empty(), "nobody is blamed by a stranger");
    assert_eq!(site.master(), base);

    // It stays, and would be as fast as before.
    let store = NixStore::new();
    store.soothe();
    let w1 = site.pool.worker_in("w1", &store, "");
    eventually("its presence", DEADLINE, || {
        let there = async { site.pool.bus("reader").await.workers().list("w1").await };
        (!block_on(there).expect("an answer").is_empty()).then_some(())
    });
    let answer = &site.gate(&["resume"]).expect_code(0).json()[0];
    assert_eq!(answer["end"], "landed", "{answer:#}");
    drop((mallory, w1));
}
