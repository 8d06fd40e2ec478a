//! `producer explain`: every attempt of a job, where its time went, and why it waits.

use flake::ListingError;
use proto::ExitCode;

use crate::{
    context::Context, error::Error, naming::JobName, outage::retried, render, story, suggest,
};

/// Below its help.
const EXAMPLES: &str = "\
Examples:
  producer explain nixos-servers.<revision>.web01
  producer explain nixos-servers.7aafed0b5a3c.web01   as tables print the commit
  producer status --repo nixos-servers --json | jq -r '.hosts[].job'   has the names of jobs";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The job: <repo>.<revision>.<host>; the first 7 digits of its commit are enough
    #[arg(value_name = "JOB")]
    job: JobName,
}

pub(crate) async fn run(args: Args, context: &mut Context<'_>) -> Result<ExitCode, Error> {
    let name = args.job;
    let class = context.config.class_of(&name.repo, &name.host).map_err(ListingError::HostClass)?;
    let bus = context.connect().await?;
    let job = name.find(&bus).await?;
    let Some(story) = retried(|| story::read(&bus, &job, &class)).await? else {
        return Err(suggest::unknown_job(&bus, &job).await);
    };
    let page = context.page();
    context.console.data(&match context.json {
        true => render::story::json(&story, page.now),
        false => render::story::text(&story, &page),
    })?;
    bus.close().await;
    Ok(ExitCode::Done)
}
