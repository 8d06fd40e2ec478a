//! An input that cannot be updated is named, and by the config it holds up the others or not.

use tests::{Flake, Repo, Updates};

use crate::text;

/// The repository's flake has a second input, whose server is away by now.
fn with_a_dead_input() -> (Updates, Repo) {
    let site = Updates::start(&Flake::hosts(1));
    let other = Repo::new();
    other.commit("master", &[("flake.nix", "{ outputs = { self }: { }; }")]);
    site.commit_flake(&[("other", &other)]);
    site.upstream(&Flake::hosts(1).salt("newer"));
    let path = other.path();
    std::fs::rename(&path, path.with_extension("away")).expect("a folder to rename");
    (site, other)
}

#[test]
fn a_dead_input_is_named_and_nothing_is_updated_without_it() {
    let (site, _other) = with_a_dead_input();
    let _worker = site.pool.worker("w1");
    let base = site.rev("master");

    let output = site.run(&[]).expect_code(3);

    let answer = output.json();
    assert_eq!(answer["end"], "broken-inputs", "{answer:#}");
    let message = text(&answer["message"]);
    assert!(message.contains("other") && !message.contains("fleet"), "{message}");
    assert_eq!(site.rev("master"), base);
    assert_eq!((site.branches().len(), site.forge.pulls().len()), (0, 0));
}

#[test]
fn by_config_a_dead_input_keeps_its_lock_and_the_others_are_updated() {
    let (mut site, _other) = with_a_dead_input();
    site.gate_table = "on_broken_input = \"skip\"".to_owned();
    let _worker = site.pool.worker("w1");
    let node = |name: &str| {
        let lock = site.pool.repo.git(&["show", "master:flake.lock"]);
        let lock: serde_json::Value = serde_json::from_str(&lock).expect("a lock file");
        lock["nodes"][name]["locked"]["rev"].clone()
    };
    let before = ["fleet", "other"].map(node);

    let answer = site.run(&[]).expect_code(0).json();

    assert_eq!(answer["end"], "landed", "{answer:#}");
    let kept = answer["kept"].as_array().expect("a list");
    assert_eq!((kept.len(), text(&kept[0]["input"])), (1, "other".into()), "{answer:#}");
    let after = ["fleet", "other"].map(node);
    assert_ne!(before[0], after[0]);
    assert_eq!(before[1], after[1]);
    let message = site.pool.repo.git(&["show", "-s", "--format=%B", "master"]);
    assert!(message.contains("other"), "the commit says so: {message}");
}
