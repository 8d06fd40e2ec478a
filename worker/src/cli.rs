//! The command line of `worker`.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

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
    pub said: Said,
}

/// How much to say, and how.
#[derive(Debug, Args)]
pub struct Said {
    /// Say more; twice for everything.
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// Say less; twice for errors only.
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub quiet: u8,
    /// Colour the log.
    #[arg(long, global = true, value_enum, default_value_t = ColorChoice::Auto)]
    pub color: ColorChoice,
}

/// When to use colour.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
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
        nats: NatsArgs,
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
    },
    /// Read a config file and say what is wrong with it.
    CheckConfig {
        /// The config file (worker.toml).
        file: PathBuf,
    },
}

/// Where the broker is and who we are.
#[derive(Clone, Debug, Default, Args)]
pub struct NatsArgs {
    /// URL of the broker.
    #[arg(long, env = "NATS_URL")]
    pub nats_url: Option<String>,
    /// File with the NKey seed.
    #[arg(long, env = "NATS_NKEY")]
    pub nkey_file: Option<PathBuf>,
    /// PEM file of the broker's certificate authority.
    #[arg(long, env = "NATS_CA")]
    pub ca_file: Option<PathBuf>,
}

impl Said {
    /// Steps louder than usual.
    pub fn verbosity(&self) -> i8 {
        let count = |n: u8| i8::try_from(n).unwrap_or(i8::MAX);
        count(self.verbose).saturating_sub(count(self.quiet))
    }
}
