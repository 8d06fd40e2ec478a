//! `producer workers`: who is there, and what each one has in its hands.

use proto::ExitCode;

use crate::{context::Context, error::Error, outage::retried, render, workers};

/// Below its help.
const EXAMPLES: &str = "\
Examples:
  producer workers
  producer workers --json | jq -r '.workers[] | select(.state == \"paused\") | .worker'";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {}

pub(crate) async fn run(_: Args, context: &mut Context<'_>) -> Result<ExitCode, Error> {
    let bus = context.connect().await?;
    let workers = retried(|| workers::read(&bus)).await?;
    let page = context.page();
    context.console.data(&match context.json {
        true => render::workers::json(&workers, page.now),
        false => render::workers::text(&workers, &page),
    })?;
    bus.close().await;
    Ok(ExitCode::Done)
}
