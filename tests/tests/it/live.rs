//! The live display, on a real terminal.

use std::{fs, time::Duration};

use tests::{Flake, Pool, PoolOptions, Terminal, Updates, WorkerOptions, flake::system_name};

use crate::{DEADLINE, text};

/// Forty hosts of which the first few wait until the test lets them go.
fn forty(pool: &Pool, held: &[&str]) -> String {
    let flake = held.iter().fold(Flake::hosts(40), |flake, host| flake.held(host));
    pool.commit("master", &flake)
}

fn ten_slots() -> WorkerOptions<'static> {
    WorkerOptions { slots: 10, ..WorkerOptions::default() }
}

const ALL: [&str; 6] = ["submit", "--repo", "homelab", "--all", "--ref", "master"];

/// The line of totals, which is always the last one.
#[track_caller]
fn total(screen: &[String]) -> &str {
    let totals: Vec<&String> = screen.iter().filter(|line| line.starts_with('[')).collect();
    let [total] = totals[..] else { panic!("one line of totals:\n{screen:#?}") };
    assert_eq!(screen.last(), Some(total), "{screen:#?}");
    total
}

/// What is left when all is over: each host told once, and nothing of the rows.
#[track_caller]
fn all_was_told_once(terminal: &Terminal) {
    let everything = terminal.everything();
    for n in 1..=40 {
        let told = format!("h{n:02}: built");
        let times = everything.iter().filter(|line| line.starts_with(&told)).count();
        assert_eq!(times, 1, "{told}:\n{everything:#?}");
    }
    let rows = everything.iter().filter(|line| line.starts_with('[') || line.contains(" w1  "));
    // The table at the end names the worker, too, and ends the line with the time of the build.
    let rows: Vec<&String> = rows.filter(|line| !line.ends_with('s')).collect();
    assert!(rows.is_empty(), "rows that were scrolled away: {rows:#?}");
    assert!(everything.iter().any(|line| line == "40 hosts: 40 built"), "{everything:#?}");
}

/// For forty real builds on a busy machine.
const FORTY_DEADLINE: Duration = Duration::from_secs(240);

#[test]
fn forty_hosts_on_a_small_terminal_and_on_a_large_one() {
    let pool = Pool::start();
    let held = ["h01", "h02", "h03", "h04"];
    let rev = forty(&pool, &held);
    let _worker = pool.worker_with("w1", &ten_slots());
    let mut submit = pool.client("producer");
    submit.args(ALL).args(["--rev", &rev, "--wait"]);

    let terminal = Terminal::start(80, 24, &submit);
    let screen = terminal.wait_for("36/40  36 built  4 running", FORTY_DEADLINE);
    assert!(total(&screen).starts_with("[##################  ] "), "{screen:#?}");
    for host in held {
        let row = screen.iter().find(|line| line.starts_with(host)).expect("a row of its own");
        assert!(row.contains("build") && row.contains("w1"), "{row}");
        assert!(row.chars().count() < 80, "{row}");
    }
    for host in held {
        pool.store.release(host);
    }
    assert_eq!(terminal.wait(DEADLINE), 0, "{:#?}", terminal.everything());
    all_was_told_once(&terminal);

    // All of them once more: each is found built within a moment.
    let terminal = Terminal::start(200, 50, &submit);
    assert_eq!(terminal.wait(FORTY_DEADLINE), 0, "{:#?}", terminal.everything());
    all_was_told_once(&terminal);
}

#[test]
fn a_terminal_that_changes_its_size_shows_no_rows_twice() {
    let pool = Pool::start();
    let rev = pool.commit("master", &Flake::hosts(3).held("h01").held("h02"));
    let _worker = pool.worker("w1");
    let mut submit = pool.client("producer");
    submit
        .args(["submit", "--repo", "homelab", "--all", "--rev", &rev, "--ref", "master", "--wait"]);
    let terminal = Terminal::start(120, 24, &submit);
    terminal.wait_for("2 running", DEADLINE);

    for columns in [50, 160, 40, 120] {
        let before = terminal.screen().pop();
        terminal.resize(columns, 24);
        // What the terminal itself has folded stands there until the next redraw.
        tests::eventually("rows drawn anew", DEADLINE, || {
            let screen = terminal.screen();
            let rows = |what: &str| {
                let fits = |line: &&String| line.chars().count() < columns.into();
                screen.iter().filter(|line| line.starts_with(what)).filter(fits).count()
            };
            let once = (rows("h01"), rows("h02"), rows("[")) == (1, 1, 1);
            let last = screen.last().filter(|line| line.starts_with('['));
            // The clock has moved: what stands there was drawn for this size.
            (once && last.is_some() && last != before.as_ref()).then_some(())
        });
    }
}

