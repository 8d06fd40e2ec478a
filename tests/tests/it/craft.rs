//! What people expect of a program on a terminal and in a script: help, completions, man pages,
//! closed pipes, old locales, narrow terminals, colours.

use std::{fs, io, process::Command, process::Stdio};

use tests::{
    Flake, Pool, Terminal, WorkerOptions,
    pool::REPO,
    process::{Output, binary, command, find, run},
    scratch,
};

use crate::{DEADLINE, text};

const PROGRAMS: [&str; 3] = ["producer", "worker", "gate"];

fn tell(program: &str, args: &[&str]) -> Output {
    run(command(binary(program)).args(args), DEADLINE)
}

#[test]
fn completions_are_scripts_that_the_shell_takes_and_that_complete() {
    let dir = scratch();
    for program in PROGRAMS {
        for shell in ["bash", "zsh", "fish"] {
            // Whatever stands in the environment: no config is read, no broker is asked.
            let mut completions = command(binary(program));
            completions.args(["completions", shell]).env("NBP_CONFIG", "/no/such/file");
            let script = run(&mut completions, DEADLINE).expect_code(0).stdout;
            assert!(script.contains("check-config") || script.contains("status"), "{script}");
            fs::write(dir.path().join(format!("{program}.{shell}")), script).expect("a folder");
        }
    }
    // By bash itself: `producer hi<TAB>` and `producer history --li<TAB>`.
    for (words, expected) in [("producer hi", "history"), ("producer history --li", "--limit")] {
        let script = format!(
            "source {}/producer.bash; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _producer producer \"${{COMP_WORDS[-1]}}\" \"${{COMP_WORDS[-2]}}\"; echo \"${{COMPREPLY[@]}}\"",
            dir.path().display()
        );
        let completed = run(command("bash").args(["-c", &script]), DEADLINE).expect_code(0);
        assert_eq!(completed.stdout.trim(), expected, "{words}: {completed}");
    }
    // By the others on a terminal, as fingers do it.
    for (shell, args, start) in [
        ("zsh", &["-f"][..], "autoload -Uz compinit; compinit -D; source"),
        ("fish", &["--no-config", "--private"], "source"),
    ] {
        let mut interactive = command(find(shell));
        interactive.args(args).current_dir(dir.path()).env("HOME", dir.path());
        let terminal = Terminal::start(120, 24, &interactive);
        for (program, typed, completed) in [
            ("producer", "producer histo", "producer history"),
            ("worker", "worker check-c", "worker check-config"),
            ("gate", "gate check --verb", "gate check --verbose"),
        ] {
            terminal.press(&format!("{start} ./{program}.{shell}; clear; echo ready {program}"));
            terminal.press("Enter");
            let ready = format!("ready {program}");
            terminal.wait_until(&ready, DEADLINE, |line| line == ready);
            terminal.press(typed);
            // Behind a prompt: before that a shell takes a Tab for a part of the text.
            terminal.wait_until(typed, DEADLINE, |line| line.ends_with(typed) && line != typed);
            terminal.press("Tab");
            terminal.wait_for(completed, DEADLINE);
            terminal.press("C-u");
        }
    }
    tell("gate", &["completions", "tcsh"]).expect_code(2);
}

