//! `producer retry`: asks again for the hosts of a run that were not built, under the same run, or
//! for one job, under a run of its own.

use bus::{Bus, ask_of};
use proto::{ExitCode, RunId, Standing, request::Ask};

use crate::{
    again, context::Context, error::Error, outage::retried, runs, snapshot, target::Target,
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Runs, or single jobs
    #[arg(value_name = "RUN|JOB", required = true)]
    targets: Vec<Target>,
    /// Only hosts that failed for the flake's sake
    #[arg(long)]
    failed: bool,
}

pub(crate) async fn run(args: Args, context: &mut Context<'_>) -> Result<ExitCode, Error> {
    let bus = context.connect().await?;
    for target in args.targets {
        let run = match target {
            Target::Run(run) => {
                retry(&bus, run, args.failed, context).await?;
                run
            }
            Target::Job(job) if args.failed => return Err(Error::FailedOfJob(job)),
            Target::Job(job) => {
                let run = again::ask_for(&bus, &job, None).await?;
                context.console.data(&format!("{}: asked again\n", job.host))?;
                run.run
            }
        };
        context.console.say(&format!("follow it with `producer watch {run}`"));
    }
    bus.close().await;
    Ok(ExitCode::Done)
}

async fn retry(
    bus: &Bus,
    run: RunId,
    only_failed: bool,
    context: &mut Context<'_>,
) -> Result<(), Error> {
    let run = runs::by_id(bus, run).await?;
    let jobs: Vec<_> = run.jobs().map(|(job, class)| (job, class.clone())).collect();
    let hosts = retried(|| snapshot::read(bus, jobs.clone(), &[])).await?;
    for status in &hosts {
        let again = match status.outcome().map(proto::Outcome::standing) {
            Some(Standing::Fail) => true,
            Some(Standing::Undecided | Standing::Cancelled) => !only_failed,
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
    Ok(())
}
