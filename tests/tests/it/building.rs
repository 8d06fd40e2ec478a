//! What a run of hosts comes to: built, failed in a leaf, not even evaluated.

use tests::{
    Flake, Pool, WorkerOptions,
    flake::{BROKEN_LEAF, LAST_WORDS, SHARED_LEAF, system_name},
};

use crate::{all_built, host, outcomes, text};

#[test]
fn sixteen_hosts_are_built_once_each_and_the_gate_passes() {
    sixteen_hosts(&Pool::start());
}

pub(crate) fn sixteen_hosts(pool: &Pool) {
    let rev = pool.commit("master", &Flake::hosts(16));
    let _worker = pool.worker("w1");

    let answer = all_built(pool.submit(&["--all", "--ref", "master", "--wait", "--json"]), 16);

    assert_eq!(
        (text(&answer["rev"]), text(&answer["ref"])),
        (rev.clone(), "refs/heads/master".into())
    );
    for (name, outcome) in outcomes(&answer) {
        assert_eq!(outcome, "built", "{name}");
        assert_eq!(pool.store.builds_begun(&system_name(&name)), 1, "{name}");
        let out = text(&host(&answer, &name)["out_path"]);
        assert!(pool.store.real(&out).join("deps").exists(), "{out}");
    }
    let outcome = &pool.result(&rev, "h01").expect("a result")["state"]["outcome"];
    assert!(outcome["closure_bytes"].as_u64() > Some(0), "the closure's size is told: {outcome:#}");
    assert_eq!(pool.store.builds_begun(SHARED_LEAF), 1);
    assert_eq!(pool.messages("NBP_JOBS"), 0);
    let run = text(&answer["run"]);
    let verdict = pool.gate_check(&["--rev", &rev, "--run", &run]).expect_code(0).json();
    assert_eq!((text(&verdict["verdict"]), &verdict["expected"]), ("pass".into(), &16.into()));
}

#[test]
fn a_host_that_fails_in_a_shared_leaf_names_it_and_the_others_are_built() {
    a_failing_leaf(&Pool::start());
}

pub(crate) fn a_failing_leaf(pool: &Pool) {
    let rev = pool.commit("master", &Flake::hosts(5).failing("h02").failing("h04"));
    let _worker = pool.worker("w1");

    let output = pool.submit(&["--all", "--ref", "master", "--wait", "--json"]).expect_code(1);

    let answer = output.json();
    for failed in ["h02", "h04"] {
        let failed = host(&answer, failed);
        assert_eq!(failed["outcome"], "build-failed", "{failed:#}");
        let failure = &failed["failure"];
        assert!(text(&failure["drv"]).ends_with(&format!("-{BROKEN_LEAF}.drv")), "{failure:#}");
        let tail = failure["log_tail"].as_array().expect("the last lines");
        assert_eq!(tail.last().map(text).as_deref(), Some(LAST_WORDS));
        assert!(tail.len() >= 4, "{tail:?}");
    }
    for built in ["h01", "h03", "h05"] {
        assert_eq!(host(&answer, built)["outcome"], "built");
    }
    let run = text(&answer["run"]);
    let verdict = pool.gate_check(&["--rev", &rev, "--run", &run]).expect_code(1).json();
    assert_eq!(verdict["verdict"], "fail");
    assert_eq!(verdict["hosts"]["h02"], "build-failed");
}

#[test]
fn hosts_that_do_not_evaluate_hide_no_other_host() {
    let pool = Pool::start();
    let flake = Flake::named(&["aborts", "good", "recurses", "throws", "wrongtype"])
        .toplevel("aborts", "abort \"no such module\"")
        .toplevel("throws", "throw \"assertion of the module failed\"")
        .toplevel("wrongtype", "1 + \"one\"")
        .host_expression("recurses", "let x = x; in x");
    pool.commit("master", &flake);
    let _worker = pool.worker("w1");

    let output = pool.submit(&["--all", "--ref", "master", "--wait", "--json"]).expect_code(1);

    let answer = output.json();
    let message = |name: &str| {
        let failed = host(&answer, name);
        assert_eq!(failed["outcome"], "eval-failed", "{failed:#}");
        format!("{}", failed["failure"])
    };
    assert!(message("aborts").contains("no such module"));
    assert!(message("throws").contains("assertion of the module failed"));
    assert!(message("wrongtype").contains("cannot add"), "{}", message("wrongtype"));
    assert!(message("recurses").contains("infinite recursion"));
    assert_eq!(host(&answer, "good")["outcome"], "built");
}