#[test]
fn a_terminal_that_loses_lines_and_gets_them_back_shows_no_host_twice() {
    let pool = Pool::start();
    let names: Vec<String> = (1..=10).map(|n| format!("h{n:02}")).collect();
    let flake = names.iter().fold(Flake::hosts(10), |flake, host| flake.held(host));
    let rev = pool.commit("master", &flake);
    let _worker = pool.worker_with("w1", &ten_slots());
    let mut submit = pool.client("producer");
    submit.args(ALL).args(["--rev", &rev, "--wait"]);
    let terminal = Terminal::start(80, 24, &submit);
    terminal.wait_for("10 running", DEADLINE);

    let mut told = 0;
    for lines in [6, 4, 24, 5, 9, 12, 50, 5, 50] {
        terminal.resize(80, lines);
        if lines == 5 {
            // Told below the rows that are out of sight.
            let name = &names[told];
            pool.store.release(name);
            terminal.wait_for(&format!("{name}: built"), DEADLINE);
            told += 1;
        }
        let before = terminal.screen().pop();
        let all = names.len() - told;
        // Above the total, below which a line stays free.
        let room = usize::from(lines) - 2;
        tests::eventually("rows drawn anew", DEADLINE, || {
            let screen = terminal.screen();
            let of = |what: &str| screen.iter().filter(|line| line.starts_with(what)).count();
            let rows: Vec<usize> = names.iter().map(|name| of(&format!("{name}  "))).collect();
            let shown = if all <= room { all } else { room - 1 };
            let once = rows.iter().all(|times| *times <= 1) && rows.iter().sum::<usize>() == shown;
            let last = screen.last().filter(|line| line.starts_with('['));
            // The clock has moved: what stands there was drawn for this size.
            (once && of("[") == 1 && last.is_some() && last != before.as_ref()).then_some(())
        });
    }
    for name in &names[told..] {
        pool.store.release(name);
    }
    assert_eq!(terminal.wait(DEADLINE), 0, "{:#?}", terminal.everything());
    let everything = terminal.everything();
    for name in &names {
        let line = format!("{name}: built");
        let times = everything.iter().filter(|it| it.starts_with(&line)).count();
        assert_eq!(times, 1, "{line}:\n{everything:#?}");
    }
}

#[test]
fn the_last_words_of_a_log_and_the_usual_time_stand_on_the_row() {
    let pool = Pool::start();
    let _worker = pool.worker("w1");
    let before = pool.commit("master", &Flake::hosts(1).seconds(1.0));
    pool.submit(&["h01", "--rev", &before, "--ref", "master", "--wait"]).expect_code(0);
    // Two that build nothing say nothing about it.
    for number in ["one", "two"] {
        let same = pool.repo.commit("master", &[("README", number)]);
        pool.submit(&["h01", "--rev", &same, "--ref", "master", "--wait"]).expect_code(0);
    }
    let rev = pool.commit("master", &Flake::hosts(1).held("h01"));
    let mut submit = pool.client("producer");
    submit.args(["submit", "--repo", "homelab", "h01", "--rev", &rev, "--ref", "master", "--wait"]);

    let terminal = Terminal::start(160, 24, &submit);

    pool.store.wait_for_build(&system_name("h01"), DEADLINE);
    terminal.wait_for("h01  build", DEADLINE);
    let screen = terminal.wait_for(" of ~", DEADLINE);
    let row = screen.iter().find(|line| line.starts_with("h01  build")).expect("its row");
    assert!(row.contains("s of ~") && !row.contains("of ~0s"), "{row}");
    terminal.wait_for(&format!("{0}> building", system_name("h01")), DEADLINE);
    pool.store.release("h01");
    assert_eq!(terminal.wait(DEADLINE), 0);
}

