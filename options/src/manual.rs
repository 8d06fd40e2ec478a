//! What a program tells of itself: completions for shells and pages for `man`, made from its
//! command line, and the exit codes that all programs share.

use std::{fs, io, path::Path};

use clap::{Args, Command, CommandFactory, Parser, Subcommand, ValueEnum};
use clap_mangen::Man;

use crate::Console;

/// The exit codes, for help and man pages.
pub const EXIT_CODES: &str = "\
Exit codes:
  0  done; all built; pass
  1  a build failed, or the flake cannot be evaluated; the verdict is fail
  2  wrong usage or configuration, or there is no such thing
  3  undecided: infrastructure, time ran out, or the broker cannot be reached
  4  cancelled or superseded";

/// A program's help below its options: examples, and the exit codes.
pub fn help(examples: &str) -> String {
    format!("{examples}\n\n{EXIT_CODES}")
}

/// For the test of each program: every command that is shown has examples, there are more than
/// `least` in all, and each of them can be typed.
///
/// # Panics
/// When that is not so.
#[track_caller]
pub fn check_examples<T: Parser>(least: usize) {
    let mut command = T::command();
    command.build();
    for below in command.get_subcommands().filter(|it| !it.is_hide_set()) {
        let help = below.get_after_help().map(ToString::to_string).unwrap_or_default();
        let without = ["help", "completions"].contains(&below.get_name());
        assert!(without || help.contains("Examples:"), "{}", below.get_name());
    }
    let examples = examples(&command);
    assert!(examples.len() > least, "{examples:?}");
    for words in examples {
        let parsed = T::try_parse_from(&words);
        assert!(parsed.is_ok(), "{words:?}: {:?}", parsed.err());
    }
}

/// The command lines that stand as examples in the help of a program and of its commands, as words:
/// for the test that reads them. What a shell would fill in is a commit.
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

/// Some commit.
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// The commands that tell of the program; every program has them.
#[derive(Debug, Subcommand)]
pub enum Manual {
    /// Print a script that completes command lines in a shell
    Completions(Completions),
    /// Print the program's man page, or write those of all commands into a folder
    #[command(hide = true)]
    Man(ManPages),
}

impl Manual {
    /// Prints or writes what was asked for, of the command line `T`.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn tell<T: CommandFactory>(&self, console: &Console) -> io::Result<()> {
        match self {
            Self::Completions(of) => console.data(&of.script(&T::command())),
            Self::Man(pages) => pages.write(&T::command(), console),
        }
    }
}

/// Arguments of `completions`.
#[derive(Debug, Args)]
#[command(after_help = "\
Put what it prints where the shell looks, e.g.
  ~/.local/share/bash-completion/completions/NAME
  a folder of zsh's $fpath, as _NAME
  ~/.config/fish/completions/NAME.fish")]
