//! `producer cancel`: takes wishes away. A job is cancelled only when nobody wants it any more; what
//! runs is killed by its worker, which also writes the outcome.

use bus::Bus;
use proto::{ExitCode, Host, JobKey, RunId, RunRecord, event::RunChange};
use serde_json::json;

use crate::{context::Context, error::Error, outage::retried, runs, suggest, target::Target};

/// Below its help.
const EXAMPLES: &str = "\
Examples:
  producer cancel 01a205c2-16b4-7095-a68f-a42b236999a4
  producer cancel nixos-servers.<revision>.web01";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Runs whose wishes are taken away, or jobs that nobody is to want any more
    #[arg(value_name = "RUN|JOB", required = true)]
    targets: Vec<Target>,
}

pub(crate) async fn run(args: Args, context: &mut Context<'_>) -> Result<ExitCode, Error> {
    let bus = context.connect().await?;
    for target in args.targets {
        match target {
            Target::Run(run) => of_run(&bus, run, context).await?,
            Target::Job(job) => of_job(&bus, &job, context).await?,
        }
    }
    bus.close().await;
    Ok(ExitCode::Done)
}

async fn of_run(bus: &Bus, id: RunId, context: &Context<'_>) -> Result<(), Error> {
    let run = runs::by_id(bus, id).await?;
    let mut hosts = Vec::new();
    for (job, _) in run.jobs() {
        let wished = retried(|| bus.withdraw(&job, id, None)).await?;
        let left = retried(|| wishes(bus, &job)).await?.unwrap_or_default().len();
        let withdrawn: Vec<RunId> = wished.then_some(id).into_iter().collect();
        let object = json!({ "job": job, "withdrawn": withdrawn, "wanted_by": left });
        context.did(&said(&job, wished, left), &object)?;
        hosts.extend(wished.then_some(job.host));
    }
    tell(bus, &run, hosts).await;
    Ok(())
}

/// Takes every run's wish away.
async fn of_job(bus: &Bus, job: &JobKey, context: &Context<'_>) -> Result<(), Error> {
    let Some(wanted) = retried(|| wishes(bus, job)).await? else {
        return Err(suggest::unknown_job(bus, job).await);
    };
    for id in &wanted {
        let wished = retried(|| bus.withdraw(job, *id, None)).await?;
        // A run that is forgotten has nobody to tell of it.
        if let (true, Some(run)) = (wished, retried(|| bus.find_run(*id)).await?) {
            tell(bus, &run, vec![job.host.clone()]).await;
        }
    }
    let runs: Vec<String> = wanted.iter().map(ToString::to_string).collect();
    let line = match runs.is_empty() {
        true => format!("{}: nobody wants it", job.host),
        false => format!("{}: cancelled, unless it has ended ({})", job.host, runs.join(", ")),
    };
    context.did(&line, &json!({ "job": job, "withdrawn": runs, "wanted_by": 0 }))
}

async fn tell(bus: &Bus, run: &RunRecord, hosts: Vec<Host>) {
    if !hosts.is_empty() {
        bus.tell_of_run(run, RunChange::Cancelled { hosts }).await;
    }
}

/// The runs that want a job; none when it was never asked for.
async fn wishes(bus: &Bus, job: &JobKey) -> Result<Option<Vec<RunId>>, bus::Error> {
    let request = bus.requests().get(&job.to_string()).await?.value;
    Ok(request.map(|request| request.wanted_by.into_keys().collect()))
}

/// What became of one host of the run.
fn said(job: &JobKey, wished: bool, others: usize) -> String {
    let host = &job.host;
    match (wished, others) {
        (false, _) => format!("{host}: this run does not want it"),
        (true, 0) => format!("{host}: cancelled, unless it has ended"),
        (true, n) => format!("{host}: goes on, {n} more want it"),
    }
}
