//! `producer`: asks the pool for builds and shows what became of them.
//!
//! It writes wishes and runs, and reads everything else. It never writes a fact about a job, and it
//! never builds: what it knows of a flake are the names and systems of its hosts.

mod again;
mod broker_file;
mod cli;
mod command;
mod config;
mod context;
mod dashboard;
mod error;
mod events;
mod expected;
mod figures;
mod follow;
mod history;
mod naming;
mod outage;
mod progress;
mod queue;
mod render;
mod runs;
mod snapshot;
mod story;
mod suggest;
mod supersede;
mod tail;
mod target;
mod workers;

pub use cli::Cli;
pub use error::Error;

use options::Console;
use proto::ExitCode;

use crate::{
    cli::{Command, Top},
    context::Context,
};

/// Carries out one command. The exit code of a command that worked still tells what it found.
pub async fn run(cli: Cli, console: &mut Console) -> Result<ExitCode, Error> {
    let command = match cli.command {
        Top::Manual(manual) => {
            manual.tell::<Cli>(console)?;
            return Ok(ExitCode::Done);
        }
        Top::Pool(command) => command,
    };
    let mut context = Context::new(cli.global, console)?;
    match command {
        Command::Setup(args) => command::setup::run(args, &mut context).await,
        Command::Keys(args) => command::keys::run(args, &mut context),
        Command::Submit(args) => command::submit::run(args, &mut context).await,
        Command::Status(args) => command::status::run(args, &mut context).await,
        Command::Watch(args) => command::watch::run(args, &mut context).await,
        Command::Logs(args) => command::logs::run(args, &mut context).await,
        Command::LastGood(args) => command::last_good::run(args, &mut context).await,
        Command::History(args) => command::history::run(args, &mut context).await,
        Command::Explain(args) => command::explain::run(args, &mut context).await,
        Command::Queue(args) => command::queue::run(args, &mut context).await,
        Command::Workers(args) => command::workers::run(args, &mut context).await,
        Command::Events(args) => command::events::run(args, &mut context).await,
        Command::Cancel(args) => command::cancel::run(args, &mut context).await,
        Command::Retry(args) => command::retry::run(args, &mut context).await,
        Command::Dashboard(args) => command::dashboard::run(args, &mut context).await,
        Command::Dead(args) => command::dead::run(args, &mut context).await,
        Command::Pause(args) => command::pause::pause(args, &mut context).await,
        Command::Resume(args) => command::pause::resume(args, &mut context).await,
    }
}
