//! What is said of each end, word by word. `failed.*` beside this file is the whole of one report.

use super::*;
use crate::report::{body, comment, json, labels, status, terminal};

#[test]
fn a_report_of_a_failure_is_as_it_was() {
    let story = mixed();
    let refused = story.failed();
    assert_eq!(body::body(&story.facts(), &refused), include_str!("failed.md"));
    let title = "Update of flake.lock: 3 of 7 hosts cannot be built (web1, web2, db1)";
    assert_eq!(body::title(&story.facts(), &refused), title);
    let story = mixed().ended(End::Refused { refused: Box::new(refused), pull: 12 });
    assert_eq!(terminal::text(&story.facts()), include_str!("failed.txt"));
    let printed = json::json(&story.facts());
    assert_eq!(printed.matches('\n').count(), 1);
    let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
    assert_eq!(value(&printed), value(include_str!("failed.json")));
    let mut object = value(&printed);
    let hosts = object["hosts"].as_object().expect("hosts by name").values().cloned().collect();
    // Their names are data.
    object["hosts"] = serde_json::Value::Array(hosts);
    options::check_documented("gate run", &object);
}

#[test]
fn the_comment_begins_with_its_mark_and_is_short() {
    let story = mixed();
    let said = comment::comment(&story.facts(), &story.failed());
    let expected = "\
<!-- nix-build-pool:gate 00000000-0000-0000-0000-000000000000 -->
**Not landed: 3 of 7 required hosts cannot be built. 1 of them fails at the base too, in the same \
place. 2 have no answer, which is no fault of this change. 1 was built at the second try only. \
1 advisory host is not built, and does not count.**

Cannot be built: `web1`, `web2`, `db1`.

Without an answer: `mail`, `ns3`.

Whole logs are attached: `web2.log.gz`.

Next: `gate run --repo nixos-servers --branch flake-update/2026-11-25`
";
    assert_eq!(said, expected);
    assert!(said.starts_with(&comment::marker(story.run.id)));
}

/// The first paragraph of a body, the steps at its end, and its title.
fn told(story: &Story, why: Why) -> (String, String, String) {
    let refused = story.refused(why);
    let body = body::body(&story.facts(), &refused);
    let (verdict, rest) = body.split_once("\n\n").expect("a paragraph");
    let (_, steps) = rest.split_once("### How to go on\n\n").expect("steps");
    let title = body::title(&story.facts(), &refused);
    (verdict.to_owned(), steps.trim_end().to_owned(), title)
}

#[test]
fn a_protected_branch_names_branch_and_user() {
    let story = Story::of([("web1", built()), ("web2", built())]);
    let message = "403: push declined".to_owned();
    let told = told(&story, Why::Denied { tested: story.tested(), message });
    let verdict = "**It passes, and is not landed: all 2 required hosts are built from exactly this \
                   commit, but the server does not let the gate move `master`: `403: push declined`**";
    let steps = "\
1. Allow the user `gate-bot` to push to `master`: in the repository's Settings, Branches, edit the \
protection rule for `master`; under Push choose that listed users may push (whitelist or allowlist, \
by the version), and add the user `gate-bot` to the list.
2. `gate run --repo nixos-servers --branch flake-update/2026-11-25` tries the branch again and \
lands it when it passes.";
    let title = "Update of flake.lock: it passes, and master is protected against the gate";
    assert_eq!(told, (verdict.into(), steps.into(), title.into()));
}

#[test]
fn a_base_that_moved_is_named_with_its_commit() {
    let mut story = Story::of([("web1", built())]);
    let why = Why::BaseMoved { tested: story.tested(), to: rev('d') };
    let (verdict, steps, title) = told(&story, why.clone());
    let expected = "**It passes, and is not landed: the one required host is built from exactly \
                    this commit, but `master` moved on to `dddddddddddd` meanwhile, and the gate \
                    follows it 3 times at most.**";
    assert_eq!(verdict, expected);
    assert!(
        steps.starts_with(
            "1. Wait for the next update, or run one while nobody pushes to `master`."
        )
    );
    assert_eq!(title, "Update of flake.lock: it passes, and master has moved on");
    story.run.source = Source::Branch { name: "fix".into() };
    story.run.base = "main".into();
    let (verdict, steps, title) = told(&story, why);
    assert!(
        verdict.ends_with("and the gate does not rewrite what somebody else made.**"),
        "{verdict}"
    );
    let again = "2. `gate run --repo nixos-servers --base main --branch flake-update/2026-11-25` ";
    assert!(steps.contains(again), "{steps}");
    assert_eq!(title, "Branch fix: it passes, and main has moved on");
}

