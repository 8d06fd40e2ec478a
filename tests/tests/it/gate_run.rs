//! An update is landed when every host of it was built, and only then.

use tests::{Flake, Updates};

#[test]
fn a_green_update_lands_exactly_what_was_built_and_nothing_twice() {
    let site = Updates::start(&Flake::hosts(3));
    let _worker = site.pool.worker("w1");
    let base = site.rev("master");
    site.upstream(&Flake::hosts(4).salt("newer"));

    let answer = site.run(&[]).expect_code(0).json();

    assert_eq!(answer["end"], "landed", "{answer:#}");
    let landed = site.rev("master");
    assert_eq!(answer["candidate"]["revision"], *landed);
    assert_eq!(site.rev("master^"), base, "one commit on top of the base");
    assert_eq!(site.changed(&landed), ["flake.lock"]);
    let built = answer["hosts"].as_object().expect("hosts");
    assert_eq!(built.len(), 4, "also the host that the update adds: {answer:#}");
    assert!(built.values().all(|host| host["outcome"] == "built"), "{answer:#}");
    assert_eq!(site.branches(), Vec::<String>::new());
    assert!(site.forge.pulls().is_empty());
    let told = site.landings();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((&told[0]["revision"], &told[0]["base"]), (&landed.into(), &base.into()));

    // Again: there is nothing to do.
    let before = site.rev("master");
    let answer = site.run(&[]).expect_code(0).json();
    assert_eq!(answer["end"], "unchanged", "{answer:#}");
    assert_eq!((site.rev("master"), site.landings().len()), (before, 1));
    assert_eq!(site.resume().expect_code(0).stdout, "[]\n");
}

#[test]
fn a_red_update_leaves_the_branch_alone_and_opens_one_request() {
    let site = Updates::start(&Flake::hosts(3));
    let _worker = site.pool.worker("w1");
    let base = site.rev("master");
    site.upstream(&Flake::hosts(3).salt("newer").failing("h02"));

    let answer = site.run(&[]).expect_code(1).json();

    assert_eq!(answer["end"], "failed", "{answer:#}");
    assert_eq!(site.rev("master"), base);
    assert_eq!(answer["hosts"]["h02"]["outcome"], "build-failed");
    assert_eq!(answer["hosts"]["h01"]["outcome"], "built");
    let pulls = site.forge.pulls();
    assert_eq!(pulls.len(), 1, "{pulls:?}");
    assert_eq!(site.branches(), [pulls[0].head.clone()]);
    assert!(site.landings().is_empty());

    // The same update on the same base failed before: no second request.
    let answer = site.run(&[]).expect_code(1).json();
    assert_eq!(answer["end"], "same-failure", "{answer:#}");
    assert_eq!((site.forge.pulls().len(), site.branches().len()), (1, 1));
    assert_eq!(site.rev("master"), base);
}

#[test]
fn what_is_told_of_a_landing_says_which_hosts_change() {
    // One host's system is the same in both generations.
    let still = "builtins.derivation { name = \"still\"; system = \"x86_64-linux\"; \
                 builder = \"/bin/sh\"; args = [ \"-c\" \"echo still > $out\" ]; }";
    let hosts = || Flake::hosts(2).toplevel("h02", still);
    let site = Updates::start(&hosts());
    let _worker = site.pool.worker("w1");
    crate::all_built(site.pool.submit(&["--all", "--ref", "master", "--wait", "--json"]), 2);
    site.upstream(&hosts().salt("newer"));

    let answer = site.run(&[]).expect_code(0).json();

    let told = &site.landings()[0]["hosts"];
    for (host, changed) in [("h01", true), ("h02", false)] {
        let (told, result) = (&told[host], &answer["hosts"][host]);
        assert_eq!(told["changed"], changed, "{told:#}");
        assert_eq!(told["drv_path"], result["drv_path"]);
        assert_eq!(told["out_path"], result["out_path"]);
    }
}

#[test]
fn a_fix_that_somebody_pushes_to_a_red_update_lands_through_the_same_gate() {
    let site = Updates::start(&Flake::hosts(2));
    let _worker = site.pool.worker("w1");
    let base = site.rev("master");
    site.upstream(&Flake::hosts(2).salt("newer").failing("h02"));
    site.run(&[]).expect_code(1);
    let pull = site.forge.pull(1);
    site.upstream(&Flake::hosts(2).salt("mended"));
    let fixed = site.commit_lock(&pull.head);

    let answer = site.run(&["--branch", &pull.head]).expect_code(0).json();

    assert_eq!(answer["end"], "landed", "{answer:#}");
    assert_eq!(
        (site.rev("master"), site.rev("master~2")),
        (fixed, base),
        "theirs, as it was tested"
    );
    assert!(!site.forge.pull(1).open);
    assert_eq!(site.branches(), Vec::<String>::new());
}

#[test]
fn a_branch_that_somebody_has_under_the_updates_name_stays_theirs() {
    let site = Updates::start(&Flake::hosts(1));
    let _worker = site.pool.worker("w1");
    site.upstream(&Flake::hosts(1).salt("newer"));
    let plan = site.run(&["--dry-run"]).expect_code(0).json();
    let name = plan["candidate"]["branch"].as_str().expect("a branch").to_owned();
    site.pool.repo.set_branch(&name, &site.rev("master"));
    let theirs = site.pool.repo.commit(&name, &[("README", "theirs")]);

    let answer = site.run(&[]).expect_code(0).json();

    assert_eq!(answer["end"], "landed", "{answer:#}");
    assert_eq!(answer["candidate"]["branch"], format!("{name}-2"));
    assert_eq!((site.rev(&name), site.branches()), (theirs, vec![name]));
}
