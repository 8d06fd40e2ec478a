//! `gate`: lands a commit when every expected host of it was built, and explains one that is not
//! landed.
//!
//! What is expected is recorded before any result is read, what is so stands in records that only
//! workers write, and a missing answer is never a pass. `plan` decides, `steps` does, `engine`
//! keeps the two going from one record to the next.

mod cache;
mod checkout;
mod cli;
mod command;
mod config;
mod engine;
mod error;
mod failing;
mod figures;
pub mod forge;
mod landing;
mod lease;
mod lock;
mod plan;
mod policy;
mod pool;
mod render;
mod report;
mod steps;
mod told;
mod update;
mod verdict;
mod watching;

pub use cli::Cli;
pub use error::Error;

use options::Console;
use proto::ExitCode;

use crate::{
    cli::{Command, Global, Top},
    config::Config,
};

/// Carries out one command.
pub async fn run(cli: Cli, console: &Console) -> Result<ExitCode, Error> {
    let command = match cli.command {
        Top::Manual(manual) => {
            manual.tell::<Cli>(console)?;
            return Ok(ExitCode::Done);
        }
        Top::Pool(command) => command,
    };
    let config = Config::load(cli.global.config_file())?;
    let failing = command.failing(&config);
    let done = carried_out(command, &cli.global, &config, console).await;
    if let (Err(error), Some(failing)) = (&done, failing) {
        failing.tell(error, console).await;
    }
    done
}

async fn carried_out(
    command: Command,
    global: &Global,
    config: &Config,
    console: &Console,
) -> Result<ExitCode, Error> {
    let bus = bus::Bus::connect(&global.endpoint(&config.nats)).await?;
    let json = global.json;
    match command {
        Command::Check(args) => command::check::run(args, &bus, config, console, json).await,
        Command::Run(args) => command::run::run(args, &bus, config, console, json).await,
        Command::Resume(args) => command::resume::run(args, &bus, config, console, json).await,
        Command::Status(args) => command::status::run(args, &bus, config, console, json).await,
    }
}