#[test]
fn hosts_that_cannot_be_listed_have_a_sentence() {
    let story = Story::of([]);
    let (verdict, steps, title) = told(&story, Why::NoHosts { message: "no attribute".into() });
    let expected = "**Not landed: the hosts of this commit cannot be listed, so nothing was built: \
                    `no attribute`**";
    assert_eq!(verdict, expected);
    assert!(
        steps.starts_with("1. Push a fix to the branch `flake-update/2026-11-25`.\n2. "),
        "{steps}"
    );
    assert_eq!(title, "Update of flake.lock: its hosts cannot be listed");
}

#[test]
fn one_leaf_that_breaks_many_hosts_is_shown_once() {
    let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
    let other = failed("/nix/store/8b9p07z77phvv2hf6gm9f28syp39f1ag-other.drv");
    let story = Story::of(names.map(|name| (name, failed(LEAF))).into_iter().chain([("0", other)]));
    let body = body::body(&story.facts(), &story.failed());
    assert_eq!(body.matches(LEAF).count(), 1, "{body}");
    let all: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    let shown = format!("**`{LEAF}`** keeps {} from being built: ", all.join(", "));
    let first = body.find(&shown).expect("the leaf with its hosts");
    assert!(first < body.find("-other.drv").expect("the other leaf"), "{body}");
}

#[test]
fn a_long_log_is_shown_by_its_last_lines() {
    let mut story = Story::of([("web1", failed(LEAF))]);
    let log_tail = (0..250).map(|n| format!("line {n}")).collect();
    story.detail("web1").failure = Some(Failure { log_tail, ..Failure::default() });
    let body = body::body(&story.facts(), &story.failed());
    assert!(
        body.contains("<summary>the last 100 lines of its log</summary>\n\n```text\nline 150\n"),
        "{body}"
    );
    assert!(body.contains("\nline 249\n```\n"), "{body}");
    assert!(!body.contains("Left out"), "{body}");
}

#[test]
fn of_a_log_that_does_not_fit_the_end_is_shown() {
    let mut story = Story::of([("web1", failed(LEAF))]);
    // Many short lines, then few long ones: what fits is counted from the end.
    let long = |n: usize| if n < 200 { String::new() } else { "\u{1f600}".repeat(380) };
    let log_tail = (0..250).map(|n| format!("line {n} {}", long(n))).collect();
    story.detail("web1").failure = Some(Failure { log_tail, ..Failure::default() });
    let body = body::body(&story.facts(), &story.failed());
    assert!(body.len() <= body::BODY_BYTES_MAX && body.len() > 50_000, "{}", body.len());
    assert!(body.contains("\nline 249 ") && !body.contains("\nline 150"), "{}", &body[..2000]);
}

#[test]
fn a_closure_says_how_much_of_its_difference_is_not_shown() {
    let mut story = Story::of([("web1", failed(LEAF)), ("web2", built())]);
    let text = (0..70).map(|n| format!("p{n}: 1 → 2\n")).collect();
    story.detail("web2").closure = Some(ClosureDiff { text, lines_cut: 30, bytes: -2048 });
    let body = body::body(&story.facts(), &story.failed());
    let shown =
        "`web2`: -2.0 KiB\n\n<details><summary>100 changed lines</summary>\n\n```text\np0: ";
    assert!(body.contains(shown), "{body}");
    assert!(body.contains("\np59: 1 → 2\n```\n\n40 more lines\n"), "{body}");
}

#[test]
fn many_built_hosts_are_collapsed() {
    let mut story = Story::of([("web1", failed(LEAF))]);
    for n in 0..30 {
        story.results.insert(format!("b{n}"), built());
    }
    let body = body::body(&story.facts(), &story.failed());
    let (shown, collapsed) = body.split_once("<details><summary>30 built hosts").expect("a fold");
    assert!(shown.contains("| `web1` |") && !shown.contains("`b1`"), "{body}");
    assert!(collapsed.contains("| `b1` |"), "{body}");
}