#[test]
fn a_host_that_the_flake_lacks_is_missing() {
    let pool = Pool::start();
    let rev = pool.commit("master", &Flake::hosts(1));
    let _worker = pool.worker("w1");

    let output = pool.submit(&["nosuch", "--rev", &rev, "--wait", "--json"]).expect_code(1);

    let answer = output.json();
    assert_eq!(host(&answer, "nosuch")["outcome"], "missing-host", "{answer:#}");
}

#[test]
fn a_broken_flake_is_a_clear_error_of_submit() {
    let pool = Pool::start();
    pool.repo.commit("master", &[("flake.nix", "{ outputs = _: { nixosConfigurations = { a")]);

    // The flake is at fault, as when a build fails.
    let output = pool.submit(&["--all", "--ref", "master"]).expect_code(1);

    assert!(output.stderr.contains("syntax error"), "{output}");
    assert_eq!(pool.messages("NBP_JOBS"), 0);
}

#[test]
fn a_broken_flake_is_the_outcome_of_hosts_that_were_named() {
    let pool = Pool::start();
    let broken = "{ outputs = _: { nixosConfigurations = { a";
    let rev = pool.repo.commit("master", &[("flake.nix", broken)]);
    let _worker = pool.worker("w1");

    let output = pool.submit(&["h01", "h02", "--rev", &rev, "--wait", "--json"]).expect_code(1);

    let answer = output.json();
    for name in ["h01", "h02"] {
        let failed = host(&answer, name);
        assert_eq!(failed["outcome"], "eval-failed", "{failed:#}");
        assert!(text(&failed["failure"]["message"]).contains("syntax error"), "{failed:#}");
    }
    assert_eq!(pool.result(&rev, "h01").expect("a result")["epoch"], 1);
}

#[test]
fn hosts_that_are_named_at_a_commit_need_neither_nix_nor_git() {
    let pool = Pool::start();
    let rev = pool.commit("master", &Flake::hosts(1));
    // The wrapper of the harness, and nothing else.
    let bare = tests::scratch();
    let program = tests::process::find("setpriv");
    std::os::unix::fs::symlink(program, bare.path().join("setpriv")).expect("a link");
    let submit = |args: &[&str]| {
        let mut producer = pool.client("producer");
        producer.env("PATH", bare.path()).args(["submit", "--repo", "homelab"]).args(args);
        tests::process::run(&mut producer, crate::DEADLINE)
    };

    submit(&["h01", "--rev", &rev]).expect_code(0);

    assert_eq!(pool.messages("NBP_JOBS"), 1);
    let without_git = submit(&["h01", "--ref", "master"]).expect_code(3);
    assert!(without_git.stderr.contains("git cannot be started"), "{without_git}");
    let without_nix = submit(&["--all", "--rev", &rev]).expect_code(3);
    assert!(without_nix.stderr.contains("nix cannot be started"), "{without_nix}");
}

#[test]
fn two_workers_share_the_work_of_one_run() {
    let pool = Pool::start();
    let second = tests::NixStore::new();
    pool.commit("master", &Flake::hosts(6).seconds(0.3));
    let options = WorkerOptions { slots: 1, ..WorkerOptions::default() };
    let _one = pool.worker_with("w1", &options);
    let _two = pool.worker_with("w2", &WorkerOptions { store: Some(&second), ..options });

    let answer = all_built(pool.submit(&["--all", "--ref", "master", "--wait", "--json"]), 6);

    let workers: std::collections::BTreeSet<String> =
        crate::hosts(&answer).map(|host| text(&host["worker"])).collect();
    assert_eq!(workers.len(), 2, "{answer:#}");
    for name in outcomes(&answer).keys() {
        let system = system_name(name);
        assert_eq!(pool.store.builds_begun(&system) + second.builds_begun(&system), 1, "{name}");
    }
}
