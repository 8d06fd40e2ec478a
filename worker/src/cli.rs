//! The command line of `worker`.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use options::{Broker, Manual, Voice};

use crate::service::ServiceArgs;

/// Below the program's help.
const EXAMPLES: &str = "\
Examples:
  worker check-config /etc/nix-build-pool/worker.toml
  worker run --config /etc/nix-build-pool/worker.toml
  worker standalone --config worker.toml              with a broker of its own, for one machine

SIGTERM finishes what is running, within [worker] drain_timeout; a second one ends at once.";

/// Where help has what is not about the one command.
const GLOBAL: &str = "Global options";

/// Pulls build jobs and builds them with Nix.
#[derive(Debug, Parser)]
#[command(name = "worker", version, max_term_width = 100, after_help = options::help(EXAMPLES))]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// How much to say.
    #[command(flatten, next_help_heading = GLOBAL)]
    pub voice: Voice,
}

/// Below the help of `run`.
const RUN: &str = "\
Examples:
  worker run --config /etc/nix-build-pool/worker.toml
  worker run --config worker.toml --nats-url tls://nats1.example.org:4222 --nkey-file worker.nk";

/// Below the help of `standalone`.
const STANDALONE: &str = "\
Examples:
  worker standalone --config worker.toml
  worker standalone --config worker.toml --data-dir /var/lib/nix-build-pool/broker --port 0";

/// Below the help of `check-config`.
const CHECK_CONFIG: &str = "\
Examples:
  worker check-config /etc/nix-build-pool/worker.toml
  worker check-config worker.toml --json | jq -r .error";

/// Below the help of `doctor`.
const DOCTOR: &str = "\
Examples:
  worker doctor --config /etc/nix-build-pool/worker.toml
  worker doctor --config worker.toml --json | jq '.findings[] | select(.level == \"problem\")'

Exit codes:
  0  all is well, perhaps with warnings
  2  something is set wrongly
  3  nothing is, but something did not answer, so that it is not known";

/// Below the help of `roots`.
const ROOTS: &str = "\
Examples:
  worker roots list --config /etc/nix-build-pool/worker.toml
  worker roots prune --dry-run --config /etc/nix-build-pool/worker.toml";

/// Below the help of `roots list`.
const ROOTS_LIST: &str = "\
Examples:
  worker roots list --config /etc/nix-build-pool/worker.toml
  worker roots list --config worker.toml --json | jq -r '.[].out_path'";

/// Below the help of `roots prune`.
const ROOTS_PRUNE: &str = "\
Examples:
  worker roots prune --dry-run --config /etc/nix-build-pool/worker.toml
  sudo -u nix-build-pool worker roots prune --config /etc/nix-build-pool/worker.toml";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Build jobs until told to stop: SIGTERM finishes what is running, a second one ends at once.
    #[command(after_help = RUN)]
    Run {
        /// The config file (worker.toml).
        #[arg(long, env = "NBP_WORKER_CONFIG", value_name = "FILE")]
        config: PathBuf,
        /// Where the broker is; overrides the config file.
        #[command(flatten, next_help_heading = GLOBAL)]
        nats: Broker,
        /// Where the service manager listens.
        #[command(flatten)]
        service: ServiceArgs,
    },
    /// Like `run`, with a private nats-server as a child: for one machine and no broker.
    #[command(after_help = STANDALONE)]
    Standalone {
        /// The config file (worker.toml); its `nats` table is not used.
        #[arg(long, env = "NBP_WORKER_CONFIG", value_name = "FILE")]
        config: PathBuf,
        /// Where the broker keeps its data [default: `broker` in the worker's state folder].
        #[arg(long)]
        data_dir: Option<PathBuf>,
        /// Loopback port of the broker; 0 lets it choose one, which it writes to DATA_DIR/nats-url.
        #[arg(long, default_value_t = 4222)]
        port: u16,
        /// The nats-server program.
        #[arg(long, default_value = "nats-server")]
        nats_server: PathBuf,
        /// Where the service manager listens.
        #[command(flatten)]
        service: ServiceArgs,
    },
    /// What keeps results in the store.
    #[command(subcommand, after_help = ROOTS)]
    Roots(Roots),
    /// Read a config file and say what is wrong with it.
    #[command(after_help = CHECK_CONFIG)]
    CheckConfig {
        /// The config file (worker.toml).
        #[arg(env = "NBP_WORKER_CONFIG", value_name = "FILE")]
        file: PathBuf,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Look at everything that a worker needs, and say what is wrong and what mends it.
    ///
    /// Nix, its settings and its daemon, room in the store and for the kept generations, the
    /// broker, each right of a worker there, streams and clocks, the repositories, the cache, and
    /// who may read the secrets. Run it as the worker's user, with the worker's environment. It
    /// takes no job and changes nothing: an empty folder is built, pushed to the cache and deleted
    /// again (from a cache over http or s3 nothing can be deleted; there some hundred bytes stay).
    #[command(after_help = DOCTOR)]
    Doctor {
        /// The config file (worker.toml).
        #[arg(long, env = "NBP_WORKER_CONFIG", value_name = "FILE")]
        config: PathBuf,
        /// Where the broker is; overrides the config file.
        #[command(flatten, next_help_heading = GLOBAL)]
        nats: Broker,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// What tells of the program.
    #[command(flatten)]
    Manual(Manual),
}

/// What is done with roots.
#[derive(Debug, Subcommand)]
pub enum Roots {
    /// Show every root, and what becomes of it
    #[command(after_help = ROOTS_LIST)]
    List {
        /// The config file (worker.toml).
        #[arg(long, env = "NBP_WORKER_CONFIG", value_name = "FILE")]
        config: PathBuf,
        /// Print JSON instead of text
        #[arg(long)]
        json: bool,
    },
    /// Remove roots that are of no use any more, keep what has landed as a generation, and show both;
    /// `worker run` does so by itself
    #[command(after_help = ROOTS_PRUNE)]
    Prune {
        /// The config file (worker.toml).
        #[arg(long, env = "NBP_WORKER_CONFIG", value_name = "FILE")]
        config: PathBuf,
        /// Only show them
        #[arg(long)]
        dry_run: bool,
        /// Print JSON instead of text
        #[arg(long)]
        json: bool,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_examples_and_each_of_them_can_be_typed() {
        options::check_examples::<Cli>(7);
    }
}