#[test]
fn leaving_it_cancels_nothing_and_says_how_to_come_back() {
    let pool = Pool::start();
    let rev = pool.commit("master", &Flake::hosts(1).held("h01"));
    let _worker = pool.worker("w1");
    let submitted = pool.submit(&["h01", "--rev", &rev, "--json"]).expect_code(0).json();
    let run = text(&submitted["run"]);
    let mut watch = pool.client("producer");
    watch.args(["watch", &run]);
    let terminal = Terminal::start(80, 24, &watch);
    terminal.wait_for("h01  build", DEADLINE);

    terminal.press("C-c");

    assert_eq!(terminal.wait(DEADLINE), 3);
    let said = terminal.everything().join("");
    assert!(said.contains(&format!("`producer watch {run}` takes it up again")), "{said}");
    pool.store.release("h01");
    pool.producer(&["watch", &run]).expect_code(0);
}

/// Less than the client waits for an answer.
const LEFT_DEADLINE: Duration = Duration::from_secs(4);

#[test]
fn leaving_does_not_wait_for_a_broker_that_is_away() {
    let mut pool = Pool::start();
    let rev = pool.commit("master", &Flake::hosts(1).held("h01"));
    let submitted = pool.submit(&["h01", "--rev", &rev, "--json"]).expect_code(0).json();
    let mut watch = pool.client("producer");
    watch.args(["watch", &text(&submitted["run"])]);
    let terminal = Terminal::start(80, 24, &watch);
    terminal.wait_for("1 waiting", DEADLINE);
    pool.nats.kill();
    terminal.wait_for("lost the broker, reconnecting", DEADLINE);

    terminal.press("C-c");

    assert_eq!(terminal.wait(LEFT_DEADLINE), 3);
}

#[test]
fn a_gate_shows_the_hosts_that_it_waits_for() {
    let site = Updates::start(&Flake::hosts(1));
    site.upstream(&Flake::hosts(2).held("h02"));
    let terminal = Terminal::start(100, 24, &site.gate(&["run", "--repo", "homelab"]));

    terminal.wait_for("2 queued: no worker for class ", DEADLINE);
    let _worker = site.pool.worker("w1");
    let screen = terminal.wait_for("1/2  1 built  1 running", DEADLINE);
    let row = screen.iter().find(|line| line.starts_with("h02  build")).expect("its row");
    assert!(row.contains("w1"), "{row}");
    site.pool.store.release("h02");

    assert_eq!(terminal.wait(DEADLINE), 0, "{:#?}", terminal.everything());
    let everything = terminal.everything();
    assert!(!everything.iter().any(|line| line.starts_with('[')), "{everything:#?}");
}

#[test]
fn a_gate_says_that_a_class_is_paused_and_how_near_its_hosts_are() {
    let site = Updates::start(&Flake::hosts(1));
    let held = ["h01", "h02", "h03"];
    site.upstream(&held.iter().fold(Flake::hosts(3), |flake, host| flake.held(host)));
    let slots = WorkerOptions { slots: 1, ..WorkerOptions::default() };
    let _worker = site.pool.worker_with("w1", &slots);
    site.pool.producer(&["pause", "x86_64-linux"]).expect_code(0);

    let terminal = Terminal::start(100, 24, &site.gate(&["run", "--repo", "homelab"]));

    let paused = "3 queued: class x86_64-linux is paused; `producer resume x86_64-linux`";
    terminal.wait_for(paused, DEADLINE);
    site.pool.producer(&["resume", "x86_64-linux"]).expect_code(0);
    // The worker has room for one of them.
    terminal.wait_for("2 queued, the first of them as 1 of 2", DEADLINE);
    for host in held {
        site.pool.store.release(host);
    }
    assert_eq!(terminal.wait(DEADLINE), 0, "{:#?}", terminal.everything());
}

