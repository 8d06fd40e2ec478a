//! `producer cancel`: takes wishes away. A job is cancelled only when nobody else wants it; what
//! runs is killed by its worker, which also writes the outcome.

use proto::{ExitCode, JobKey, RunId};

use crate::{context::Context, error::Error, outage::retried, runs};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The runs whose wishes are taken away
    #[arg(value_name = "RUN", required = true)]
    runs: Vec<RunId>,
}

pub(crate) async fn run(args: Args, context: &mut Context<'_>) -> Result<ExitCode, Error> {
    let bus = context.connect().await?;
    for id in args.runs {
        let run = runs::by_id(&bus, id).await?;
        for (job, _) in run.jobs() {
            let wished = retried(|| bus.withdraw(&job, id, None)).await?;
            let left = bus.requests().get(&job.to_string()).await?.value;
            let others = left.map_or(0, |request| request.wanted_by.len());
            context.console.data(&(said(&job, wished, others) + "\n"))?;
        }
    }
    bus.close().await;
    Ok(ExitCode::Done)
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
