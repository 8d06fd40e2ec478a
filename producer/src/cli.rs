//! The command line: global options and the tree of commands. Each command's own arguments stand
//! beside it. This is the only place that sees the environment.

use std::{io::Write as _, path::PathBuf};

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use proto::ExitCode;
use settings::Span;
use telemetry::Color;

use crate::command::{logs, setup, status, submit, watch};

/// Submits NixOS builds to the pool and shows what became of them.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// The broker; several URLs with commas between [default: nats://127.0.0.1:4222]
    #[arg(long, env = "NATS_URL", global = true, value_name = "URL")]
    pub(crate) nats_url: Option<String>,
    /// File with the NKey seed
    #[arg(long, env = "NATS_NKEY", global = true, value_name = "FILE")]
    pub(crate) nkey_file: Option<PathBuf>,
    /// PEM file of the authority that signed the broker's certificate
    #[arg(long, env = "NATS_CA", global = true, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
    /// Config file (TOML: [nats], [repos.<name>])
    #[arg(long, env = "NBP_CONFIG", global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// How long to try to reach the broker
    #[arg(long, global = true, default_value = "10s", value_name = "DURATION")]
    pub(crate) patience: Span,
    /// Print JSON instead of text
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Say more; may be repeated
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
    /// Say less; may be repeated
    #[arg(short, long, global = true, action = ArgAction::Count)]
    quiet: u8,
    /// Colour in messages
    #[arg(long, global = true, default_value = "auto", value_name = "WHEN")]
    color: When,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum When {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create the streams, buckets and consumers, and report what differs
    Setup(setup::Args),
    /// Ask for the builds of hosts of one commit
    Submit(submit::Args),
    /// Show how far each host is
    Status(status::Args),
    /// Follow a run until every host has ended; leaving it cancels nothing
    Watch(watch::Args),
    /// Print the build log of a host
    Logs(logs::Args),
}

impl Cli {
    /// Reads the arguments of this process. Usage errors are told here, and give their exit code.
    pub fn from_args() -> Result<Self, ExitCode> {
        Self::try_parse().map_err(|error| {
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
}

impl Global {
    /// Starts the log as `-v`, `-q` and `--color` ask for.
    pub fn start_log(&self) {
        let steps = |count: u8| i8::try_from(count).unwrap_or(i8::MAX);
        let verbosity = steps(self.verbose).saturating_sub(steps(self.quiet));
        telemetry::init(tracing::level_filters::LevelFilter::WARN, verbosity, self.color.into());
    }

    /// Only data and errors are wanted.
    pub fn is_quiet(&self) -> bool {
        self.quiet > self.verbose
    }
}

impl From<When> for Color {
    fn from(when: When) -> Self {
        match when {
            When::Auto => Self::Auto,
            When::Always => Self::Always,
            When::Never => Self::Never,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;

    use clap::CommandFactory as _;

    use super::*;

    const REV: &str = "0123456789abcdef0123456789abcdef01234567";

    #[test]
    fn the_command_tree_is_consistent() {
        Cli::command().debug_assert();
    }

    #[track_caller]
    fn check(line: &[&str], refused: Option<&str>) {
        let parsed = Cli::try_parse_from(["producer"].iter().chain(line));
        match (parsed, refused) {
            (Ok(_), None) => {}
            (Err(error), Some(why)) => {
                assert_eq!(error.exit_code(), 2, "{line:?}");
                assert!(error.to_string().contains(why), "{line:?}: {error}");
            }
            (parsed, _) => panic!("{line:?}: {parsed:?}"),
        }
    }

    #[test]
    fn what_may_be_submitted() {
        check(&["submit", "web", "--repo", "r", "--rev", REV], None);
        check(&["submit", "--all", "--repo", "r", "--ref", "master"], None);
        check(&["submit", "--all", "--repo", "r", "--ref", "a/b", "--rev", REV], None);
        check(&["submit", "--repo", "r", "--rev", REV], Some("required"));
        check(&["submit", "web", "--repo", "r"], Some("required"));
        check(&["submit", "web", "--rev", REV], Some("--repo"));
        check(&["submit", "web", "--all", "--repo", "r", "--rev", REV], Some("cannot be used"));
        check(&["submit", "web", "--repo", "r", "--rev", "abc"], Some("40 lowercase hex"));
        check(&["submit", "web", "--repo", "../x", "--rev", REV], Some("\"../x\""));
        check(&["submit", "$(id)", "--repo", "r", "--rev", REV], Some("'$'"));
        check(&["submit", "a b", "--repo", "r", "--rev", REV], Some("' '"));
        check(&["submit", "", "--repo", "r", "--rev", REV], Some("empty"));
        check(&["submit", &"x".repeat(300), "--repo", "r", "--rev", REV], Some("63 bytes"));
        check(&["submit", "--all", "--repo", "r", "--ref", "-x"], Some("ref"));
        check(&["submit", "--all", "--repo", "r", "--ref", "a..b"], Some("range"));
        check(&["submit", "--all", "--repo", "r", "--ref", "a", "--exclude", "["], Some("glob"));
        check(&["watch", "nope"], Some("uuid"));
        check(&["logs", "a.b.c"], Some("refused"));
        check(&["status", "--rev", REV], Some("--repo"));
    }

    #[test]
    fn bytes_that_are_no_text_are_refused_without_a_panic() {
        let host = std::ffi::OsStr::from_bytes(b"we\xffb").to_owned();
        let line =
            ["producer", "submit", "--repo", "r", "--rev", REV].map(std::ffi::OsString::from);
        let error = Cli::try_parse_from(line.into_iter().chain([host])).expect_err("no UTF-8");
        assert_eq!(error.exit_code(), 2);
    }
}
