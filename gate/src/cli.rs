//! The command line: global options and the tree of commands. This is the
//! only place that sees the environment.

use std::path::{Path, PathBuf};

use bus::Endpoint;
use clap::{Args, Parser, Subcommand};
use options::{Broker, Manual, Voice};
use settings::{NatsTable, Span};

use crate::{
    command::{check, resume, run, status},
    config::Config,
    failing::Failing,
};

/// Below the program's help.
const EXAMPLES: &str = "\
Examples:
  gate run --repo nixos-servers                       update flake.lock, land it or say why not
  gate run --repo nixos-servers --branch fix-db01     land a branch of somebody
  gate resume                                         go on with what did not end
  gate status
  gate check --repo nixos-servers --rev SHA --hosts web01,db01 --json";

/// Lands a commit only when every expected host of exactly that commit was built.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, after_help = options::help(EXAMPLES))]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub(crate) command: Top,
}

/// What needs the pool, and what needs nothing.
#[derive(Debug, Subcommand)]
pub(crate) enum Top {
    #[command(flatten)]
    Pool(Command),
    #[command(flatten)]
    Manual(Manual),
}

/// Options of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    #[command(flatten)]
    broker: Broker,
    /// Config file (TOML: [nats], [repos.<name>], [gate])
    #[arg(long, env = "NBP_CONFIG", global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How long to try to reach the broker
    #[arg(long, global = true, default_value = "10s", value_name = "DURATION")]
    patience: Span,
    /// Print JSON instead of text
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// How much to say.
    #[command(flatten)]
    pub voice: Voice,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Read the results of a commit and give the verdict: 0 pass, 1 fail, 3 undecided
    Check(check::Args),
    /// Update flake.lock and land it when every host was built; else say on the forge why not
    Run(run::Args),
    /// Go on with the runs that did not end
    Resume(resume::Args),
    /// Show the newest run of each branch
    Status(status::Args),
}

impl Command {
    /// Whom to tell if it fails. The runs that `resume` goes on with are told of one by one.
    pub(crate) fn failing(&self, config: &Config) -> Option<Failing> {
        match self {
            Self::Check(args) => args.failing(),
            Self::Run(args) => args.failing(config),
            Self::Resume(_) | Self::Status(_) => None,
        }
    }
}

impl Global {
    /// The config file, if there is one.
    pub(crate) fn config_file(&self) -> Option<&Path> {
        options::given(self.config.as_deref())
    }

    /// The broker, with what the command line does not say taken from the file.
    pub(crate) fn endpoint(&self, file: &NatsTable) -> Endpoint {
        self.broker.endpoint(file, "gate", Some(self.patience.0))
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

    #[test]
    fn every_command_has_examples_and_each_of_them_can_be_typed() {
        options::check_examples::<Cli>(8);
    }
}
