//! `gate`: answers whether every expected host of a commit was built.
//!
//! What is expected comes from a recorded run or from the command line, what is so from the records
//! that only workers write. It asks for no build and guesses at nothing: what is missing is
//! undecided.

mod check;
#[cfg_attr(not(test), expect(dead_code, reason = "the loop around it comes next"))]
mod checkout;
mod cli;
mod config;
mod error;
pub mod forge;
#[cfg_attr(not(test), expect(dead_code, reason = "the loop around it comes next"))]
mod plan;
mod policy;
mod render;
mod verdict;

pub use cli::Cli;
pub use error::Error;

use proto::ExitCode;

use crate::{cli::Command, config::Config};

/// Carries out one command.
pub async fn run(cli: Cli) -> Result<ExitCode, Error> {
    let config = Config::load(cli.global.config_file())?;
    let endpoint = cli.global.endpoint(&config.nats);
    match cli.command {
        Command::Check(args) => {
            let bus = bus::Bus::connect(&endpoint).await?;
            check::run(args, &bus, &config, cli.global.json).await
        }
    }
}
