use proto::{
    Identity, JobKey, RunId, Timestamp, V1,
    gate::{Required, Update},
};
use uuid::Uuid;

use super::*;
use crate::policy::tests::result;

const RULES: Rules = Rules { policy: Policy::All };

fn rev(digit: char) -> Revision {
    digit.to_string().repeat(40).parse().expect("a revision")
}

fn candidate() -> Candidate {
    let made = Made::Update(Update {
        lock: "new".into(),
        old_lock: "old".into(),
        message: "update".into(),
        date: 1,
        kept: Vec::new(),
    });
    let (branch, replaces) = ("flake-update/1".to_owned(), None);
    Candidate { base: rev('b'), revision: rev('c'), branch, replaces, made }
}

fn trial() -> Trial {
    let required = |host: &str| {
        let job = JobKey {
            repo: "r".parse().expect("a repo"),
            revision: rev('c'),
            host: host.parse().expect("a host"),
        };
        let class = "x86_64-linux".parse().expect("a class");
        (
            host.to_owned(),
            Required { job, class, overrides: proto::Overrides::default(), advisory: false },
        )
    };
    Trial {
        candidate: candidate(),
        required: ["a", "b"].map(required).into(),
        excluded: Vec::new(),
        external: Vec::new(),
        run: RunId(Uuid::nil()),
        base_run: RunId(Uuid::nil()),
    }
}

fn tested(results: [(&str, HostResult); 2]) -> Tested {
    let results = results.map(|(label, result)| (label.to_owned(), result)).into();
    Tested { trial: trial(), results }
}

fn run(stage: Stage) -> GateRun {
    GateRun {
        v: V1,
        id: GateId(Uuid::nil()),
        repo: "r".parse().expect("a repo"),
        base: "master".into(),
        source: Source::Update,
        by: Identity::local(),
        at: Timestamp(0),
        rounds: 1,
        stage,
        trace: None,
    }
}

fn built() -> HostResult {
    result(HostStanding::Built, "built")
}

fn failed(leaf: &str) -> HostResult {
    HostResult { leaf: Some(leaf.to_owned()), ..result(HostStanding::Failed, "build-failed") }
}

fn infra() -> HostResult {
    result(HostStanding::Undecided, "infra-failed")
}

fn look(result: HostResult, elsewhere: bool) -> Look {
    let by = Some((Incarnation(Uuid::nil()), "w1".parse().expect("a worker")));
    Look { result, by, elsewhere }
}

fn ended(hosts: [(&str, HostResult); 2]) -> Event {
    Event::Ended(hosts.map(|(label, result)| (label.to_owned(), look(result, false))).into())
}

fn doubtful(hosts: [(&str, HostResult); 2]) -> Event {
    Event::Ended(hosts.map(|(label, result)| (label.to_owned(), look(result, true))).into())
}

/// The name of the stage that follows, or that of the end.
#[track_caller]
fn check(stage: Stage, event: Event, expected: &str) -> GateRun {
    let after = advance(run(stage), event, RULES);
    let name = match &after.stage {
        Stage::Ended(end) => end.name().to_owned(),
        Stage::Clear(end) => format!("clear {}", end.name()),
        stage => stage.name().to_owned(),
    };
    assert_eq!(name, expected);
    after
}

#[test]
fn a_green_update_goes_straight_through() {
    let prepare = Stage::Prepare { base: rev('b'), over: None };
    check(Stage::Pin, Event::Pinned { base: rev('b') }, "prepare");
    let after = check(prepare, Event::Prepared(candidate()), "publish");
    assert_eq!(after.rounds, 2);
    check(Stage::Publish(candidate()), Event::Published, "list");
    check(Stage::List(candidate()), Event::Listed(trial()), "test");
    check(Stage::Test(trial()), ended([("a", built()), ("b", built())]), "land");
    let green = || tested([("a", built()), ("b", built())]);
    check(Stage::Land(green()), Event::Landed, "tell");
    check(Stage::Tell(green()), Event::Told, "clear landed");
    let end = Box::new(End::Landed(Box::new(green())));
    check(Stage::Clear(end), Event::Cleared, "landed");
}

