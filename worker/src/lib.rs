//! Pulls build jobs and builds them with Nix.
//!
//! - [`machine`]: the pure heart, events in and effects out. Whoever wants to know when a message
//!   is acked reads it.
//! - [`event_loop`] turns sockets, timers, child exits and signals into events; `hands` carries
//!   the effects out; `teller`, `log_task`, `presence`, `sweeper` and `last_good` talk
//!   to the broker beside it.
//! - [`build`] is one attempt from commit to root; [`mirror`] and [`nix`] are its tools;
//!   [`log_pump`] makes chunks of its log; [`supervise`] is the process between us and every child.
//! - [`run`] starts all this; [`broker`] is the private broker of `standalone`; [`service`] tells
//!   who started us that we are ready and alive.
//!
//! It never asks for a job on its own behalf, and writes no request.

pub mod admission;
mod attempts;
pub mod broker;
pub mod build;
pub mod cli;
pub mod config;
pub mod error;
pub mod event_loop;
mod hands;
mod last_good;
pub mod log_pump;
mod log_task;
pub mod machine;
pub mod mirror;
pub mod nix;
mod presence;
pub mod run;
pub mod service;
mod serving;
mod signals;
pub mod supervise;
mod sweeper;
mod teller;

use std::{ffi::OsString, io::Write as _, process::ExitCode};

use tracing::level_filters::LevelFilter;

use self::{
    broker::BrokerConfig,
    cli::{Cli, Command},
    config::Config,
    error::Error,
};

/// Runs the command line and gives the exit code.
pub async fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli: Cli = match options::parse(args) {
        Ok(cli) => cli,
        Err(code) => return code.into(),
    };
    let _telemetry = cli.voice.start("nbp-worker", LevelFilter::INFO);
    match command(cli.command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Also under `-q`; and a stderr that is gone is no reason to end differently.
            let text = telemetry::plain_lines(&error.to_string());
            writeln!(std::io::stderr(), "worker: failed to {text}").ok();
            error.exit_code().into()
        }
    }
}

async fn command(command: Command) -> Result<(), Error> {
    match command {
        Command::Run { config, nats, service } => {
            let config = Config::load(&config)?;
            run::run(config, &nats, &service, signals::stop_orders()?).await
        }
        Command::Standalone { config, data_dir, port, nats_server, service } => {
            let config = Config::load(&config)?;
            let data_dir = data_dir.unwrap_or_else(|| config.state_dir.join("broker"));
            let broker = BrokerConfig { data_dir, program: nats_server, port };
            run::standalone(config, broker, &service, signals::stop_orders()?).await
        }
        Command::CheckConfig { file } => Config::load(&file).map(drop).map_err(Error::from),
    }
}
