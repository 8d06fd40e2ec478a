//! `producer retry`: asks again for the hosts of a run that were not built, under the same run.

use bus::ask_of;
use proto::{ExitCode, RunId, Standing, request::Ask};

use crate::{context::Context, error::Error, outage::retried, runs, snapshot};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The run
    #[arg(value_name = "RUN")]
    run: RunId,
    /// Only hosts that failed for the flake's sake
    #[arg(long)]
    failed: bool,
}

pub(crate) async fn run(args: Args, context: &mut Context<'_>) -> Result<ExitCode, Error> {
    let bus = context.connect().await?;
    let run = runs::by_id(&bus, args.run).await?;
    let jobs: Vec<_> = run.jobs().map(|(job, class)| (job, class.clone())).collect();
    let hosts = retried(|| snapshot::read(&bus, jobs.clone(), &[])).await?;
    for status in &hosts {
        let again = match status.outcome().map(proto::Outcome::standing) {
            Some(Standing::Fail) => true,
            Some(Standing::Undecided | Standing::Cancelled) => !args.failed,
            // Built, or on its way.
            Some(Standing::Pass) | None => false,
        };
        if again {
            let ask = Ask { retry: true, ..ask_of(&run, &status.class) };
            let asked = retried(|| bus.ask(&status.job, &ask)).await?;
            tracing::info!(job = %status.job, ?asked, "asked again");
            context.console.data(&format!("{}: asked again\n", status.job.host))?;
        }
    }
    context.console.say(&format!("follow it with `producer watch {}`", run.run));
    bus.close().await;
    Ok(ExitCode::Done)
}
