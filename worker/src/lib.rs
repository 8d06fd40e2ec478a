//! Pulls build jobs and builds them with Nix.
//!
//! - [`machine`]: the pure heart, events in and effects out. Whoever wants to know when a message
//!   is acked reads it.
//! - [`event_loop`] turns sockets, timers, child exits and signals into events; `hands` carries
//!   the effects out; `teller`, `log_task`, `presence`, `sweeper` and `last_good` talk
//!   to the broker beside it.
//! - [`build`] is one attempt from commit to root; [`mirror`] and [`nix`] are its tools;
//!   [`log_sink`] takes its log in, [`log_pump`] makes chunks of it; [`supervise`] is the process
//!   between us and every child.
//! - `metrics` counts what passes, and serves it to Prometheus.
//! - [`run`] starts all this; [`broker`] is the private broker of `standalone`; [`service`] tells
//!   who started us that we are ready and alive.
//! - [`doctor`] looks at everything that a worker needs, and builds nothing.
//!
//! It never asks for a job on its own behalf, and writes no request.

pub mod admission;
mod attempts;
pub mod broker;
pub mod build;
pub mod cli;
pub mod config;
pub mod doctor;
pub mod error;
pub mod event_loop;
mod hands;
mod last_good;
pub mod log_pump;
pub mod log_sink;
mod log_task;
pub mod machine;
mod metrics;
pub mod mirror;
pub mod nix;
mod presence;
mod roots;
pub mod run;
pub mod service;
mod serving;
mod signals;
pub mod supervise;
mod sweeper;
mod teller;

use std::{ffi::OsString, io::Write as _, path::Path, process::ExitCode};

use options::Console;
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
    // The doctor's findings tell all that its log would.
    let quiet = matches!(cli.command, Command::Doctor { .. });
    let level = if quiet { LevelFilter::OFF } else { LevelFilter::INFO };
    let _telemetry = cli.voice.start("nbp-worker", level);
    match command(cli).await {
        Ok(code) => code.into(),
        Err(error) => {
            // Also under `-q`; and a stderr that is gone is no reason to end differently.
            let text = telemetry::plain_lines(&error.to_string());
            writeln!(std::io::stderr(), "worker: failed to {text}").ok();
            error.exit_code().into()
        }
    }
}

async fn command(cli: Cli) -> Result<proto::ExitCode, Error> {
    let console = Console::new(&cli.voice);
    match cli.command {
        Command::Doctor { config, nats, json } => {
            return doctor::run(Config::load(&config)?, &nats, json, &console).await;
        }
        Command::Run { config, nats, service } => {
            let config = Config::load(&config)?;
            run::run(config, &nats, &service, signals::stop_orders()?).await?;
        }
        Command::Standalone { config, data_dir, port, nats_server, service } => {
            let config = Config::load(&config)?;
            let data_dir = data_dir.unwrap_or_else(|| config.state_dir.join("broker"));
            let broker = BrokerConfig { data_dir, program: nats_server, port };
            run::standalone(config, broker, &service, signals::stop_orders()?).await?;
        }
        Command::Roots(cli::Roots::List { config, json }) => {
            roots::list(&Config::load(&config)?, json, &console)?;
        }
        Command::Roots(cli::Roots::Prune { config, dry_run, json }) => {
            roots::prune(&Config::load(&config)?, dry_run, json, &console).await?;
        }
        Command::Manual(manual) => {
            manual.tell::<Cli>(&console).map_err(Error::Output)?;
        }
        Command::CheckConfig { file, json } => check_config(&file, json, &console)?,
    }
    Ok(proto::ExitCode::Done)
}

/// Says what is wrong with a config file: as the error that it ends with, and as JSON if wanted.
fn check_config(file: &Path, json: bool, console: &Console) -> Result<(), Error> {
    let read = Config::load(file);
    if json {
        let object = checked(file, read.as_ref().err().map(ToString::to_string));
        console.data(&format!("{object}\n")).map_err(Error::Output)?;
    }
    read?;
    Ok(())
}

fn checked(file: &Path, error: Option<String>) -> serde_json::Value {
    serde_json::json!({ "file": file.display().to_string(), "error": error })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_config_is_told_to_programs_too() {
        let object = checked(Path::new("worker.toml"), Some("no such key".into()));
        options::check_documented("worker check-config", &object);
        assert_eq!(object["error"], "no such key");
        assert_eq!(checked(Path::new("x"), None)["error"], serde_json::Value::Null);
    }
}
