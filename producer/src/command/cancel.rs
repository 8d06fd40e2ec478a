//! `producer cancel`: takes wishes away. A job is cancelled only when nobody wants it any more; what
//! runs is killed by its worker, which also writes the outcome.

use bus::Bus;
use proto::{
    ExitCode, Host, JobKey, Outcome, Record, RunId, RunRecord, WorkerName, event::RunChange,
};
use serde_json::json;
use stand::Seen;

use crate::{
    context::Context,
    error::Error,
    outage::retried,
    runs, snapshot, suggest,
    target::{self, Target},
};

/// Below its help.
const EXAMPLES: &str = "\
Examples:
  producer cancel 01a205c2-16b4-7095-a68f-a42b236999a4
  producer cancel nixos-servers.7aafed0b5a3c.web01";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Runs whose wishes are taken away, or jobs that nobody is to want any more:
    /// <repo>.<revision>.<host>; the first 7 digits of a commit are enough
    #[arg(value_name = "RUN|JOB", required = true)]
    targets: Vec<Target>,
}

pub(crate) async fn run(args: Args, context: &mut Context<'_>) -> Result<ExitCode, Error> {
    let bus = context.connect().await?;
    for target in target::found(&bus, args.targets).await? {
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
        let left = retried(|| left(bus, &job)).await?.unwrap_or_default();
        let withdrawn: Vec<RunId> = wished.then_some(id).into_iter().collect();
        context.did(&said(&job, wished, &left), &left.json(&job, &withdrawn))?;
        hosts.extend(wished.then_some(job.host));
    }
    tell(bus, &run, hosts).await;
    Ok(())
}

/// Takes every run's wish away.
async fn of_job(bus: &Bus, job: &JobKey, context: &Context<'_>) -> Result<(), Error> {
    let Some(before) = retried(|| left(bus, job)).await? else {
        return Err(suggest::unknown_job(bus, job).await);
    };
    for id in &before.wanted {
        let wished = retried(|| bus.withdraw(job, *id, None)).await?;
        // A run that is forgotten has nobody to tell of it.
        if let (true, Some(run)) = (wished, retried(|| bus.find_run(*id)).await?) {
            tell(bus, &run, vec![job.host.clone()]).await;
        }
    }
    let left = retried(|| left(bus, job)).await?.unwrap_or_default();
    let line = match before.wanted.is_empty() {
        true => format!("{}: nobody wants it", job.host),
        false => {
            let runs: Vec<String> = before.wanted.iter().map(ToString::to_string).collect();
            format!("{} ({})", said(job, true, &left), runs.join(", "))
        }
    };
    context.did(&line, &left.json(job, &before.wanted))
}

async fn tell(bus: &Bus, run: &RunRecord, hosts: Vec<Host>) {
    if !hosts.is_empty() {
        bus.tell_of_run(run, RunChange::Cancelled { hosts }).await;
    }
}

/// What there is of a job.
#[derive(Default)]
struct Left {
    /// The runs that want it.
    wanted: Vec<RunId>,
    /// How this asking for it ended, if it did.
    outcome: Option<Outcome>,
    /// The worker that has it: it may end it as built before it hears of this.
    held_by: Option<WorkerName>,
}

impl Left {
    fn json(&self, job: &JobKey, withdrawn: &[RunId]) -> serde_json::Value {
        let outcome = self.outcome.as_ref().map(Outcome::name);
        let wanted_by = self.wanted.len();
        json!({ "job": job, "withdrawn": withdrawn, "wanted_by": wanted_by, "outcome": outcome })
    }
}

/// `None` when it was never asked for.
async fn left(bus: &Bus, job: &JobKey) -> Result<Option<Left>, bus::Error> {
    let Seen { request, record } = snapshot::seen(bus, job).await?;
    let Some(request) = request.value else { return Ok(None) };
    let record = record.value.filter(|record| record.incarnation == request.incarnation);
    let outcome = record.as_ref().and_then(Record::outcome).cloned();
    let held_by = record.as_ref().and_then(Record::running).map(|it| it.worker.clone());
    Ok(Some(Left { wanted: request.wanted_by.into_keys().collect(), outcome, held_by }))
}

/// What became of one host of the run.
fn said(job: &JobKey, wished: bool, left: &Left) -> String {
    let host = &job.host;
    match (wished, left.wanted.len(), &left.outcome, &left.held_by) {
        (false, ..) => format!("{host}: this run does not want it"),
        (true, 0, None, Some(worker)) => format!("{host}: being cancelled on {worker}"),
        (true, 0, None | Some(Outcome::Cancelled), _) => format!("{host}: cancelled"),
        (true, _, Some(outcome), _) => format!("{host}: had ended as {}", outcome.name()),
        (true, n, None, _) => format!("{host}: goes on, {n} more want it"),
    }
}

#[cfg(test)]
mod tests {
    use stand::examples::{job, worker};

    use super::*;

    #[test]
    fn it_says_whether_there_was_anything_to_cancel() {
        let check = |wished, wanted: usize, outcome, expected: &str| {
            let wanted = vec![RunId(uuid::Uuid::nil()); wanted];
            let left = Left { wanted, outcome, held_by: None };
            assert_eq!(said(&job("web"), wished, &left), expected);
        };
        check(true, 0, None, "web: cancelled");
        check(true, 0, Some(Outcome::Cancelled), "web: cancelled");
        check(true, 2, None, "web: goes on, 2 more want it");
        check(true, 2, Some(Outcome::Superseded), "web: had ended as superseded");
        check(false, 1, None, "web: this run does not want it");
        let held = Left { held_by: Some(worker()), ..Left::default() };
        assert_eq!(said(&job("web"), true, &held), "web: being cancelled on w1");
    }
}
