//! `gate resume`: goes on with every run that did not end. Does nothing when nothing waits.

use bus::{Bus, retried};
use exposition::Gateway;
use options::{Console, Push};
use proto::{ExitCode, Repo, gate::GateRun, subject};
use settings::Span;
use tokio::time::Instant;

use crate::{
    command::run::unfinished,
    config::Config,
    error::Error,
    failing::{Failing, What},
    landing::{self, Site},
    told::Teller,
};

/// Below its help.
const EXAMPLES: &str = "\
Examples:
  gate resume --repo nixos-servers";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Only runs of this repository
    #[arg(long)]
    repo: Option<Repo>,
    /// Stop waiting after this long
    #[arg(long, value_name = "DURATION")]
    deadline: Option<Span>,
    #[command(flatten)]
    push: Push,
}

pub(crate) async fn run(
    args: Args,
    bus: &Bus,
    config: &Config,
    console: &Console,
    json: bool,
) -> Result<ExitCode, Error> {
    // One that is misspelt would have nothing that waits, for ever.
    args.repo.as_ref().map(|repo| config.repo(repo)).transpose()?;
    let deadline = args.deadline.map(|Span(span)| Instant::now() + span);
    let resuming = Resuming { bus, config, deadline, gateway: args.push.gateway()? };
    let mut worst = ExitCode::Done;
    let mut waiting = newest_runs(bus).await?;
    waiting.retain(|run| {
        let asked = args.repo.as_ref().is_none_or(|repo| *repo == run.repo);
        asked && run.stage.ended().is_none() && config.on_forge(&run.repo)
    });
    if waiting.is_empty() {
        console.say("nothing waits");
    }
    let mut teller = Teller::new(console, json);
    for run in waiting {
        let done = resuming.go_on(&run, &mut teller).await;
        let code = match done {
            Ok(code) => code,
            // The other branches have nothing to do with it.
            Err(error) => {
                console.failed("gate", &error);
                resuming.tell_of_failure(&run, &error, console).await;
                error.exit_code()
            }
        };
        worst = worse(worst, code);
    }
    teller.end_with_all()?;
    Ok(worst)
}

/// What is the same for all runs.
struct Resuming<'a> {
    bus: &'a Bus,
    config: &'a Config,
    deadline: Option<Instant>,
    gateway: Option<Gateway>,
}

impl Resuming<'_> {
    async fn go_on(&self, run: &GateRun, teller: &mut Teller<'_>) -> Result<ExitCode, Error> {
        let site = Site::open(self.config, &run.repo, self.gateway.clone()).await?;
        let lease = site.lease(self.bus, &run.base).await?;
        let ground = site.ground(self.bus, &lease, teller.console());
        let done = match unfinished(&ground, &run.repo, &run.base).await {
            Ok(Some(kept)) => landing::drive(&ground, kept, self.deadline, teller).await,
            // Somebody ended it since the list was made.
            Ok(None) => Ok(ExitCode::Done),
            Err(error) => Err(error),
        };
        lease.release().await;
        done
    }

    async fn tell_of_failure(&self, run: &GateRun, error: &Error, console: &Console) {
        if let Some(gateway) = self.gateway.clone() {
            let what = What::Run { repo: run.repo.clone(), base: run.base.clone() };
            Failing { gateway, what }.tell(error, console).await;
        }
    }
}

/// The newest run of each branch.
pub(crate) async fn newest_runs(bus: &Bus) -> Result<Vec<GateRun>, Error> {
    let list = || async { bus.gate_leases().list(subject::GATE_LEASES).await };
    let mut runs = Vec::new();
    for (key, entry) in retried(list).await? {
        let id = entry.value.and_then(|lease| lease.run);
        let (Some(id), Some(branch)) = (id, key.strip_prefix("lease.")) else { continue };
        let key = format!("run.{branch}.{id}");
        let read = || async { bus.gate_runs().get(&key).await };
        match retried(read).await {
            Ok(entry) => runs.extend(entry.value),
            Err(error @ bus::Error::Undecodable { .. }) => tracing::warn!("left out: {error}"),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(runs)
}

/// Of two exit codes the one that asks for more attention.
fn worse(a: ExitCode, b: ExitCode) -> ExitCode {
    let rank = |code: ExitCode| match code {
        ExitCode::Done => 0,
        ExitCode::Cancelled => 1,
        ExitCode::Undecided => 2,
        ExitCode::Failed => 3,
        ExitCode::Usage => 4,
    };
    if rank(b) > rank(a) { b } else { a }
}
