//! The corpus, judged. `<call>-<case>.nix-2.8.log` are real outputs of that version;
//! `….wording-<version>.log` are written by hand after that version's sources.

use std::{path::Path, time::Duration};

use super::*;

fn corpus(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/nix/corpus");
    std::fs::read_to_string(folder.join(name)).expect(name)
}

fn watched(name: &str) -> Watcher {
    let mut watcher = Watcher::default();
    for line in corpus(name).lines() {
        watcher.line(Duration::ZERO, line);
    }
    watcher
}

fn name_of(end: &BuildEnd) -> (&'static str, &Failure) {
    match end {
        BuildEnd::Failed { kind, failure } => (kind.name(), failure),
        BuildEnd::Infra { kind, failure } => (kind.name(), failure),
        BuildEnd::Built(_) | BuildEnd::Stopped => panic!("no failure: {end:?}"),
    }
}

/// File, outcome, part of the derivation's name, part of the message, part of the last line.
type Case = (&'static str, &'static str, &'static str, &'static str, &'static str);

#[track_caller]
fn check_end(end: &BuildEnd, (file, outcome, drv, message, last): Case) {
    let (name, failure) = name_of(end);
    assert_eq!(name, outcome, "{file}: {failure:?}");
    let named = failure.drv.as_deref().unwrap_or_default();
    assert!(named.contains(drv) && named.is_empty() == drv.is_empty(), "{file}: {failure:?}");
    assert!(failure.message.contains(message), "{file}: {failure:?}");
    assert!(!failure.message.contains(['\n', '\u{1b}']), "{file}: {failure:?}");
    let tail = failure.log_tail.last().map_or("", String::as_str);
    assert!(tail.contains(last), "{file}: {failure:?}");
}

#[test]
fn realisations_are_judged_by_what_was_seen() {
    let cases: [Case; 27] = [
        ("builder.nix-2.8", "build-failed", "system-builder.drv", "failed with exit code 1", "two"),
        ("builder.wording-2.30", "build-failed", "system-builder.drv", "exit code 1", "two"),
        ("dependency.nix-2.8", "build-failed", "-leaf.drv", "exit code 3", "no such header"),
        ("noout.nix-2.8", "build-failed", "system-noout.drv", "failed to produce", "nothing"),
        ("nobuilder.nix-2.8", "build-failed", "nobuilder.drv", "exit code 1", "nonexistent"),
        ("hash.nix-2.8", "hash-mismatch", "-src.drv", "got: sha256-c8s4", ""),
        ("signal.wording-2.20", "out-of-memory", "builder.drv", "signal 9", ""),
        ("signal.nix-2.8", "out-of-memory", "-signal.drv", "signal 9 (Killed)", "about to die"),
        ("disk-full.nix-2.8", "disk-full", "", "No space left on device", ""),
        ("builder-disk-full.wording-2.20", "disk-full", "", "cp: write error", "make: ***"),
        ("wrong.nix-2.8", "wrong-system", "", "a 'aarch64-linux' with features {}", ""),
        ("feature.nix-2.8", "wrong-system", "", "{quantum} is required", ""),
        ("wrong-system.wording-2.30", "wrong-system", "", "Required system: 'aarch64-linux'", ""),
        ("no-daemon.nix-2.8", "daemon-lost", "", "cannot connect to socket", ""),
        ("daemon-gone.wording-2.18", "daemon-lost", "", "disconnected unexpectedly", ""),
        ("daemon-killed.nix-2.8", "daemon-lost", "", "unexpected end-of-file", ""),
        ("substituter-500.nix-2.8", "substituter-failed", "", "HTTP error 500", ""),
        ("substituter-nar-500.nix-2.8", "substituter-failed", "", "HTTP error 500", ""),
        ("substituter-nar-refused.nix-2.8", "substituter-failed", "", "unable to download", ""),
        ("substituter-nar.wording-2.18", "substituter-failed", "", "HTTP error 502", ""),
        ("substituter.nix-2.8", "unclassified", "", "build of", ""),
        ("nix-silence.nix-2.8", "silent", "silent.drv", "1 seconds of silence", "quiet"),
        ("nix-timeout.nix-2.8", "timed-out", "silent.drv", "after 1 seconds", "quiet"),
        ("nix-log-limit.nix-2.8", "log-limit", "-flood.drv", "more than 500 bytes", ""),
        ("empty", "unclassified", "", "Nix ended without a message (exit code 1)", ""),
        ("drv-gone.nix-2.8", "drv-gone", "", "", ""),
        ("drv-deleted.nix-2.8", "drv-gone", "", "", ""),
    ];
    for case in cases {
        let watcher = match case.0 {
            "empty" => Watcher::default(),
            name => watched(&format!("realise-{name}.log")),
        };
        let seen = Realised { stopped: false, limit: None, exit: Some(1), watcher: &watcher };
        match realised(&seen) {
            RealiseEnd::Over(end) => check_end(&end, case),
            RealiseEnd::DrvGone => assert_eq!(case.1, "drv-gone"),
            other => panic!("{}: {other:?}", case.0),
        }
    }
}

#[test]
fn a_rebuild_that_differs_is_valid_and_one_without_a_former_output_is_told() {
    for (name, wanted) in [
        ("realise-nondeterministic.nix-2.8.log", RealiseEnd::Valid),
        ("realise-nothing-to-compare.nix-2.8.log", RealiseEnd::NothingToCompare),
    ] {
        let watcher = watched(name);
        let seen = Realised { stopped: false, limit: None, exit: Some(1), watcher: &watcher };
        assert_eq!(realised(&seen), wanted, "{name}");
    }
}

#[test]
fn our_own_stop_wins_then_our_own_limits_then_the_exit_code() {
    let watcher = watched("realise-builder.nix-2.8.log");
    let end =
        |stopped, limit, exit| realised(&Realised { stopped, limit, exit, watcher: &watcher });
    assert_eq!(end(true, Some(Limit::Wall), Some(0)), RealiseEnd::Over(BuildEnd::Stopped));
    for (limit, outcome) in [
        (Limit::Wall, "timed-out"),
        (Limit::Silence, "silent"),
        (Limit::LogBytes, "log-limit"),
        (Limit::LockWait, "unclassified"),
    ] {
        let RealiseEnd::Over(over) = end(false, Some(limit), Some(0)) else { panic!("{limit:?}") };
        assert_eq!(name_of(&over).0, outcome);
    }
    assert_eq!(end(false, None, Some(0)), RealiseEnd::Valid);
}

fn eval(name: &str, exit: i32) -> EvalEnd {
    let stderr: Vec<String> = corpus(name).lines().map(str::to_owned).collect();
    evaluated(&Evaluated { stopped: false, timed_out: false, exit: Some(exit), stderr: &stderr })
}

#[test]
fn evaluations_are_judged_by_nixs_own_words() {
    let cases: [Case; 18] = [
        ("throw.nix-2.8", "eval-failed", "", "the host is not ready", ""),
        ("throw.wording-2.24", "eval-failed", "", "the host is not ready", ""),
        ("abort.nix-2.8", "eval-failed", "", "evaluation aborted", ""),
        ("assertion.nix-2.8", "eval-failed", "", "assertion", ""),
        ("missingfile.nix-2.8", "eval-failed", "", "gone.nix': No such file", ""),
        ("syntax.nix-2.8", "eval-failed", "", "syntax error", ""),
        ("recursion.nix-2.8", "eval-failed", "", "infinite recursion encountered", ""),
        ("deep.nix-2.8", "eval-failed", "", "stack overflow", ""),
        ("undefinedattr.nix-2.8", "eval-failed", "", "attribute 'b' missing", ""),
        ("typeerr.nix-2.8", "eval-failed", "", "cannot", ""),
        ("ifd.nix-2.8", "build-failed", "-ifd.drv", "failed with exit code 7", ""),
        ("fetch.nix-2.8", "fetch-failed", "", "unable to download", ""),
        ("unknown-commit.nix-2.8", "fetch-failed", "", "Cannot find Git revision", ""),
        ("git-unreachable.nix-2.8", "fetch-failed", "", "unable to access", ""),
        ("input.wording-2.24", "fetch-failed", "", "unable to download", ""),
        ("narhash.wording-2.24", "hash-mismatch", "", "NAR hash mismatch", ""),
        ("diskfull.nix-2.8", "disk-full", "", "database or disk is full", ""),
        ("nosuch.nix-2.8", "no-attribute", "", "", ""),
    ];
    for case in cases {
        match eval(&format!("eval-{}.log", case.0), 1) {
            EvalEnd::Over(end) => check_end(&end, case),
            EvalEnd::NoAttribute(failure) => {
                assert_eq!(case.1, "no-attribute");
                assert!(failure.message.contains("does not provide attribute"));
            }
            EvalEnd::Answered => panic!("{}", case.0),
        }
    }
}

#[test]
fn an_evaluation_without_words_is_judged_by_how_it_died() {
    for (exit, outcome) in [
        (Some(KILLED), "out-of-memory"),
        (Some(SEGFAULT), "eval-failed"),
        (Some(127), "unclassified"),
        (None, "unclassified"),
    ] {
        let seen = Evaluated { stopped: false, timed_out: false, exit, stderr: &[] };
        let EvalEnd::Over(end) = evaluated(&seen) else { panic!("{exit:?}") };
        assert_eq!(name_of(&end).0, outcome);
    }
    let seen = Evaluated { stopped: true, timed_out: true, exit: Some(0), stderr: &[] };
    assert_eq!(evaluated(&seen), EvalEnd::Over(BuildEnd::Stopped));
}

#[test]
fn the_flakes_own_words_are_not_the_infrastructures() {
    for words in [
        "substituters of this host failed the audit",
        "unable to fetch what I want",
        "rate limit of hosts reached: http error 429",
        "remember: unable to download is not an option",
    ] {
        let stderr = [format!("error: {words}")];
        let seen = Evaluated { stopped: false, timed_out: false, exit: Some(1), stderr: &stderr };
        let EvalEnd::Over(end) = evaluated(&seen) else { panic!("{words}") };
        assert_eq!(name_of(&end).0, "eval-failed", "{words}");
    }
    // A builder that an import waits for has no network, and says so.
    let stderr = ["error: builder for '/nix/store/9xrddrmcsbs455fw279vpapndfq6rqcn-x.drv' failed \
        with exit code 1; unable to download 'http://x/': Couldn't connect to server"
        .to_owned()];
    let seen = Evaluated { stopped: false, timed_out: false, exit: Some(1), stderr: &stderr };
    let EvalEnd::Over(end) = evaluated(&seen) else { panic!("over") };
    assert_eq!(name_of(&end).0, "build-failed");
}
