//! What the command lines of the three programs share: where the broker is, how much to say, usage
//! errors that are safe to look at, the two streams of a command, and tables for people. It knows no
//! command.

mod console;
mod documented;
mod manual;
mod page;
mod push;
mod terminal;
mod times;

use std::{
    ffi::OsString,
    io::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};

use bus::Endpoint;
use clap::{ArgAction, Args, ColorChoice, Parser, ValueEnum};
use proto::ExitCode;
use settings::NatsTable;
use telemetry::{Color, Telemetry};
use tracing::level_filters::LevelFilter;

pub use console::Console;
pub use documented::check_documented;
pub use manual::{Completions, EXIT_CODES, ManPages, Manual, check_examples, help};
pub use page::{Cell, Page, Tone, head};
pub use push::{Push, tell};
pub use times::short;

/// Where the broker is and who we are. The command line and the environment win over the config
/// file.
#[derive(Clone, Debug, Default, Args)]
pub struct Broker {
    /// The broker; several URLs with commas between [default: nats://127.0.0.1:4222]
    #[arg(long, env = "NATS_URL", hide_env_values = true, global = true, value_name = "URL")]
    pub nats_url: Option<String>,
    /// File with the NKey seed
    #[arg(long, env = "NATS_NKEY", global = true, value_name = "FILE")]
    pub nkey_file: Option<PathBuf>,
    /// PEM file of the authority that signed the broker's certificate
    #[arg(long, env = "NATS_CA", global = true, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
}

/// How much to say, and how.
#[derive(Clone, Copy, Debug, Args)]
pub struct Voice {
    /// Say more; may be repeated
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
    /// Say less; may be repeated
    #[arg(short, long, global = true, action = ArgAction::Count)]
    quiet: u8,
    /// Colours: on a terminal unless NO_COLOR is set, always, or never
    #[arg(long, global = true, default_value = "auto", value_name = "WHEN")]
    color: When,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum When {
    Auto,
    Always,
    Never,
}

impl Broker {
    /// The endpoint, with what the command line does not say taken from `file`.
    ///
    /// `name` is the client's name in the server's lists; `patience` bounds the first connection.
    pub fn endpoint(
        &self,
        file: &NatsTable,
        name: impl Into<String>,
        patience: Option<Duration>,
    ) -> Endpoint {
        let path = |ours: &Option<PathBuf>, file: &Option<PathBuf>| {
            given(ours.as_deref()).map(Path::to_owned).or_else(|| file.clone())
        };
        let url = self.nats_url.clone().filter(|url| !url.is_empty()).or_else(|| file.url.clone());
        Endpoint {
            url: url.unwrap_or_else(|| bus::URL_DEFAULT.into()),
            nkey_file: path(&self.nkey_file, &file.nkey_file),
            ca_file: path(&self.ca_file, &file.ca_file),
            name: name.into(),
            patience,
        }
    }
}

/// A path that was really given: an empty variable is how a shell unsets one for a child.
pub fn given(path: Option<&Path>) -> Option<&Path> {
    path.filter(|path| !path.as_os_str().is_empty())
}

impl Voice {
    /// Starts log and traces of `program`; `base` is the log's level without `-v` and `-q`.
    pub fn start(&self, program: &'static str, base: LevelFilter) -> Telemetry {
        let steps = |count: u8| i8::try_from(count).unwrap_or(i8::MAX);
        let color = match self.color {
            When::Auto => Color::Auto,
            When::Always => Color::Always,
            When::Never => Color::Never,
        };
        let verbosity = steps(self.verbose).saturating_sub(steps(self.quiet));
        telemetry::init(program, base, verbosity, color)
    }

    /// Only data and errors are wanted.
    pub fn is_quiet(&self) -> bool {
        self.quiet > self.verbose
    }

    /// Data may have colours, on a terminal that has some.
    fn colours(&self, terminal: bool) -> bool {
        match self.color {
            When::Always => true,
            When::Never => false,
            When::Auto => terminal,
        }
    }
}

/// Reads a command line. Help and usage errors are told here, and give their exit code.
///
/// # Errors
/// The exit code to end with.
pub fn parse<T: Parser>(args: impl IntoIterator<Item = OsString>) -> Result<T, ExitCode> {
    let args: Vec<OsString> = args.into_iter().collect();
    let matches = manual::program::<T>().color(help_color(&args)).try_get_matches_from(args);
    matches.and_then(|matches| T::from_arg_matches(&matches)).map_err(|error| {
        if !error.use_stderr() {
            // Help and version. A reader that left early has seen what it wanted.
            error.print().ok();
            return ExitCode::Done;
        }
        // clap quotes arguments as they are; they may hold what a terminal obeys.
        let text = telemetry::plain_lines(&error.render().to_string());
        std::io::stderr().write_all(text.as_bytes()).ok();
        ExitCode::Usage
    })
}

/// What `--color` says about help, which is printed before anything is parsed.
fn help_color(args: &[OsString]) -> ColorChoice {
    let args = args.iter().filter_map(|arg| arg.to_str()).take_while(|arg| *arg != "--");
    let args: Vec<&str> = args.collect();
    let given =
        args.iter().enumerate().rev().find_map(|(at, arg)| match arg.strip_prefix("--color") {
            Some("") => args.get(at + 1).copied(),
            Some(value) => value.strip_prefix('='),
            None => None,
        });
    match given {
        Some("always") => ColorChoice::Always,
        Some("never") => ColorChoice::Never,
        _ => ColorChoice::Auto,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_wins_over_the_file_and_an_empty_value_does_not() {
        let file = NatsTable {
            url: Some("nats://file:1".into()),
            nkey_file: Some("/file".into()),
            ca_file: None,
        };
        let ours = Broker { nats_url: Some("nats://ours:1".into()), ..Broker::default() };
        let endpoint = ours.endpoint(&file, "x", None);
        assert_eq!(endpoint.url, "nats://ours:1");
        assert_eq!(endpoint.nkey_file.as_deref(), Some(Path::new("/file")));
        let empty = Broker { nats_url: Some(String::new()), ..Broker::default() };
        assert_eq!(empty.endpoint(&file, "x", None).url, "nats://file:1");
        assert_eq!(empty.endpoint(&NatsTable::default(), "x", None).url, bus::URL_DEFAULT);
    }

    #[test]
    fn help_has_the_colours_that_are_asked_for() {
        let check = |line: &[&str], colour| {
            let args: Vec<OsString> = line.iter().map(OsString::from).collect();
            assert_eq!(help_color(&args), colour, "{line:?}");
        };
        check(&["x", "--help"], ColorChoice::Auto);
        check(&["x", "--color", "never", "--help"], ColorChoice::Never);
        check(&["x", "--color=never", "y", "--color=always"], ColorChoice::Always);
        check(&["x", "--", "--color=never"], ColorChoice::Auto);
        check(&["x", "--color"], ColorChoice::Auto);
    }
}
