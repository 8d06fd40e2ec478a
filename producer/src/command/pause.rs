//! `producer pause` and `producer resume`: whether jobs of a class are handed out. What runs goes
//! on.

use std::time::Duration;

use bus::UNTIL_RESUMED;
use proto::{Class, ExitCode, event::ClassChange};
use serde_json::json;
use settings::Span;

use crate::{context::Context, error::Error, suggest};

/// Below its help.
const PAUSE: &str = "\
Examples:
  producer pause                                      all classes, until resumed
  producer pause x86_64-linux --for 2h";

/// Below its help.
const RESUME: &str = "\
Examples:
  producer resume x86_64-linux";

#[derive(Debug, clap::Args)]
#[command(after_help = PAUSE)]
pub(crate) struct Pause {
    /// Which classes; all of them by default
    #[arg(value_name = "CLASS")]
    classes: Vec<Class>,
    /// For how long; until `resume` by default
    #[arg(long = "for", value_name = "DURATION")]
    length: Option<Span>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = RESUME)]
pub(crate) struct Resume {
    /// Which classes; all of them by default
    #[arg(value_name = "CLASS")]
    classes: Vec<Class>,
}

pub(crate) async fn pause(args: Pause, context: &mut Context<'_>) -> Result<ExitCode, Error> {
    let length = args.length.map_or(UNTIL_RESUMED, |length| length.0);
    set(args.classes, Some(length), context).await
}

pub(crate) async fn resume(args: Resume, context: &mut Context<'_>) -> Result<ExitCode, Error> {
    set(args.classes, None, context).await
}

async fn set(
    mut classes: Vec<Class>,
    length: Option<Duration>,
    context: &mut Context<'_>,
) -> Result<ExitCode, Error> {
    let bus = context.connect().await?;
    if classes.is_empty() {
        classes = bus.classes().await?.into_iter().map(|(class, _)| class).collect();
    }
    // All of them first: a misspelt one must not leave the others changed.
    suggest::known_classes(&bus, &classes).await?;
    for class in classes {
        let changed = bus.pause(&class, length).await?;
        // `UNTIL_RESUMED` is a date only because the server wants one.
        let until = length.filter(|it| *it != UNTIL_RESUMED).map(|it| bus::clock::now().plus(it));
        let change = length.map_or(ClassChange::Resumed, |_| ClassChange::Paused { until });
        bus.tell_of_class(&class, change).await;
        let state = if length.is_some() { "paused" } else { "resumed" };
        let line = format!("{class}: {} consumers {state}", changed.len());
        context.did(&line, &json!({ "class": class, "state": state, "consumers": changed }))?;
    }
    bus.close().await;
    Ok(ExitCode::Done)
}
