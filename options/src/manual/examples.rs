//! The examples in help, for the tests of the programs.

use clap::{Command, Parser};

use super::{EXIT_CODES_TITLE, program};

/// Some commit.
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// For the test of each program: every command that is shown has examples and exit codes in its
/// help, which any terminal can show; there are more than `least` examples in all, and each of them
/// can be typed.
///
/// # Panics
/// When that is not so.
#[track_caller]
pub fn check_examples<T: Parser>(least: usize) {
    let mut command = program::<T>();
    command.build();
    check_help(&mut command);
    let examples = examples(&command);
    assert!(examples.len() > least, "{examples:?}");
    for words in examples {
        let parsed = T::try_parse_from(&words);
        assert!(parsed.is_ok(), "{words:?}: {:?}", parsed.err());
    }
}

#[track_caller]
fn check_help(command: &mut Command) {
    let help = command.render_long_help().to_string();
    assert!(help.contains("Examples:\n"), "{help}");
    let leaf = !command.get_subcommands().any(|it| !it.is_hide_set() && it.get_name() != "help");
    assert!(!leaf || help.contains(EXIT_CODES_TITLE), "{help}");
    // What clap prints goes to the terminal as it is.
    assert!(help.is_ascii(), "{help}");
    for below in command.get_subcommands_mut() {
        if !below.is_hide_set() && below.get_name() != "help" {
            check_help(below);
        }
    }
}

/// The command lines that stand as examples in the help of a program and of its commands, as words.
/// What a shell would fill in is a commit.
fn examples(command: &Command) -> Vec<Vec<String>> {
    let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name());
    let start = format!("  {} ", name.split(' ').next().unwrap_or_default());
    let line = |line: &str| {
        let line = line.replace("$(git rev-parse HEAD)", COMMIT);
        let line = line.replace("<revision>", COMMIT).replace("SHA", COMMIT).replace('\'', "");
        // What follows three blanks is a remark, and another program is none of ours.
        let ends = ["   ", " | ", " > "];
        let words = ends.iter().fold(line.as_str(), |line, end| match line.split_once(end) {
            Some((ours, _)) => ours,
            None => line,
        });
        words.split_whitespace().map(str::to_owned).collect::<Vec<String>>()
    };
    let own = text.lines().filter(|it| it.starts_with(&start));
    let own = own.filter(|it| !it.contains("<command>")).map(|it| line(it.trim_start()));
    let mut found: Vec<Vec<String>> = own.collect();
    for below in command.get_subcommands().filter(|it| it.get_name() != "help") {
        found.extend(examples(below));
    }
    found
}
