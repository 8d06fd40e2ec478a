//! `producer queue`: what waits, for how long, and who could build it.

use bus::LaneState;
use proto::{Class, ExitCode, topology::CLASSES_DEFAULT};
use settings::did_you_mean;

use crate::{
    context::Context,
    error::Error,
    outage::retried,
    queue::{self, ClassView, QueueView},
    render,
};

/// Below its help.
const EXAMPLES: &str = "\
Examples:
  producer queue
  producer queue x86_64-linux --json";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Only these classes
    #[arg(value_name = "CLASS")]
    classes: Vec<Class>,
}

pub(crate) async fn run(args: Args, context: &mut Context<'_>) -> Result<ExitCode, Error> {
    let bus = context.connect().await?;
    let classes: Vec<Class> = match args.classes.is_empty() {
        true => CLASSES_DEFAULT.iter().filter_map(|class| class.parse().ok()).collect(),
        false => args.classes.clone(),
    };
    let around = retried(|| async {
        let mut around = stand::around::read(&bus, classes.iter().cloned()).await?;
        queue::only_wanted(&bus, &mut around).await?;
        Ok(around)
    });
    let around = around.await?;
    let mut view = QueueView::of(&around);
    if !args.classes.is_empty() {
        for class in view.classes.iter().filter(|it| args.classes.contains(&it.class)) {
            if let Some(note) = not_set_up(class, &view) {
                context.console.say(&note);
            }
        }
        view.classes.retain(|it| args.classes.contains(&it.class));
    }
    let page = context.page();
    context.console.data(&match context.json {
        true => render::queue::json(&view, page.now),
        false => render::queue::text(&view, &page),
    })?;
    bus.close().await;
    Ok(ExitCode::Done)
}

/// Of a class that was asked for and that nobody set up: a class that may have been meant.
fn not_set_up(asked: &ClassView, view: &QueueView) -> Option<String> {
    let is_set_up = |it: &ClassView| it.lanes.iter().any(|it| it.state != LaneState::Missing);
    let known = view.classes.iter().filter(|it| is_set_up(it)).map(|it| it.class.as_str());
    let hint = did_you_mean(asked.class.as_str(), known);
    (!is_set_up(asked)).then(|| format!("class {} is not set up{hint}", asked.class))
}
