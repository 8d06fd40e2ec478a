//! Logs: kept, followed, and safe to look at.

use tests::{
    Flake, Pool, eventually,
    flake::{LAST_WORDS, system_name},
};

use crate::DEADLINE;

#[test]
fn the_kept_log_has_each_line_once_tagged_with_its_derivation() {
    let pool = Pool::start();
    let rev = pool.commit("master", &Flake::hosts(1).failing("h01"));
    let _worker = pool.worker("w1");
    pool.submit(&["h01", "--rev", &rev, "--wait"]).expect_code(1);

    let logs = eventually("the last words in the log", DEADLINE, || {
        let logs = pool.producer(&["logs", "h01"]).expect_code(0);
        logs.stdout.contains(LAST_WORDS).then_some(logs)
    });
    let lines: Vec<&str> = logs.stdout.lines().filter(|it| it.contains(LAST_WORDS)).collect();
    assert_eq!(lines, [format!("broken-leaf> {LAST_WORDS}")], "{logs}");
    let tail = pool.producer(&["logs", "h01", "--tail", "1"]).expect_code(0);
    assert_eq!(tail.stdout.lines().count(), 1, "{tail}");
}

#[test]
fn following_joins_history_and_live_without_gap_or_repeat() {
    let pool = Pool::start();
    let lines = "i=0; while [ $i -lt 300 ]; do echo line $i; i=$((i+1)); \
                 if [ $((i % 50)) = 0 ]; then sleep 0.3; fi; done; mkdir $out";
    let toplevel = format!(
        "derivation {{ name = \"counts\"; system = \"x86_64-linux\"; builder = \"/bin/sh\"; \
         args = [ \"-c\" \"{}\" ]; }}",
        lines.replace('$', "\\$")
    );
    let rev = pool.commit("master", &Flake::hosts(1).toplevel("h01", &toplevel));
    let _worker = pool.worker("w1");
    pool.submit(&["h01", "--rev", &rev]).expect_code(0);
    eventually("the first lines", DEADLINE, || {
        pool.producer(&["logs", "h01"]).stdout.contains("line 10").then_some(())
    });

    let followed = pool.producer(&["logs", "h01", "-f"]).expect_code(0);

    let counted: Vec<&str> =
        followed.stdout.lines().filter_map(|line| line.strip_prefix("counts> line ")).collect();
    let expected: Vec<String> = (0..300).map(|n| n.to_string()).collect();
    assert_eq!(counted, expected, "{followed}");
}

#[test]
fn the_log_of_each_attempt_is_kept_apart_and_found_by_its_number() {
    let pool = Pool::start();
    let rev = pool.commit("master", &Flake::hosts(1).failing("h01"));
    let _worker = pool.worker("w1");
    let submit = ["h01", "--rev", &rev, "--wait", "--force"];
    for _ in 0..2 {
        pool.submit(&submit).expect_code(1);
    }
    let job = format!("homelab.{rev}.h01");
    let log = |attempt: &[&str]| {
        eventually("the last words in the log", DEADLINE, || {
            let logs = pool.producer(&[&["logs", &job, "--json"], attempt].concat());
            let logs = logs.expect_code(0).stdout;
            logs.contains(LAST_WORDS).then_some(logs)
        })
    };
    let epochs = |log: &str| {
        let line = |line: &str| -> serde_json::Value { serde_json::from_str(line).expect("JSON") };
        let epochs = log.lines().map(|it| line(it)["epoch"].as_u64().expect("an epoch"));
        epochs.collect::<std::collections::BTreeSet<_>>()
    };

    assert_eq!(epochs(&log(&["--attempt", "1"])), [1].into());
    assert_eq!(epochs(&log(&["--attempt", "2"])), [2].into());
    assert_eq!(epochs(&log(&[])), [2].into(), "the newest by default");
    let missing = pool.producer(&["logs", &job, "--attempt", "3"]).expect_code(2);
    assert!(missing.stderr.contains("2 attempts have a kept log"), "{missing}");
    pool.producer(&["logs", &job, "--attempt", "0"]).expect_code(2);
}

#[test]
fn control_sequences_do_not_reach_the_terminal() {
    let pool = Pool::start();
    let toplevel = "derivation { name = \"paints\"; system = \"x86_64-linux\"; \
         builder = \"/bin/sh\"; args = [ \"-c\" \
         \"printf '\\\\033]0;owned\\\\007\\\\033[31mred\\\\033[0m\\\\n'; mkdir \\$out\" ]; }";
    let rev = pool.commit("master", &Flake::hosts(1).toplevel("h01", toplevel));
    let _worker = pool.worker("w1");
    pool.submit(&["h01", "--rev", &rev, "--wait"]).expect_code(0);

    let logs = eventually("the line in the log", DEADLINE, || {
        let logs = pool.producer(&["logs", "h01"]).expect_code(0);
        logs.stdout.contains("red").then_some(logs)
    });

    assert!(logs.stdout.contains("paints> red\n"), "{logs}");
    assert!(!logs.stdout.contains('\u{1b}'), "{logs}");
    assert_eq!(pool.store.builds_begun(&system_name("h01")), 0);
}