pub struct Completions {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// Arguments of `man`.
#[derive(Debug, Args)]
pub struct ManPages {
    /// A folder for the pages of all commands; else the page of the program is printed
    #[arg(value_name = "DIR")]
    dir: Option<std::path::PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl Completions {
    fn script(&self, command: &Command) -> String {
        let shell = match self.shell {
            Shell::Bash => clap_complete::Shell::Bash,
            Shell::Zsh => clap_complete::Shell::Zsh,
            Shell::Fish => clap_complete::Shell::Fish,
        };
        let mut command = command.clone();
        let (name, mut script) = (command.get_name().to_owned(), Vec::new());
        clap_complete::generate(shell, &mut command, name, &mut script);
        without(&String::from_utf8_lossy(&script), &hidden(&command))
    }
}

/// Options and commands that help does not show, each as its word.
fn hidden(command: &Command) -> Vec<String> {
    let options = command.get_arguments().filter(|it| it.is_hide_set());
    let options = options.filter_map(|it| Some(format!("--{}", it.get_long()?)));
    let commands = command.get_subcommands().filter(|it| it.is_hide_set());
    let commands = commands.map(|it| it.get_name().to_owned());
    options.chain(commands).chain(command.get_subcommands().flat_map(hidden)).collect()
}

/// A script that does not offer what is hidden. Those for bash and zsh would: as a word among
/// others after `opts=`, or on a line of its own.
fn without(script: &str, hidden: &[String]) -> String {
    let of_hidden = |line: &str| {
        let name = line.trim_start().trim_start_matches(['\'', '*']);
        let is = |it: &String| {
            name.strip_prefix(it.as_str()).is_some_and(|rest| {
                line.trim_start().starts_with('\'') && rest.starts_with(['[', '=', ':'])
            })
        };
        hidden.iter().any(is)
    };
    let line = |line: &str| match line.trim_start().starts_with("opts=") {
        false => line.to_owned(),
        true => {
            let words = line.split(' ').filter(|word| !hidden.iter().any(|it| it == word));
            words.collect::<Vec<_>>().join(" ")
        }
    };
    script.lines().filter(|it| !of_hidden(it)).map(|it| line(it) + "\n").collect()
}

impl ManPages {
    fn write(&self, command: &Command, console: &Console) -> io::Result<()> {
        let pages = pages(command)?;
        let Some(dir) = &self.dir else {
            return console.data(&pages.into_iter().next().unwrap_or_default().1);
        };
        fs::create_dir_all(dir)?;
        pages.iter().try_for_each(|(name, text)| fs::write(Path::new(dir).join(name), text))
    }
}

/// File names and texts, that of the program first.
fn pages(command: &Command) -> io::Result<Vec<(String, String)>> {
    let mut command = command.clone();
    command.build();
    let mut pages = Vec::new();
    page(command, &mut pages)?;
    Ok(pages)
}

/// The page of a command and those of the ones below it. Built, each knows its name with dashes,
/// which is what `man` is asked for.
fn page(command: Command, pages: &mut Vec<(String, String)>) -> io::Result<()> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let below: Vec<Command> = command
        .get_subcommands()
        .filter(|below| !below.is_hide_set() && below.get_name() != "help")
        .cloned()
        .collect();
    let (top, title) = (pages.is_empty(), name.to_uppercase());
    let man = Man::new(command).title(title).section("1").manual("nix-build-pool");
    let mut text = Vec::new();
    man.render(&mut text)?;
    let mut text = String::from_utf8_lossy(&text).into_owned();
    if !top {
        // The program's page has them from its help.
        text.push_str(&exit_status());
    }
    pages.push((format!("{name}.1"), text));
    for below in below {
        page(below, pages)?;
    }
    Ok(())
}

fn exit_status() -> String {
    let lines = EXIT_CODES.lines().skip(1).map(|line| line.trim_start());
    let lines: Vec<String> = lines.map(|line| line.replacen("  ", " \\- ", 1)).collect();
    format!(".SH \"EXIT STATUS\"\n{}\n", lines.join("\n.br\n"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::Voice;

    /// Tries things out
    #[derive(Debug, Parser)]
    #[command(name = "tool", after_long_help = EXIT_CODES)]
    struct Cli {
        #[command(flatten)]
        voice: Voice,
        #[command(subcommand)]
        command: Sub,
    }

    #[derive(Debug, Subcommand)]
    enum Sub {
        /// Begins
        Begin {
            /// Where somebody listens
            #[arg(long, hide = true)]
            socket: bool,
            /// How much
            #[arg(long)]
            much: bool,
        },
        /// Tells nobody
        #[command(hide = true)]
        Secret,
    }

    #[test]
    fn each_shell_gets_a_script_with_the_commands_and_no_hidden_option() {
        for shell in Shell::value_variants() {
            let script = Completions { shell: *shell }.script(&Cli::command());
            let offered =
                script.lines().filter(|line| line.contains("opts=") || *shell != Shell::Bash);
            let offered: String = offered.collect();
            assert!(offered.contains("begin") && offered.contains("much"), "{shell:?}: {script}");
            assert!(!offered.contains("--socket"), "{shell:?}: {script}");
        }
    }

    #[test]
    fn each_command_has_a_page_that_tells_the_exit_codes() {
        let pages = pages(&Cli::command()).expect("text");
        let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["tool.1", "tool-begin.1"]);
        for (name, text) in &pages {
            assert!(text.contains("cancelled or superseded"), "{name}: {text}");
            assert!(!text.contains("socket"), "{name}: {text}");
        }
    }

    #[test]
    fn the_codes_are_those_of_the_programs() {
        use proto::ExitCode::{Cancelled, Done, Failed, Undecided, Usage};
        let lines: Vec<&str> = EXIT_CODES.lines().skip(1).collect();
        let codes = [Done, Failed, Usage, Undecided, Cancelled];
        assert_eq!(lines.len(), codes.len());
        for (line, code) in lines.iter().zip(codes) {
            assert!(line.starts_with(&format!("  {}  ", code.code())), "{line}");
        }
    }
}