#[test]
fn what_needs_no_candidate_ends_at_once() {
    let prepare = || Stage::Prepare { base: rev('b'), over: None };
    check(prepare(), Event::Unchanged { base: rev('b') }, "unchanged");
    check(prepare(), Event::Broken { inputs: Vec::new() }, "broken-inputs");
    check(prepare(), Event::Repeats { of: GateId(Uuid::nil()) }, "same-failure");
    let behind = Event::Behind { branch: "fix".into(), base: rev('b') };
    check(prepare(), behind, "behind");
    check(Stage::Pin, Event::Gone { branch: "master".into() }, "branch-gone");
}

#[test]
fn an_update_that_the_base_got_meanwhile_leaves_an_earlier_candidate_to_clear() {
    let over = BranchAt { branch: "flake-update/1".into(), at: rev('c') };
    let prepare = Stage::Prepare { base: rev('d'), over: Some(over) };
    let after = check(prepare, Event::Unchanged { base: rev('d') }, "clear unchanged");
    let at = after.stage.obsolete().expect("a branch to delete");
    assert_eq!((at.branch.as_str(), at.at.clone()), ("flake-update/1", rev('c')));
}

#[test]
fn a_branch_that_somebody_has_is_not_taken() {
    let after =
        check(Stage::Publish(candidate()), Event::Taken { free: "u/1-2".into() }, "publish");
    let candidate = after.stage.candidate().expect("a candidate").clone();
    assert_eq!((candidate.branch.as_str(), candidate.replaces), ("u/1-2", None));
}

#[test]
fn no_answer_about_a_host_is_no_verdict() {
    check(Stage::Test(trial()), ended([("a", built()), ("b", infra())]), "test");
    let missing = result(HostStanding::Missing, "missing");
    check(Stage::Test(trial()), ended([("a", built()), ("b", missing)]), "test");
    // A failure is one, whatever is open beside it.
    check(Stage::Test(trial()), ended([("a", failed("x")), ("b", infra())]), "compare");
}

#[test]
fn a_failure_that_may_be_the_machines_is_tried_on_another_once() {
    let after =
        check(Stage::Test(trial()), doubtful([("a", built()), ("b", failed("x"))]), "confirm");
    let Stage::Confirm(doubted) = after.stage else { panic!("not in doubt") };
    assert_eq!(doubted.doubts.keys().collect::<Vec<_>>(), ["b"]);
    assert_eq!(doubted.doubts["b"].worker.as_str(), "w1");
    // What no machine changes is believed, and so is what no other machine can try.
    let broken = result(HostStanding::Failed, "eval-failed");
    check(Stage::Test(trial()), doubtful([("a", built()), ("b", broken)]), "compare");
    check(Stage::Test(trial()), ended([("a", built()), ("b", failed("x"))]), "compare");

    let again = || Stage::Confirm(doubted.clone());
    let after = check(again(), doubtful([("a", built()), ("b", built())]), "land");
    let Stage::Land(tested) = after.stage else { panic!("not passed") };
    assert!(tested.results["b"].flaky && !tested.results["a"].flaky);
    check(again(), doubtful([("a", built()), ("b", failed("x"))]), "compare");
    check(again(), ended([("a", built()), ("b", infra())]), "confirm");
}

#[test]
fn a_host_that_fails_at_the_base_in_the_same_place_failed_before() {
    #[track_caller]
    fn judged(here: HostResult, at_base: HostResult, policy: Policy) -> (String, bool) {
        let stage = Stage::Compare(tested([("a", built()), ("b", here)]));
        let event = Event::Ended([("b".to_owned(), look(at_base, false))].into());
        let after = advance(run(stage), event, Rules { policy });
        let name = after.stage.name().to_owned();
        let tested = match after.stage {
            Stage::Land(tested) => tested,
            Stage::Explain(refused) => refused.why.tested().expect("a trial").clone(),
            stage => panic!("{}", stage.name()),
        };
        (name, tested.results["b"].pre_existing)
    }
    let explain = |old| ("explain".to_owned(), old);
    assert_eq!(judged(failed("x"), failed("x"), Policy::All), explain(true));
    assert_eq!(judged(failed("x"), failed("y"), Policy::All), explain(false));
    assert_eq!(judged(failed("x"), built(), Policy::NoRegression), explain(false));
    assert_eq!(judged(failed("x"), infra(), Policy::NoRegression), explain(false));
    let land = ("land".to_owned(), true);
    assert_eq!(judged(failed("x"), failed("x"), Policy::NoRegression), land);
    let eval = |text: &str| HostResult {
        message: Some(text.into()),
        ..result(HostStanding::Failed, "eval-failed")
    };
    assert_eq!(judged(eval("a"), eval("a"), Policy::All), explain(true));
    assert_eq!(judged(eval("a"), eval("b"), Policy::All), explain(false));
    assert_eq!(judged(eval("x"), failed("x"), Policy::All), explain(false));
}

