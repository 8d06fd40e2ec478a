//! `producer events`: what happened, and what happens.

use std::num::NonZeroU64;

use proto::{ExitCode, subject};

use crate::{
    context::Context,
    error::Error,
    events::{Next, Reader},
    outage::retried,
    render,
};

/// Below its help.
const EXAMPLES: &str = "\
Examples:
  producer events -f
  producer events --since 2h --filter 'job.finished.>'
  producer events -f --json --after 4711              goes on behind the last one seen";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Go on with what comes; without --since or --after only with that
    #[arg(short, long)]
    follow: bool,
    /// Only events on these subjects: * is one word, > the rest [default: >]
    #[arg(long, value_name = "SUBJECT", value_parser = render::events::filter)]
    filter: Option<String>,
    /// Only those of so long ago or later, or from a date on
    #[arg(long, value_name = "WHEN", conflicts_with = "after")]
    since: Option<String>,
    /// Only those behind this one: the `sequence` of the last one that was seen
    #[arg(long, value_name = "SEQUENCE")]
    after: Option<NonZeroU64>,
}

pub(crate) async fn run(args: Args, context: &mut Context<'_>) -> Result<ExitCode, Error> {
    let page = context.page();
    let since = args.since.as_deref().map(|text| render::events::since(text, page.now));
    let since = since.transpose().map_err(Error::Since)?;
    let bus = context.connect().await?;
    let from = match (args.after, since) {
        (Some(after), _) => after.get().saturating_add(1),
        (None, Some(since)) => retried(|| bus.events_since(since)).await?,
        (None, None) if args.follow => retried(|| bus.events_end()).await?,
        (None, None) => 1,
    };
    let filter = args.filter.as_deref().unwrap_or(subject::EVENT_ALL);
    if let Some(note) = render::events::matches_nothing(filter) {
        context.console.say(&note);
    }
    let (json, console) = (context.json, &*context.console);
    let show = |next: Next| -> Result<(), Error> {
        let line = if json { render::events::json(&next) } else { render::events::text(&next) };
        Ok(console.stream(&line)?)
    };
    let mut reader = Reader::new(&bus, filter, from);
    if args.follow {
        reader.follow(show, |line| console.say(line)).await?;
    } else {
        while let Some(next) = reader.next().await? {
            show(next)?;
        }
    }
    bus.close().await;
    Ok(ExitCode::Done)
}
