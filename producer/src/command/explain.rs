//! `producer explain`: every attempt of a job, where its time went, and why it waits.

use flake::ListingError;
use proto::{ExitCode, JobKey};

use crate::{context::Context, error::Error, outage::retried, render, story, suggest};

/// Below its help.
const EXAMPLES: &str = "\
Examples:
  producer explain nixos-servers.<revision>.web01
  producer status --repo nixos-servers --json | jq -r '.hosts[].job'   has the names of jobs";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The job: <repo>.<revision>.<host>
    #[arg(value_name = "JOB")]
    job: JobKey,
}

pub(crate) async fn run(args: Args, context: &mut Context<'_>) -> Result<ExitCode, Error> {
    let job = args.job;
    let class = context.config.class_of(&job.repo, &job.host).map_err(ListingError::HostClass)?;
    let bus = context.connect().await?;
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