#[track_caller]
fn labelled(results: &[HostResult], policy: Policy, expected: &str) {
    let mut story = Story::of([]);
    for (n, result) in results.iter().enumerate() {
        story.results.insert(format!("h{n}"), result.clone());
    }
    let labels = labels::labels(&story.failed(), policy);
    let names: Vec<&str> = labels.iter().map(|label| label.name).collect();
    assert_eq!(names.join(" "), expected);
}

#[test]
fn labels_blame_the_change_only_for_what_it_did() {
    use Policy::{All, NoRegression};
    let late = |outcome: &str| result(HostStanding::Failed, outcome);
    let old = || HostResult { pre_existing: true, ..failed(LEAF) };
    let advisory = |it: HostResult| HostResult { advisory: true, ..it };
    let flaky = || HostResult { flaky: true, ..built() };
    labelled(&[failed(LEAF), built()], All, "needs-review build-failure");
    labelled(&[infra(), built()], All, "needs-review infra");
    labelled(&[failed(LEAF), advisory(infra())], All, "needs-review build-failure");
    labelled(&[missing()], All, "needs-review infra");
    labelled(&[infra(), failed(LEAF)], All, "needs-review build-failure infra");
    labelled(&[late("timed-out")], All, "needs-review timeout");
    labelled(&[late("silent"), late("eval-failed")], All, "needs-review build-failure timeout");
    labelled(&[late("out-of-memory")], All, "needs-review build-failure");
    labelled(&[old()], All, "needs-review build-failure pre-existing");
    labelled(&[old(), infra()], NoRegression, "needs-review infra pre-existing");
    labelled(&[failed(LEAF), flaky()], All, "needs-review build-failure flaky");
    labelled(&[advisory(failed(LEAF)), advisory(infra()), infra()], All, "needs-review infra");
    let story = Story::of([("a", HostResult { flaky: true, ..built() }), ("b", old())]);
    let names = |why: Why| {
        let labels = labels::labels(&story.refused(why), NoRegression);
        labels.iter().map(|label| label.name).collect::<Vec<_>>().join(" ")
    };
    let (tested, message) = (story.tested(), String::new());
    assert_eq!(
        names(Why::Denied { tested: tested.clone(), message: message.clone() }),
        "needs-review"
    );
    assert_eq!(names(Why::BaseMoved { tested, to: rev('d') }), "needs-review");
    assert_eq!(names(Why::NoHosts { message }), "needs-review build-failure");
}

#[test]
fn every_label_can_be_made() {
    let old = HostResult { pre_existing: true, flaky: true, ..failed(LEAF) };
    let story =
        Story::of([("a", old), ("b", infra()), ("c", result(HostStanding::Failed, "silent"))]);
    let labels = labels::labels(&story.failed(), Policy::All);
    assert_eq!(labels.len(), 6);
    for label in labels {
        let hex = label.color.strip_prefix('#').expect("a colour");
        assert!(hex.len() == 6 && hex.bytes().all(|b| b.is_ascii_hexdigit()), "{label:?}");
        assert!(!label.description.is_empty() && label.description.len() <= 100, "{label:?}");
    }
}