#[test]
fn each_command_has_a_man_page_with_examples_and_exit_codes() {
    let dir = scratch();
    let pages = dir.path().to_str().expect("a path that is text");
    for program in PROGRAMS {
        tell(program, &["man", pages]).expect_code(0);
        let help = tell(program, &["--help"]).expect_code(0);
        assert!(help.stdout.contains("Exit codes:\n  0  done"), "{help}");
        assert!(help.stdout.contains("Examples:\n"), "{help}");
        let page = tell(program, &["man"]).expect_code(0);
        assert!(page.stdout.contains(&format!(".TH {}", program.to_uppercase())), "{page}");
    }
    for name in ["producer", "producer-submit", "producer-dead-list", "worker-run", "gate-check"] {
        let page = fs::read_to_string(dir.path().join(format!("{name}.1"))).expect(name);
        assert!(page.contains("cancelled or superseded"), "{name}: {page}");
        assert!(page.contains(".SH NAME"), "{name}: {page}");
    }
    for page in fs::read_dir(dir.path()).expect("pages") {
        let page = page.expect("a page").path();
        for device in ["-Tutf8", "-Tascii"] {
            let mut groff = command(find("groff"));
            groff.args(["-man", "-Kutf8", "-ww", "-rLL=80n", "-P-cbou", device]).arg(&page);
            let shown = run(&mut groff, DEADLINE).expect_code(0);
            assert_eq!(shown.stderr, "", "{}", page.display());
            check_page(&page, &shown.stdout);
        }
    }
    let page = |name: &str| {
        let mut groff = command(find("groff"));
        groff.args(["-man", "-rLL=80n", "-P-cbou", "-Tascii"]).arg(dir.path().join(name));
        run(&mut groff, DEADLINE).expect_code(0).stdout
    };
    let submit = page("producer-submit.1");
    assert!(submit.contains("<HOST|--all>") && !submit.contains("[--ref]"), "{submit}");
    let example =
        "  producer submit --repo nixos-servers --all --exclude 'pi*' --ref master --supersede\n";
    assert!(submit.contains(example), "it can be copied: {submit}");
    let footer = submit.trim_end().lines().last().unwrap_or_default();
    assert!(footer.starts_with("nix-build-pool 0.1.0"), "{submit}");
    let doctor = page("worker-doctor.1");
    assert!(doctor.contains("something is set wrongly"), "{doctor}");
    assert!(!doctor.contains("a build failed"), "{doctor}");
    for hidden in ["producer-man.1", "producer-help.1"] {
        assert!(!dir.path().join(hidden).exists(), "{hidden}");
    }
}

/// What a reader of a page finds, each page that it names among it.
#[track_caller]
fn check_page(file: &std::path::Path, shown: &str) {
    for heading in ["NAME", "SYNOPSIS", "DESCRIPTION", "EXAMPLES", "EXIT STATUS"] {
        assert!(shown.lines().any(|line| line == heading), "no {heading} in {shown}");
    }
    let commands = shown.split_whitespace().filter_map(|word| word.strip_suffix("(1)"));
    for command in commands.filter(|word| word.contains('-') && word.is_ascii()) {
        let other = file.with_file_name(format!("{}.1", command.to_lowercase()));
        assert!(other.exists(), "{command}(1) is not there: {shown}");
    }
}

/// Runs a command whose output nobody reads any more: its exit code and its errors. (It cannot
/// hang: each of its waits has an end, and a write to a closed pipe fails at once.)
fn unread(command: &mut Command) -> (Option<i32>, String) {
    let (reader, writer) = io::pipe().expect("a pipe");
    drop(reader);
    let ended = command.stdout(writer).stderr(Stdio::piped()).output().expect("a program");
    (ended.status.code(), String::from_utf8_lossy(&ended.stderr).into_owned())
}

#[test]
fn a_reader_that_has_left_is_no_failure_and_nothing_is_said_of_it() {
    let pool = Pool::start();
    let rev = pool.commit("master", &Flake::hosts(2));
    let _worker = pool.worker("w1");
    let submitted = pool.submit(&["--all", "--ref", "master", "--wait", "--json"]).expect_code(0);
    let run = text(&submitted.json()["run"]);
    let job = format!("{REPO}.{rev}.h01");
    let check = |program: &str, args: &[&str], code| {
        let ended = unread(pool.client(program).args(args));
        assert_eq!(ended, (Some(code), String::new()), "{program} {args:?}");
    };
    for args in [
        &["status", &run][..],
        &["status", &run, "--json"],
        &["queue"],
        &["workers", "--json"],
        &["history", "h01", "--repo", REPO],
        &["explain", &job],
        &["last-good", "h01", "--repo", REPO],
        &["events"],
        &["events", "--follow", "--since", "1h"],
        &["logs", "h01", "--run", &run],
        &["dead", "list"],
        &["watch", &run, "--quiet"],
        &["--help"],
        &["completions", "bash"],
        &["man"],
    ] {
        check("producer", args, 0);
    }
    check("gate", &["status"], 0);
    check("gate", &["check", "--repo", REPO, "--rev", &rev, "--run", &run], 0);
    // What the exit code tells, it tells all the same.
    check("gate", &["check", "--repo", REPO, "--rev", &rev, "--hosts", "h01,h09"], 3);
}

