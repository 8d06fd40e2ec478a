//! What a program tells of itself: completions for shells and pages for `man`, made from its
//! command line, and the exit codes that all programs share.

mod examples;
mod pages;

use std::{fs, io, path::Path};

use clap::{Args, Command, CommandFactory, Subcommand, ValueEnum};

pub use self::examples::check_examples;
use self::pages::pages;
use crate::Console;

/// The exit codes, for help and man pages.
pub const EXIT_CODES: &str = "\
Exit codes:
  0  done; all built; pass
  1  a build failed, or the flake cannot be evaluated; the verdict is fail
  2  wrong usage or configuration, or there is no such thing
  3  undecided: infrastructure, time ran out, or the broker cannot be reached
  4  cancelled or superseded";

/// How they begin in help. What follows is a line a code.
const EXIT_CODES_TITLE: &str = "Exit codes:\n";
/// What stands for the program's name in help that several programs share.
const PROGRAM: &str = "PROGRAM";

/// The command line `T`, with the exit codes in the help of each command that has none of its own.
pub(crate) fn program<T: CommandFactory>() -> Command {
    let command = T::command();
    let name = command.get_name().to_owned();
    told(command, &name)
}

fn told(command: Command, program: &str) -> Command {
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let help = help.replace(PROGRAM, program);
    let help = match help.contains(EXIT_CODES_TITLE) {
        true => help,
        false => self::help(&help),
    };
    command.after_help(help).mut_subcommands(|below| told(below, program))
}

/// A program's help below its options: examples, and the exit codes.
pub fn help(examples: &str) -> String {
    format!("{examples}\n\n{EXIT_CODES}")
}

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
            Self::Completions(of) => console.data(&of.script(&program::<T>())),
            Self::Man(pages) => pages.write(&program::<T>(), console),
        }
    }
}

/// Arguments of `completions`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  PROGRAM completions bash > ~/.local/share/bash-completion/completions/PROGRAM
  PROGRAM completions zsh > ~/.zfunc/_PROGRAM          in a folder of zsh's $fpath
  PROGRAM completions fish > ~/.config/fish/completions/PROGRAM.fish")]
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

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::Voice;

    /// Tries things out
    #[derive(Debug, Parser)]
    #[command(name = "tool", version = "1.2", after_help = EXIT_CODES)]
    struct Cli {
        #[command(flatten)]
        voice: Voice,
        #[command(subcommand)]
        command: Sub,
    }

    #[derive(Debug, Subcommand)]
    enum Sub {
        /// Begins
        #[command(group = clap::ArgGroup::new("how").args(["much", "little"]).required(true))]
        #[command(after_help = "It begins.\n\nExamples:\n  tool begin --much")]
        Begin {
            /// Where somebody listens
            #[arg(long, hide = true)]
            socket: bool,
            /// How much
            #[arg(long)]
            much: bool,
            /// How little
            #[arg(long)]
            little: bool,
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
    fn each_command_has_a_page_with_what_its_help_has() {
        let pages = pages(&program::<Cli>()).expect("text");
        let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["tool.1", "tool-begin.1"]);
        for (name, text) in &pages {
            assert!(text.contains("cancelled or superseded"), "{name}: {text}");
            assert!(!text.contains("socket") && !text.contains("help("), "{name}: {text}");
            assert!(
                text.lines()
                    .any(|it| it.ends_with("1 \"\" \"nix-build-pool 1.2\" \"nix-build-pool\"")),
                "{text}"
            );
        }
        let begin = &pages[1].1;
        assert!(begin.contains("\n.SH EXAMPLES\n.nf\ntool begin \\-\\-much\n.fi\n"), "{begin}");
        assert!(begin.contains("\n.PP\nIt begins.\n"), "{begin}");
        let synopsis =
            "\n.SH SYNOPSIS\n.na\n\\fBtool begin\\fR [OPTIONS] <\\-\\-much|\\-\\-little>\n";
        assert!(begin.contains(synopsis), "{begin}");
    }

    #[test]
    fn exit_codes_of_its_own_take_the_place_of_the_common_ones() {
        #[derive(Debug, Parser)]
        #[command(name = "tool", after_help = "Exit codes:\n  0  fine")]
        struct Own {}
        let mut command = program::<Own>();
        let help = command.render_help().to_string();
        assert!(help.contains("fine") && !help.contains("superseded"), "{help}");
        let page = &pages(&command).expect("text")[0].1;
        assert!(page.contains("0 \\- fine") && !page.contains("superseded"), "{page}");
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