#[test]
fn a_base_that_moved_on_is_followed_up_to_a_bound() {
    let land = || Stage::Land(tested([("a", built()), ("b", built())]));
    let remade = Candidate { base: rev('d'), revision: rev('e'), ..candidate() };
    let moved = || Event::Moved { to: rev('d'), remade: Some(remade.clone()) };
    let after = check(land(), moved(), "publish");
    assert_eq!((after.rounds, after.stage.candidate()), (2, Some(&remade)));

    let after = check(land(), Event::Moved { to: rev('d'), remade: None }, "prepare");
    let over = BranchAt { branch: "flake-update/1".into(), at: rev('c') };
    assert_eq!(after.stage, Stage::Prepare { base: rev('d'), over: Some(over) });

    let last = GateRun { rounds: ROUNDS_MAX, ..run(land()) };
    let after = advance(last, moved(), RULES);
    let Stage::Explain(refused) = after.stage else { panic!("followed on") };
    assert!(matches!(refused.why, Why::BaseMoved { .. }));
}

#[test]
fn what_somebody_else_made_is_never_remade() {
    let stage = Stage::Land(tested([("a", built()), ("b", built())]));
    let source = Source::Branch { name: "fix".into() };
    let theirs = GateRun { source, ..run(stage) };
    let after = advance(theirs, Event::Moved { to: rev('d'), remade: None }, RULES);
    assert_eq!(after.stage.name(), "explain");
}

#[test]
fn nothing_lands_over_a_base_that_was_rewound_deleted_or_protected() {
    let land = || Stage::Land(tested([("a", built()), ("b", built())]));
    check(land(), Event::Rewound { to: rev('a') }, "clear base-rewound");
    check(land(), Event::Gone { branch: "master".into() }, "clear branch-gone");
    let after = check(land(), Event::Denied { message: "no".into() }, "explain");
    let Stage::Explain(refused) = after.stage else { panic!("not explained") };
    assert!(matches!(refused.why, Why::Denied { .. }));
}

#[test]
fn a_refusal_is_explained_before_it_is_over() {
    let refused = || {
        let why = Why::NoHosts { message: "none".into() };
        Box::new(Refused { candidate: candidate(), why })
    };
    check(Stage::List(candidate()), Event::NoHosts { message: "none".into() }, "explain");
    check(Stage::Explain(refused()), Event::Explained { pull: 7 }, "clear no-hosts");
}

#[test]
fn an_event_that_its_stage_cannot_come_to_changes_nothing() {
    let events = [
        Event::Landed,
        Event::Told,
        Event::Cleared,
        Event::Published,
        Event::Explained { pull: 1 },
    ];
    for event in events {
        let before = run(Stage::Pin);
        assert_eq!(advance(before.clone(), event, RULES), before);
    }
    let over = run(Stage::Ended(Box::new(End::Unchanged { base: rev('b'), over: None })));
    assert_eq!(advance(over.clone(), Event::Pinned { base: rev('c') }, RULES), over);
}

#[test]
fn a_run_that_is_given_up_clears_its_branch() {
    let after = given_up(run(Stage::Test(trial())));
    let at = after.stage.obsolete().expect("a branch to delete");
    assert_eq!((at.branch.as_str(), at.at.clone()), ("flake-update/1", rev('c')));
    let Stage::Clear(end) = after.stage else { panic!("not cleared") };
    assert_eq!(end.name(), "given-up");
}
