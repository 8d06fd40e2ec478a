//! `producer dead`: what will not be tried again by itself, and what nobody could read.

use bus::{Bus, StoredLetter};
use proto::ExitCode;
use serde_json::json;

use crate::{again, context::Context, error::Error, outage::retried, render};

/// Below its help.
const EXAMPLES: &str = "\
Examples:
  producer dead list
  producer dead requeue 12 13";

/// Below the help of `list`.
const LIST: &str = "\
Examples:
  producer dead list
  producer dead list --json | jq -r '.[].job'";

/// Below the help of `show`.
const SHOW: &str = "\
Examples:
  producer dead show 12";

/// Below the help of `requeue`.
const REQUEUE: &str = "\
Examples:
  producer dead requeue 12 13";

/// Below the help of `drop`.
const DROP: &str = "\
Examples:
  producer dead drop 12 13";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List the dead letters, oldest first
    #[command(after_help = LIST)]
    List,
    /// Print all of one dead letter
    #[command(after_help = SHOW)]
    Show(Letter),
    /// Ask for the jobs again, under runs of their own, and drop the letters
    #[command(after_help = REQUEUE)]
    Requeue(Letters),
    /// Forget dead letters; what became of their jobs stays as it is
    #[command(after_help = DROP)]
    Drop(Letters),
}

#[derive(Debug, clap::Args)]
struct Letter {
    /// Its number, from `dead list`
    #[arg(value_name = "NUMBER")]
    number: u64,
}

#[derive(Debug, clap::Args)]
struct Letters {
    /// Their numbers, from `dead list`
    #[arg(value_name = "NUMBER", required = true)]
    numbers: Vec<u64>,
}

pub(crate) async fn run(args: Args, context: &mut Context<'_>) -> Result<ExitCode, Error> {
    let bus = context.connect().await?;
    match args.command {
        Command::List => {
            let letters = retried(|| bus.dead_letters()).await?;
            context.console.data(&match context.json {
                true => render::dead::json(&letters),
                false => render::dead::table(&letters, &context.page()),
            })?;
        }
        Command::Show(Letter { number }) => {
            let letter = known(&bus, number).await?;
            context.console.data(&match context.json {
                true => render::dead::json_of(&letter),
                false => render::dead::all_of(&letter),
            })?;
        }
        Command::Requeue(Letters { numbers }) => {
            for number in numbers {
                requeue(&bus, number, context).await?;
            }
        }
        Command::Drop(Letters { numbers }) => {
            for number in numbers {
                // Seen first: after a lost answer a drop that is tried again finds nothing.
                known(&bus, number).await?;
                retried(|| bus.drop_dead_letter(number)).await?;
                context.did(&format!("{number}: dropped"), &json!({ "number": number }))?;
            }
        }
    }
    bus.close().await;
    Ok(ExitCode::Done)
}

/// Asked first, dropped then: killed in between, the letter is there to be requeued again, and the
/// job that was asked for is joined.
async fn requeue(bus: &Bus, number: u64, context: &mut Context<'_>) -> Result<(), Error> {
    let letter = known(bus, number).await?;
    let Some(job) = &letter.job else { return Err(Error::NamesNoJob(number)) };
    let class = letter.asked().map(|asked| asked.class);
    let run = again::ask_for(bus, job, class).await?;
    retried(|| bus.drop_dead_letter(number)).await?;
    let line = format!("{number}: asked again for {}; `producer watch {}`", job.host, run.run);
    context.did(&line, &json!({ "number": number, "job": job, "run": run.run }))
}

async fn known(bus: &Bus, number: u64) -> Result<StoredLetter, Error> {
    retried(|| bus.dead_letter(number)).await?.ok_or(Error::UnknownLetter(number))
}
