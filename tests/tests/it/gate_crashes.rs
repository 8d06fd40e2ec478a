//! A gate that is killed anywhere leaves what the next one completes: the same end as if nothing had
//! happened, and nothing twice.

use serde_json::Value;
use tests::{Flake, Tap, Updates, eventually, forge::On, tap::Cut};

use crate::DEADLINE;

/// Goes on until the killed gate's lease has run out and its run has ended; gives that run.
#[track_caller]
fn resumed(site: &Updates) -> Value {
    eventually("a resumed run", DEADLINE, || (site.resume().code != Some(3)).then_some(()));
    let runs = site.status();
    assert_eq!(runs.len(), 1, "{runs:#?}");
    runs[0].clone()
}

/// Everything outside the gate that may exist once only.
#[track_caller]
pub(crate) fn landed_once(site: &Updates, base: &str) {
    let landed = site.rev("master");
    assert_eq!(site.rev("master^"), base, "one commit on top of the base");
    assert_eq!(site.changed(&landed), ["flake.lock"]);
    assert_eq!(site.branches(), Vec::<String>::new());
    assert!(site.forge.pulls().is_empty());
    let told = site.landings();
    assert_eq!(told.len(), 1, "{told:#?}");
    assert_eq!(told[0]["revision"], *landed);
    let ends = site.ends();
    assert_eq!(ends.len(), 1, "{ends:#?}");
    assert_eq!((&ends[0]["end"], &ends[0]["revision"]), (&"landed".into(), &landed.into()));
}

#[track_caller]
pub(crate) fn explained_once(site: &Updates, base: &str) {
    assert_eq!(site.rev("master"), base);
    let pulls = site.forge.pulls();
    assert_eq!(pulls.len(), 1, "{pulls:#?}");
    let pull = &pulls[0];
    assert!(pull.open);
    assert_eq!(site.branches(), std::slice::from_ref(&pull.head));
    let labels = site.forge.labels_of(pull.number);
    assert_eq!(labels, ["build-failure", "needs-review"]);
    let all = site.forge.labels();
    let mut once = all.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), all.len(), "no label twice: {all:?}");
    let comments = site.forge.comments(pull.number);
    assert_eq!(comments.len(), 1, "{comments:#?}");
    let files: Vec<&str> = comments[0].files.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(files, ["h02.log.gz"]);
    assert!(site.landings().is_empty());
    let ends = site.ends();
    assert_eq!(ends.len(), 1, "{ends:#?}");
    assert_eq!((&ends[0]["end"], &ends[0]["pull"]), (&"failed".into(), &pull.number.into()));
}

/// The gate is killed at this moment of a run, and another one takes it up.
fn killed_at(cut: Cut, green: bool) {
    let site = Updates::start(&Flake::hosts(2));
    let _worker = site.pool.worker("w1");
    let base = site.rev("master");
    let hosts = Flake::hosts(2).salt("newer");
    site.upstream(&if green { hosts } else { hosts.failing("h02") });
    let tap = Tap::start(&site.pool.nats.url(), cut);
    let mut gate = site.spawn("gate", &[], Some(tap.url()));

    tap.wait(DEADLINE);
    gate.sigkill();

    let answer = resumed(&site);
    let end = if green { "landed" } else { "failed" };
    assert_eq!(answer["end"], end, "{answer:#}");
    if green {
        landed_once(&site, &base);
    } else {
        explained_once(&site, &base);
    }
}

/// What only the record of a run at this stage holds.
macro_rules! killed_around {
    ($($name:ident: $stage:literal, $green:literal;)*) => {
        $(
            mod $name {
                use super::*;

                #[test]
                fn before_it_is_on_record() {
                    killed_at(Cut::Before(concat!("\"is\":\"", $stage, "\"")), $green);
                }

                #[test]
                fn with_the_answer_lost() {
                    killed_at(Cut::After(concat!("\"is\":\"", $stage, "\"")), $green);
                }
            }
        )*
    };
}

// Of each stage: what came before it is done outside, and on record or not.
killed_around! {
    prepare: "prepare", true;
    publish: "publish", true;
    list: "list", true;
    test: "test", true;
    land: "land", true;
    tell: "tell", true;
    clear: "clear", true;
    ended: "ended", true;
    compare: "compare", false;
    explain: "explain", false;
    clear_of_a_red_one: "clear", false;
    end_of_a_red_one: "ended", false;
}

/// The gate is killed while the forge has such a request in its hands: before it did anything, or
/// with the answer on its way.
fn killed_with_the_forge(on: On, done: bool, green: bool) {
    let site = Updates::start(&Flake::hosts(2));
    let _worker = site.pool.worker("w1");
    let base = site.rev("master");
    let hosts = Flake::hosts(2).salt("newer");
    site.upstream(&if green { hosts } else { hosts.failing("h02") });
    let held = if done { site.forge.hold_answer(on) } else { site.forge.hold(on) };
    let mut gate = site.spawn("gate", &[], None);

    held.wait(DEADLINE);
    gate.sigkill();
    site.forge.heal();
    held.release();

    resumed(&site);
    if green {
        landed_once(&site, &base);
    } else {
        explained_once(&site, &base);
    }
}

#[test]
fn landed_on_the_forge_and_not_on_record() {
    killed_with_the_forge(On::new("PUT", "/branches/master"), true, true);
}

#[test]
fn about_to_land_on_the_forge() {
    killed_with_the_forge(On::new("PUT", "/branches/master"), false, true);
}

#[test]
fn a_request_without_its_comment() {
    killed_with_the_forge(On::new("POST", "/pulls"), true, false);
}

#[test]
fn labels_made_and_not_given() {
    killed_with_the_forge(On::new("POST", "/labels"), true, false);
}

#[test]
fn a_comment_without_its_attachment() {
    killed_with_the_forge(On::new("POST", "/comments"), true, false);
}

#[test]
fn an_attachment_that_nobody_heard_of() {
    killed_with_the_forge(On::new("POST", "/assets"), true, false);
}
