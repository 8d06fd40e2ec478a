//! What an update breaks, what was broken before, and what passes on another machine: each is told
//! from the others.

use tests::{Flake, NixStore, Updates, WorkerOptions, eventually, flake::system_name};

use crate::DEADLINE;

#[test]
fn a_failure_that_another_worker_does_not_have_is_flaky_and_lands() {
    let site = Updates::start(&Flake::hosts(2));
    site.upstream(&Flake::hosts(2).salt("newer").moody("h02"));
    let other = NixStore::new();
    other.soothe();
    let options = WorkerOptions { store: Some(&other), ..WorkerOptions::default() };
    let w2 = site.pool.worker_with("w2", &options);
    eventually("its presence", DEADLINE, || {
        site.pool.bucket("nbp-workers").contains_key("w2").then_some(())
    });
    // It is there, and takes nothing for now.
    w2.sigstop();
    let _w1 = site.pool.worker("w1");
    let mut gate = site.spawn("gate", &[], None);
    gate.wait_for_log("once more elsewhere", DEADLINE);
    w2.sigcont();

    assert_eq!(gate.wait(DEADLINE).code(), Some(0), "{}", gate.log());
    let answer = &site.status()[0];
    assert_eq!(answer["end"], "landed", "{answer:#}");
    let host = &answer["hosts"]["h02"];
    assert_eq!((&host["outcome"], &host["flaky"]), (&"built".into(), &true.into()), "{answer:#}");
}

#[test]
fn a_failure_is_confirmed_elsewhere_before_anybody_is_blamed() {
    let site = Updates::start(&Flake::hosts(2));
    site.upstream(&Flake::hosts(2).salt("newer").failing("h02"));
    let other = NixStore::new();
    let _w1 = site.pool.worker("w1");
    let options = WorkerOptions { store: Some(&other), ..WorkerOptions::default() };
    let _w2 = site.pool.worker_with("w2", &options);

    site.run(&[]).expect_code(1);

    let leaf = tests::flake::BROKEN_LEAF;
    let begun = |store: &NixStore| store.builds_begun(leaf);
    assert_eq!((begun(&site.pool.store), begun(&other)), (1, 1), "once on each");
}

#[test]
fn a_host_that_failed_before_is_told_from_one_that_the_update_breaks() {
    let broken = Flake::hosts(3).failing("h01");
    let site = Updates::start(&broken);
    let _worker = site.pool.worker("w1");
    let base = site.rev("master");
    // Another host changes; the broken one is as broken as before.
    site.upstream(&broken.clone().toplevel("h02", "builtins.derivation { name = \"x\"; system = \"x86_64-linux\"; builder = \"/bin/sh\"; args = [ \"-c\" \"echo new > $out\" ]; }"));

    let answer = site.run(&[]).expect_code(1).json();

    assert_eq!(answer["end"], "failed", "{answer:#}");
    let pull = &site.forge.pulls()[0];
    assert_eq!(
        site.forge.labels_of(pull.number),
        ["build-failure", "needs-review", "pre-existing"]
    );
    assert_eq!(site.rev("master"), base);
}

#[test]
fn by_policy_only_regressions_keep_an_update_back() {
    let broken = Flake::hosts(3).failing("h01");
    let mut site = Updates::start(&broken);
    site.gate_table = "policy = \"no-regression\"".to_owned();
    let _worker = site.pool.worker("w1");
    site.upstream(&broken.clone().toplevel("h02", "builtins.derivation { name = \"x\"; system = \"x86_64-linux\"; builder = \"/bin/sh\"; args = [ \"-c\" \"echo new > $out\" ]; }"));

    let answer = site.run(&[]).expect_code(0).json();

    assert_eq!(answer["end"], "landed", "{answer:#}");
}

#[test]
fn a_host_that_the_update_removes_keeps_it_from_landing() {
    let site = Updates::start(&Flake::hosts(3));
    let _worker = site.pool.worker("w1");
    let base = site.rev("master");
    site.upstream(&Flake::named(&["h01", "h02"]).salt("newer"));

    let answer = site.run(&[]).expect_code(1).json();

    assert_eq!(answer["end"], "failed", "{answer:#}");
    assert_eq!(site.rev("master"), base);
    let body = site.forge.pulls()[0].body.clone();
    assert!(body.contains("h03") && body.contains("missing-host"), "{body}");
}

#[test]
fn a_flake_that_loses_all_its_hosts_never_lands() {
    let site = Updates::start(&Flake::hosts(1));
    let base = site.rev("master");
    site.upstream(&Flake::named::<&str>(&[]));
    let _worker = site.pool.worker("w1");

    // The host of the base is missed.
    let answer = site.run(&[]).expect_code(1).json();

    assert_eq!(answer["hosts"]["h01"]["outcome"], "missing-host", "{answer:#}");
    assert_eq!(site.rev("master"), base);
}

