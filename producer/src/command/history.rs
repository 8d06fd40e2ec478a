//! `producer history`: what became of a host over its revisions.

use std::num::NonZeroUsize;

use proto::{ExitCode, Host, Repo};

use crate::{context::Context, error::Error, history, outage::retried, render, suggest};

/// Below its help.
const EXAMPLES: &str = "\
Examples:
  producer history web01 --repo nixos-servers
  producer history web01 --repo nixos-servers --json | jq -r .broken.first_bad";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The host: a name in nixosConfigurations
    #[arg(value_name = "HOST")]
    host: Host,
    /// Its repository, as the configs name it
    #[arg(long)]
    repo: Repo,
    /// How many revisions to show
    #[arg(long, value_name = "N", default_value = "20")]
    limit: NonZeroUsize,
}

pub(crate) async fn run(args: Args, context: &mut Context<'_>) -> Result<ExitCode, Error> {
    let Args { host, repo, limit } = args;
    let bus = context.connect().await?;
    let history = retried(|| history::read(&bus, &repo, &host)).await?;
    if history.past.is_empty() {
        let hint = retried(|| suggest::host(&bus, &repo, &host)).await?;
        return Err(Error::NoHistory { repo, host, hint });
    }
    let page = context.page();
    context.console.data(&match context.json {
        true => render::history::json(&history, limit.get()),
        false => render::history::text(&history, limit.get(), &page),
    })?;
    bus.close().await;
    Ok(ExitCode::Done)
}
