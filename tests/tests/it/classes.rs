//! What a job needs of its builder: another system, or features.

use tests::{Flake, NixStore, Pool, PoolOptions, WorkerOptions, eventually, flake::system_name};

use crate::{DEADLINE, all_built, host, text};

const FEATURES: &str = "[repos.homelab.hosts.vm]\nfeatures = [\"kvm\"]\n\
    [repos.homelab.hosts.both]\nfeatures = [\"kvm\", \"big-parallel\"]\n";

/// Of all combinations of features only those that a job needs are set up.
const CLASSES: &str = "x86_64-linux,aarch64-linux,x86_64-linux_kvm,x86_64-linux_big-parallel_kvm";

fn pool(classes: &str) -> Pool {
    let setup = ["--ack-wait", "2s", "--classes", classes].map(str::to_owned).to_vec();
    Pool::start_with(&PoolOptions { setup, repo: FEATURES.to_owned(), ..PoolOptions::default() })
}

#[test]
fn jobs_wait_visibly_for_a_builder_of_their_class_and_delay_nobody() {
    let pool = pool(CLASSES);
    let flake = Flake::named(&["both", "pi", "vm", "web"]).system("pi", "aarch64-linux");
    pool.commit("master", &flake);
    let _plain = pool.worker("plain");

    let submitted = pool.submit(&["--all", "--ref", "master", "--json"]).expect_code(0).json();

    let classes = [
        ("both", "x86_64-linux_big-parallel_kvm"),
        ("pi", "aarch64-linux"),
        ("vm", "x86_64-linux_kvm"),
        ("web", "x86_64-linux"),
    ];
    for (name, class) in classes {
        assert_eq!(host(&submitted, name)["class"], class);
    }
    let run = text(&submitted["run"]);
    let status = || pool.producer(&["status", &run, "--json"]).expect_code(0).json();
    let built_by = |name: &str| {
        eventually(&format!("{name} to be built"), DEADLINE, || {
            let status = status();
            let it = host(&status, name);
            (it["outcome"] == "built").then(|| text(&it["worker"]))
        })
    };
    let waits = |name: &str, class: &str| {
        assert_eq!(host(&status(), name)["state"], "queued", "{name}");
        let shown = pool.producer(&["status", &run]).expect_code(0).stdout;
        assert!(shown.contains(&format!("no worker for class {class} (asked for ")), "{shown}");
    };
    assert_eq!(built_by("web"), "plain");
    for (name, class) in &classes[..3] {
        waits(name, class);
    }

    let foreign = NixStore::with_config("extra-platforms = aarch64-linux");
    let options = WorkerOptions {
        systems: vec!["aarch64-linux"],
        store: Some(&foreign),
        ..WorkerOptions::default()
    };
    let _arm = pool.worker_with("arm", &options);
    assert_eq!(built_by("pi"), "arm");
    waits("vm", "x86_64-linux_kvm");

    let strong = NixStore::new();
    let options = WorkerOptions {
        store: Some(&strong),
        worker: "features = [\"big-parallel\", \"kvm\"]",
        ..WorkerOptions::default()
    };
    let _strong = pool.worker_with("strong", &options);
    all_built(pool.producer(&["watch", &run, "--timeout", "180s", "--json"]), 4);
    for name in ["vm", "both"] {
        assert_eq!(built_by(name), "strong");
        assert_eq!(strong.builds_begun(&system_name(name)), 1);
    }
}

#[test]
fn a_class_that_is_set_up_later_is_served_without_a_restart() {
    let pool = pool("x86_64-linux");
    let rev = pool.commit("master", &Flake::named(&["vm", "web"]));
    let worker = "features = [\"kvm\"]\nsweep_every = \"200ms\"";
    let worker = pool.worker_with("w1", &WorkerOptions { worker, ..WorkerOptions::default() });
    all_built(pool.submit(&["web", "--rev", &rev, "--wait", "--json"]), 1);
    let refused = pool.submit(&["vm", "--rev", &rev]).expect_code(2);
    assert!(refused.stderr.contains("producer setup --classes x86_64-linux_kvm"), "{refused}");

    let classes = "x86_64-linux,x86_64-linux_kvm";
    pool.producer(&["setup", "--ack-wait", "2s", "--classes", classes]).expect_code(0);

    worker.wait_for_log("class x86_64-linux_kvm is set up now", DEADLINE);
    all_built(pool.submit(&["vm", "--rev", &rev, "--wait", "--json"]), 1);
}