#[test]
fn a_flake_without_hosts_never_lands() {
    let site = Updates::start(&Flake::named::<&str>(&[]));
    let base = site.rev("master");
    site.upstream(&Flake::named::<&str>(&[]).salt("newer").extra("# newer"));

    let answer = site.run(&[]).expect_code(1).json();

    assert_eq!(answer["end"], "no-hosts", "{answer:#}");
    assert_eq!(site.rev("master"), base);
    assert_eq!(site.forge.pulls().len(), 1);
}

#[test]
fn an_input_that_is_no_flake_any_more_is_named() {
    let site = Updates::start(&Flake::hosts(1));
    let base = site.rev("master");
    site.upstream(&Flake::hosts(1).extra("oops = {;"));

    let answer = site.run(&[]).expect_code(3);

    assert_eq!(answer.json()["end"], "broken-inputs", "{answer}");
    assert!(answer.stdout.contains("fleet") && answer.stdout.contains("syntax error"), "{answer}");
    assert_eq!(site.rev("master"), base);
}

#[test]
fn one_host_that_does_not_evaluate_keeps_the_update_back_and_the_others_are_built() {
    let site = Updates::start(&Flake::hosts(3));
    let _worker = site.pool.worker("w1");
    site.upstream(&Flake::hosts(3).salt("newer").toplevel("h03", "abort \"no\""));

    let answer = site.run(&[]).expect_code(1).json();

    assert_eq!(answer["end"], "failed", "{answer:#}");
    assert_eq!(site.pool.store.builds_begun(&system_name("h01")), 1);
    let body = site.forge.pulls()[0].body.clone();
    assert!(body.contains("eval-failed"), "{body}");
}

#[test]
fn excluded_hosts_are_left_out_and_named() {
    let mut site = Updates::start(&Flake::hosts(3));
    site.repo_lines = "exclude = [\"h03\"]".to_owned();
    let _worker = site.pool.worker("w1");
    site.upstream(&Flake::hosts(3).salt("newer").failing("h03"));

    let output = site.run(&[]).expect_code(0);

    assert!(output.stdout.contains("h03"), "{output}");
    assert_eq!(site.pool.store.builds_begun(&system_name("h03")), 0);
}

#[test]
fn an_input_that_is_away_is_named_and_nothing_is_landed() {
    let site = Updates::start(&Flake::hosts(1));
    let base = site.rev("master");
    let path = site.fleet.path();
    std::fs::rename(&path, path.with_extension("away")).expect("a folder to rename");

    let answer = site.run(&[]).expect_code(3);

    assert!(answer.stdout.contains("fleet"), "{answer}");
    assert_eq!(site.rev("master"), base);
    assert_eq!(site.branches(), Vec::<String>::new());
}

#[test]
fn the_plan_of_a_dry_run_changes_nothing() {
    let site = Updates::start(&Flake::hosts(2));
    let base = site.rev("master");
    site.upstream(&Flake::hosts(2).salt("newer"));

    let output = site.run(&["--dry-run"]).expect_code(0);

    assert!(output.stdout.contains("h02"), "{output}");
    assert_eq!(site.rev("master"), base);
    assert_eq!((site.branches().len(), site.records().len()), (0, 0));
    assert_eq!(site.pool.messages("NBP_JOBS"), 0);
}

#[test]
fn older_requests_that_nobody_worked_on_are_superseded() {
    let site = Updates::start(&Flake::hosts(2));
    let _worker = site.pool.worker("w1");
    site.upstream(&Flake::hosts(2).salt("one").failing("h01"));
    site.run(&[]).expect_code(1);
    site.upstream(&Flake::hosts(2).salt("two").failing("h01"));
    site.run(&[]).expect_code(1);
    let pulls = site.forge.pulls();
    assert_eq!(pulls.iter().map(|pull| pull.open).collect::<Vec<_>>(), [false, true]);
    assert_eq!(site.branches(), [pulls[1].head.clone()]);

    // Somebody mends the second one; it is theirs now.
    let head = pulls[1].head.clone();
    site.pool.repo.commit(&head, &[("fix", "x")]);
    site.upstream(&Flake::hosts(2).salt("three").failing("h01"));
    site.run(&[]).expect_code(1);
    let pulls = site.forge.pulls();
    assert_eq!(pulls.iter().map(|pull| pull.open).collect::<Vec<_>>(), [false, true, true]);
    assert!(site.branches().contains(&head));

    // A green one puts the third away and leaves theirs.
    site.upstream(&Flake::hosts(2).salt("four"));
    site.run(&[]).expect_code(0);
    let pulls = site.forge.pulls();
    assert_eq!(pulls.iter().map(|pull| pull.open).collect::<Vec<_>>(), [false, true, false]);
    assert_eq!(site.branches(), [head]);
}
