//! The command line: the same global options as `producer`, and the tree of commands. This is the
//! only place that sees the environment.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

use bus::Endpoint;
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use proto::ExitCode;
use settings::{NatsTable, Span};
use telemetry::Color;

use crate::check;

/// Decides whether a commit may land: only when every expected host of it was built.
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
    nats_url: Option<String>,
    /// File with the NKey seed
    #[arg(long, env = "NATS_NKEY", global = true, value_name = "FILE")]
    nkey_file: Option<PathBuf>,
    /// PEM file of the authority that signed the broker's certificate
    #[arg(long, env = "NATS_CA", global = true, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Config file (TOML: [nats], [repos.<name>], [gate])
    #[arg(long, env = "NBP_CONFIG", global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How long to try to reach the broker
    #[arg(long, global = true, default_value = "10s", value_name = "DURATION")]
    patience: Span,
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
    /// Read the results of a commit and give the verdict: 0 pass, 1 fail, 3 undecided
    Check(check::Args),
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
        let color = match self.color {
            When::Auto => Color::Auto,
            When::Always => Color::Always,
            When::Never => Color::Never,
        };
        telemetry::init(tracing::level_filters::LevelFilter::WARN, verbosity, color);
    }

    /// The config file, if there is one.
    pub(crate) fn config_file(&self) -> Option<&Path> {
        // An empty variable is how a shell unsets one for a child.
        self.config.as_deref().filter(|path| !path.as_os_str().is_empty())
    }

    /// The broker: the command line and the environment win over the file.
    pub(crate) fn endpoint(&self, file: &NatsTable) -> Endpoint {
        let path = |path: &Option<PathBuf>, else_path: &Option<PathBuf>| {
            let path = path.clone().filter(|path| !path.as_os_str().is_empty());
            path.or_else(|| else_path.clone())
        };
        let url = self.nats_url.clone().filter(|url| !url.is_empty()).or(file.url.clone());
        Endpoint {
            url: url.unwrap_or_else(|| bus::URL_DEFAULT.into()),
            nkey_file: path(&self.nkey_file, &file.nkey_file),
            ca_file: path(&self.ca_file, &file.ca_file),
            name: "gate".into(),
            patience: Some(self.patience.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    const REV: &str = "0123456789abcdef0123456789abcdef01234567";
    const RUN: &str = "0190f0d4-0000-7000-8000-000000000001";

    #[track_caller]
    fn check(line: &[&str], refused: Option<&str>) {
        let parsed = Cli::try_parse_from(["gate", "check"].iter().chain(line));
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
    fn what_may_be_checked() {
        Cli::command().debug_assert();
        check(&["--repo", "r", "--rev", REV, "--run", RUN], None);
        check(&["--repo", "r", "--rev", REV, "--hosts", "a,b"], None);
        check(&["--repo", "r", "--rev", REV], Some("required"));
        check(&["--repo", "r", "--rev", REV, "--hosts", ""], Some("empty"));
        check(&["--repo", "r", "--rev", REV, "--hosts", "a,../b"], Some("refused"));
        check(&["--repo", "r", "--rev", REV, "--hosts", "a", "--run", RUN], Some("cannot be used"));
        check(&["--repo", "r", "--rev", "master", "--hosts", "a"], Some("40 lowercase hex"));
        check(&["--rev", REV, "--hosts", "a"], Some("--repo"));
    }
}