#[test]
fn a_locale_without_utf8_gets_ascii_from_us_and_what_others_wrote_as_it_is() {
    let pool = Pool::start();
    pool.commit("master", &Flake::hosts(1));
    let _worker = pool.worker("w1");
    let submit = ["submit", "--repo", REPO, "--all", "--ref", "master", "--wait", "--force"];
    let in_locale = |locale: &str| {
        let mut producer = pool.client("producer");
        run(producer.args(submit).env("LC_ALL", locale), DEADLINE).expect_code(0)
    };
    let output = in_locale("C");
    assert!(output.stderr.contains("h01: running -> built"), "{output}");
    assert!(output.stdout.is_ascii() && output.stderr.is_ascii(), "{output}");
    assert!(in_locale("C.UTF-8").stderr.contains("h01: running → built"));
}

/// What a command shows on a terminal of so many columns.
fn on_terminal(pool: &Pool, columns: usize, env: &[(&str, &str)], args: &[&str]) -> String {
    let producer = pool.client("producer");
    let words = producer.get_args().skip(3).map(|word| word.to_str().expect("text"));
    let line: Vec<&str> = words.chain(args.iter().copied()).collect();
    let typed = format!("stty cols {columns}; exec {}", line.join(" "));
    let mut terminal = command("script");
    terminal.args(["--quiet", "--return", "--command", &typed, "/dev/null"]);
    terminal.env("TERM", "xterm").envs(env.iter().copied());
    run(terminal.stdin(Stdio::null()), DEADLINE).expect_code(0).stdout.replace('\r', "")
}

#[test]
fn tables_fit_the_terminal_and_colours_are_for_who_wants_them() {
    let pool = Pool::start();
    let long = "a-host-whose-name-is-about-as-long-as-a-name-may-be-0123456789";
    pool.commit("master", &Flake::named(&[long, "web"]));
    let options = WorkerOptions { systems: vec!["aarch64-linux"], ..WorkerOptions::default() };
    let _worker = pool.worker_with("w1", &options);
    let submitted = pool.submit(&["--all", "--ref", "master", "--json"]).expect_code(0);
    let run = text(&submitted.json()["run"]);

    let table = |shown: &str| -> Vec<String> {
        let rows = shown.lines().skip_while(|line| !line.contains("HOST")).map(str::to_owned);
        rows.take_while(|line| !line.is_empty()).collect()
    };
    for (columns, locale, mark) in [(40, "C", "..."), (60, "C.UTF-8", "…"), (100, "C.UTF-8", "…")]
    {
        let locale = [("LC_ALL", locale)];
        let status = ["--color", "never", "status", &run];
        let rows = table(&on_terminal(&pool, columns, &locale, &status));
        assert_eq!(rows.len(), 3, "{rows:#?}");
        assert!(rows.iter().all(|row| row.chars().count() <= columns), "{columns}: {rows:#?}");
        assert!(rows.iter().any(|row| row.contains(mark)), "{columns}: {rows:#?}");
    }
    // Elsewhere nothing is cut.
    let plain = pool.producer(&["status", &run]).expect_code(0).stdout;
    assert!(plain.contains(long) && !plain.contains(['…', '\u{1b}']), "{plain}");

    let coloured = |shown: String| shown.contains("\u{1b}[");
    let status = ["status", run.as_str()];
    assert!(coloured(on_terminal(&pool, 80, &[], &status)));
    assert!(!coloured(on_terminal(&pool, 80, &[("NO_COLOR", "1")], &status)));
    assert!(!coloured(on_terminal(&pool, 80, &[("TERM", "dumb")], &status)));
    assert!(!coloured(on_terminal(&pool, 80, &[], &["status", &run, "--color", "never"])));
    assert!(!coloured(on_terminal(&pool, 80, &[], &["status", &run, "--json"])));
    assert!(coloured(pool.producer(&["status", &run, "--color", "always"]).stdout));
    // No pager is started for anybody.
    let paged = on_terminal(&pool, 80, &[("PAGER", "false"), ("NBP_PAGER", "false")], &["events"]);
    assert!(paged.contains("worker.ready"), "{paged}");
}
