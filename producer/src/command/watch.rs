//! `producer watch`: a run until every host has ended. It may be left and taken up at will.

use proto::{ExitCode, RunId};
use settings::Span;

use crate::{
    context::Context,
    error::Error,
    follow::{self, News},
    render::{self, Report},
    runs,
};

/// Below its help.
const EXAMPLES: &str = "\
Examples:
  producer watch 01a205c2-16b4-7095-a68f-a42b236999a4 --timeout 2h";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
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
    context.console.say(&render::text::announcement(&run));
    let (hosts, end) = follow::follow(&bus, &run, News::None, limit, context.console).await?;
    let report = Report::of_run(&run, &hosts);
    context.console.data(&match context.json {
        true => render::json::report(&report),
        false => render::text::report(&report, &context.page()),
    })?;
    follow::say_how_to_come_back(&run, end, context.console);
    bus.close().await;
    Ok(follow::exit_code(&hosts, end))
}
