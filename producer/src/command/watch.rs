//! `producer watch`: a run until every host has ended. It may be left and taken up at will.

use proto::{ExitCode, RunId};
use settings::Span;

use crate::{
    context::Context,
    error::Error,
    follow,
    render::{self, Report},
    runs,
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The run
    #[arg(value_name = "RUN")]
    run: RunId,
    /// How long to watch; for ever by default
    #[arg(long, value_name = "DURATION")]
    timeout: Option<Span>,
}

pub(crate) async fn run(args: Args, context: &mut Context<'_>) -> Result<ExitCode, Error> {
    let bus = context.connect().await?;
    let run = runs::by_id(&bus, args.run).await?;
    let limit = args.timeout.map(|limit| limit.0);
    let (hosts, end) = follow::follow(&bus, &run, limit, context.console).await?;
    let report = Report::of_run(&run, &hosts);
    let render = if context.json { render::json::report } else { render::text::report };
    context.console.data(&render(&report))?;
    bus.close().await;
    Ok(follow::exit_code(&hosts, end))
}
