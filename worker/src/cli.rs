//! The command line of `worker`.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use options::{Broker, Voice};

use crate::service::ServiceArgs;

/// Pulls build jobs and builds them with Nix.
///
/// Exit codes: 0 done, 2 wrong usage or configuration, 3 the broker cannot be reached.
#[derive(Debug, Parser)]
#[command(name = "worker", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// How much to say.
    #[command(flatten)]
    pub voice: Voice,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Build jobs until told to stop: SIGTERM finishes what is running, a second one ends at once.
    Run {
        /// The config file (worker.toml).
        #[arg(long)]
        config: PathBuf,
        /// Where the broker is; overrides the config file.
        #[command(flatten)]
        nats: Broker,
        /// Where the service manager listens.
        #[command(flatten)]
        service: ServiceArgs,
    },
    /// Like `run`, with a private nats-server as a child: for one machine and no broker.
    Standalone {
        /// The config file (worker.toml); its `nats` table is not used.
        #[arg(long)]
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
    /// Read a config file and say what is wrong with it.
    CheckConfig {
        /// The config file (worker.toml).
        file: PathBuf,
    },
}