#[test]
fn a_ci_gets_a_failure_in_a_group_that_folds() {
    let pool = Pool::start();
    let rev = pool.commit("master", &Flake::hosts(1).failing("h01"));
    let _worker = pool.worker("w1");
    let wait = ["submit", "--repo", "homelab", "h01", "--rev", &rev, "--wait"];
    let mut submit = pool.client("producer");
    submit.args(wait).env("GITHUB_ACTIONS", "true").env("CI", "true");
    let said = tests::process::run(&mut submit, DEADLINE).expect_code(1).stderr;
    let lines: Vec<&str> = said.lines().collect();
    let open = lines.iter().position(|line| line.starts_with("::group::h01: ")).expect("a group");
    let close = lines.iter().position(|line| *line == "::endgroup::").expect("its end");
    assert!(open + 1 < close, "{said}");
    assert!(lines[open + 1..close].iter().all(|line| line.starts_with("| ")), "{said}");
    // Elsewhere nobody folds.
    pool.producer(&["retry", &format!("homelab.{rev}.h01")]).expect_code(0);
    let said = pool.producer(&wait).expect_code(1).stderr;
    assert!(!said.contains("::group::"), "{said}");
}

#[test]
fn a_ci_with_a_terminal_gets_lines() {
    let pool = Pool::start();
    let rev = pool.commit("master", &Flake::hosts(1).held("h01"));
    let mut submit = pool.client("producer");
    submit.args(["submit", "--repo", "homelab", "h01", "--rev", &rev, "--wait"]).env("CI", "true");
    let terminal = Terminal::start(100, 24, &submit);
    terminal.wait_for("0 of 1 finished", DEADLINE);
    let _worker = pool.worker("w1");

    let screen = terminal.wait_for("h01: queued → running", DEADLINE);
    assert!(!screen.iter().any(|line| line.starts_with('[')), "{screen:#?}");
    pool.store.release("h01");
    assert_eq!(terminal.wait(DEADLINE), 0, "{:#?}", terminal.everything());
}

/// Of a core, in a build for tests; one for use takes a tenth of it.
const BUSY_MAX: f64 = 0.10;

#[test]
fn redrawing_forty_hosts_takes_next_to_nothing() {
    // Leases as people have them: each renewal is a change that is looked at.
    let setup = ["--ack-wait", "60s"].map(str::to_owned).to_vec();
    let pool = Pool::start_with(&PoolOptions { setup, ..PoolOptions::default() });
    let names: Vec<String> = (1..=40).map(|n| format!("h{n:02}")).collect();
    let held: Vec<&str> = names.iter().map(String::as_str).collect();
    let rev = forty(&pool, &held);
    let _worker = pool.worker_with("w1", &ten_slots());
    let mut submit = pool.client("producer");
    submit
        .args(["submit", "--repo", "homelab", "--all", "--rev", &rev, "--ref", "master", "--wait"]);
    let terminal = Terminal::start(80, 24, &submit);
    // Those that wait for another one's lock give their slots to more.
    tests::eventually("a row in each slot", DEADLINE, || {
        let screen = terminal.screen();
        (screen.iter().filter(|line| line.starts_with('h')).count() >= 10).then_some(())
    });

    let busy = || cpu_time(terminal.pid());
    let (before, began) = (busy(), std::time::Instant::now());
    let later = tests::eventually("five seconds of looking", DEADLINE, || {
        (began.elapsed() > Duration::from_secs(5)).then(busy)
    });

    let share = (later - before).as_secs_f64() / began.elapsed().as_secs_f64();
    assert!(share < BUSY_MAX, "{:.1} % of a core", share * 100.0);
}

/// User and system time of a process.
fn cpu_time(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("a running process");
    let fields: Vec<&str> = stat.rsplit(')').next().expect("fields").split_whitespace().collect();
    // Fields 14 and 15 of proc(5), in hundredths of a second; two of them stand before the ')'.
    let ticks: u64 = fields[11..13].iter().map(|it| it.parse::<u64>().expect("ticks")).sum();
    Duration::from_millis(ticks * 10)
}
