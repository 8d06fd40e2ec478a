//! `producer retry`: asks again for the hosts of a run that were not built, under the same run, or
//! for one job, under a run of its own.

use bus::{Bus, ask_of};
use proto::{ExitCode, JobKey, RunId, Standing, event::RunChange, request::Ask};
use serde_json::json;

use crate::{
    again,
    context::Context,
    error::Error,
    outage::retried,
    runs, snapshot,
    target::{self, Target},
};

/// Below its help.
const EXAMPLES: &str = "\
Examples:
  producer retry --failed 01a205c2-16b4-7095-a68f-a42b236999a4
  producer retry nixos-servers.7aafed0b5a3c.web01";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Runs, or single jobs: <repo>.<revision>.<host>; the first 7 digits of a commit are enough
    #[arg(value_name = "RUN|JOB", required = true)]
    targets: Vec<Target>,
    /// Only hosts that failed for the flake's sake
    #[arg(long)]
    failed: bool,
}

pub(crate) async fn run(args: Args, context: &mut Context<'_>) -> Result<ExitCode, Error> {
    let job = args.targets.iter().find(|target| matches!(target, Target::Job(_)));
    if let (true, Some(Target::Job(name))) = (args.failed, job) {
        return Err(Error::FailedOfJob(name.to_string()));
    }
    let bus = context.connect().await?;
    for target in target::found(&bus, args.targets).await? {
        let run = match target {
            Target::Run(run) => match retry(&bus, run, args.failed, context).await? {
                true => run,
                false => {
                    context.console.say(&nothing_to_do(run, args.failed));
                    continue;
                }
            },
            Target::Job(job) => {
                let run = again::ask_for(&bus, &job, None).await?;
                said(&job, run.run, context)?;
                run.run
            }
        };
        context.console.say(&format!("follow it with `producer watch {run}`"));
    }
    bus.close().await;
    Ok(ExitCode::Done)
}

fn nothing_to_do(run: RunId, only_failed: bool) -> String {
    let what = match only_failed {
        true => "failed; without --failed, what is undecided or cancelled is asked for too",
        false => "ended without being built",
    };
    format!("run {run}: nothing to ask again for, no host of it {what}")
}

/// Asks again for hosts of a run; says whether there were any.
async fn retry(
    bus: &Bus,
    run: RunId,
    only_failed: bool,
    context: &mut Context<'_>,
) -> Result<bool, Error> {
    let run = runs::by_id(bus, run).await?;
    let hosts = retried(|| snapshot::of_run(bus, &run)).await?;
    let mut again_for = Vec::new();
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
            said(&status.job, run.run, context)?;
            again_for.push(status.job.host.clone());
        }
    }
    let any = !again_for.is_empty();
    if any {
        bus.tell_of_run(&run, RunChange::Retried { hosts: again_for }).await;
    }
    Ok(any)
}

fn said(job: &JobKey, run: RunId, context: &Context<'_>) -> Result<(), Error> {
    context.did(&format!("{}: asked again", job.host), &json!({ "job": job, "run": run }))
}
