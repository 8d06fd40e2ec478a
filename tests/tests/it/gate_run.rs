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
