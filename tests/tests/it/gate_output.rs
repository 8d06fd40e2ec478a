//! Whatever a command of the gate did, its JSON is one document, and one branch does not hold up
//! another.

use tests::{
    Flake, Updates, eventually,
    forge::{Fault, On},
    process,
};

use crate::DEADLINE;

/// An update that waits, since nobody builds it.
fn waiting(gate_table: &str) -> Updates {
    let mut site = Updates::start(&Flake::hosts(1));
    site.upstream(&Flake::hosts(1).salt("newer"));
    run_until_it_waits(&site, "master");
    // Not before: a run that takes a busy machine longer would be given up on its way there.
    site.gate_table = gate_table.to_owned();
    site
}

/// Runs until the pool is asked. Each run goes on where the one before it ended.
fn run_until_it_waits(site: &Updates, base: &str) {
    let answer = eventually("the pool to be asked", DEADLINE, || {
        let answer = site.run(&["--base", base, "--deadline", "3s"]).expect_code(3).json();
        (answer["stage"] == "test").then_some(answer)
    });
    assert_eq!(answer["before"], serde_json::json!([]), "{answer:#}");
}

#[test]
fn a_run_that_is_given_up_stands_before_the_one_that_was_asked_for() {
    let site = waiting("give_up_after = \"1ms\"");
    let _worker = site.pool.worker("w1");

    let answer = site.run(&[]).expect_code(0).json();

    assert_eq!(answer["end"], "landed", "{answer:#}");
    let before = answer["before"].as_array().expect("a list");
    assert_eq!(before.len(), 1, "{answer:#}");
    assert_eq!(before[0]["end"], "given-up");
    assert_ne!(before[0]["run"], answer["run"]);
    assert_eq!((site.records().len(), site.landings().len()), (2, 1));
    assert_eq!(site.branches(), Vec::<String>::new(), "the older one's is cleared away");
}

#[test]
fn a_run_that_is_taken_up_first_stands_before_the_one_that_was_asked_for() {
    let site = waiting("");
    site.pool.repo.set_branch("mine", &site.rev("master"));
    site.pool.repo.commit("mine", &[("README", "mine")]);
    let _worker = site.pool.worker("w1");

    let answer = site.run(&["--branch", "mine"]).expect_code(3).json();

    // The update was landed meanwhile, and the branch does not have it.
    assert_eq!(answer["end"], "behind", "{answer:#}");
    let before = answer["before"].as_array().expect("a list");
    assert_eq!((before.len(), &before[0]["end"]), (1, &"landed".into()), "{answer:#}");
}

#[test]
fn resume_goes_on_with_each_branch_whatever_becomes_of_the_others() {
    let site = waiting("");
    site.pool.repo.set_branch("stable", &site.rev("master"));
    run_until_it_waits(&site, "stable");
    let _worker = site.pool.worker("w1");
    let put = || On::new("PUT", "/branches/master");
    site.forge.always(put(), Fault::status(418));

    let output = site.resume().expect_code(2);

    assert!(site.forge.count(&put()) > 0, "it was come to");
    assert!(output.stderr.contains("the forge refuses (HTTP 418"), "{output}");
    let ended = output.json();
    assert_eq!(ended.as_array().map(Vec::len), Some(1), "{ended:#}");
    assert_eq!((&ended[0]["base"], &ended[0]["end"]), (&"stable".into(), &"landed".into()));

    site.forge.heal();
    let ended = site.resume().expect_code(0).json();
    assert_eq!((&ended[0]["base"], &ended[0]["end"]), (&"master".into(), &"landed".into()));
}

#[test]
fn a_repository_that_is_misspelt_does_not_read_as_one_of_which_nothing_waits() {
    let site = Updates::start(&Flake::hosts(1));
    for command in ["resume", "status"] {
        let known =
            process::run(&mut site.gate(&[command, "--repo", "homelab"]), DEADLINE).expect_code(0);
        assert!(!known.stderr.contains("did you mean"), "{known}");
        let refused =
            process::run(&mut site.gate(&[command, "--repo", "homelba"]), DEADLINE).expect_code(2);
        assert!(refused.stderr.contains("did you mean homelab?"), "{refused}");
    }
}