#[test]
fn a_commit_status_fits_on_its_line() {
    use status::Status;
    let check = |status: Status, expected: &str| {
        let state = format!("{:?}", status.state).to_lowercase();
        assert_eq!(format!("{state}: {}", status.description), expected);
        assert!(status.description.chars().count() < 140);
    };
    check(Status::pending(3, 7), "pending: 3 of 7 hosts ended");
    check(Status::pending(0, 1), "pending: 0 of 1 host ended");
    let flaky = HostResult { flaky: true, ..built() };
    let old = HostResult { pre_existing: true, ..failed(LEAF) };
    let good = Story::of([("a", built()), ("b", flaky), ("c", old)]);
    check(
        Status::success(&good.tested(), Policy::NoRegression),
        "success: 2 of 3 hosts built, 1 flaky, 1 pre-existing failure",
    );
    let refused = |story: &Story, why: Why| Status::refused(&story.facts(), &story.refused(why));
    let bad = Story::of([("a", built()), ("b", failed(LEAF))]);
    check(refused(&bad, Why::Failed(bad.tested())), "failure: 1 of 2 hosts cannot be built (b)");
    let open = Story::of([("a", built()), ("b", infra())]);
    check(refused(&open, Why::Failed(open.tested())), "error: no answer for 1 of 2 hosts");
    let (tested, message) = (good.tested(), "no".to_owned());
    check(
        refused(&good, Why::Denied { tested: tested.clone(), message: message.clone() }),
        "success: 2 of 3 hosts built, 1 flaky, 1 pre-existing failure; it passes, and master is \
         protected against the gate",
    );
    check(
        refused(&good, Why::BaseMoved { tested, to: rev('d') }),
        "error: it passes, and master has moved on",
    );
    check(refused(&good, Why::NoHosts { message }), "failure: its hosts cannot be listed");
    let long = Status::error(&"é".repeat(200), &scrub::Scrub::default());
    check(long, &format!("error: {}…", "é".repeat(138)));
}

#[test]
fn the_terminal_tells_each_end() {
    let candidate = || Story::of([]).candidate();
    let check = |end: End, expected: &str| {
        let story = Story::of([("web1", built())]).ended(end);
        let printed = terminal::text(&story.facts());
        assert!(printed.starts_with(expected), "{printed}");
    };
    let story = Story::of([("web1", built())]);
    let landed =
        terminal::text(&Story::of([]).ended(End::Landed(Box::new(story.tested()))).facts());
    let expected = "\
landed: master is at cccccccccccc, was at bbbbbbbbbbbb; 1 of 1 host built
  pi4: excluded

inputs:
  nixpkgs: 111111111111 → 222222222222 (2026-11-23, 2 days old)
";
    assert_eq!(landed, expected);
    check(
        End::Unchanged { base: rev('b'), over: None },
        "nothing to do: the update changes nothing of master at bbbbbbbbbbbb\n",
    );
    check(
        End::SameFailure { of: GateId(Uuid::nil()) },
        "not landed: the same update of the same master failed in gate run 00000000-",
    );
    let broken = BrokenInput { input: "dead".into(), message: "HTTP error 404".into() };
    check(
        End::BrokenInputs { inputs: vec![broken] },
        "not updated: 1 input cannot be fetched\n  dead: HTTP error 404\n",
    );
    check(
        End::BaseRewound { candidate: Box::new(candidate()), to: rev('d') },
        "stopped: master was at bbbbbbbbbbbb and is at dddddddddddd, which does not contain it; ",
    );
    check(
        End::BranchGone { branch: "fix".into(), candidate: None },
        "stopped: the branch fix does not exist\n",
    );
    check(
        End::Behind { branch: "fix".into(), base: rev('b') },
        "not tried: the branch fix does not contain master at bbbbbbbbbbbb; rebase it\n",
    );
    check(
        End::GivenUp { stage: "test".into(), candidate: None },
        "given up: unfinished for too long, at test\n",
    );
}

#[test]
fn a_run_under_way_says_how_to_go_on() {
    let mut story = Story::of([("web1", built())]);
    story.run.stage = Stage::Test(story.tested().trial);
    let printed = terminal::text(&story.facts());
    assert!(printed.starts_with("undecided: the run stands at test\n"), "{printed}");
    assert!(printed.ends_with("\n`gate resume` goes on with it\n"), "{printed}");
    let value: serde_json::Value = serde_json::from_str(&json::json(&story.facts())).expect("JSON");
    assert_eq!((&value["stage"], &value["end"]), (&json!("test"), &json!(null)));
    assert_eq!(value["verdict"], json!(null));
    assert_eq!(value["candidate"]["branch"], json!("flake-update/2026-11-25"));
}

#[test]
fn a_repository_without_an_address_has_no_command() {
    let mut story = Story::of([("web1", failed(LEAF))]);
    story.site = Site::default();
    let body = body::body(&story.facts(), &story.failed());
    assert!(!body.contains("nix build") && !body.contains("git.example.org"), "{body}");
}
