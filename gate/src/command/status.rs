//! `gate status`: the newest run of each branch, and who is at it.

use bus::{Bus, retried};
use options::Console;
use proto::{ExitCode, Repo, subject};

use crate::{
    command::resume::newest_runs,
    config::Config,
    error::Error,
    lease::live,
    told::{self, Standing},
};

/// Below its help.
const EXAMPLES: &str = "\
Examples:
  gate status --repo nixos-servers --json";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Only this repository
    #[arg(long)]
    repo: Option<Repo>,
}

pub(crate) async fn run(
    args: Args,
    bus: &Bus,
    config: &Config,
    console: &Console,
    json: bool,
) -> Result<ExitCode, Error> {
    let mut found = Vec::new();
    let now = retried(|| bus.gates_time()).await?;
    for run in newest_runs(bus).await? {
        if args.repo.as_ref().is_some_and(|repo| *repo != run.repo) {
            continue;
        }
        let key = subject::gate_lease_key(&run.repo, &run.base);
        let lease = retried(|| async { bus.gate_leases().get(&key).await }).await?;
        let holder = live(&lease, now).map(|(holder, _)| holder);
        found.push(Standing { run, holder });
    }
    if let Some(repo) = args.repo.as_ref().filter(|_| found.is_empty()) {
        // It had no run so far, or there is no such repository.
        config.repo(repo)?;
    }
    let site = config.site(None, None);
    let text = match json {
        true => told::standings_json(&found, &site),
        false => told::standings(&found, &site),
    };
    console.data(&text)?;
    Ok(ExitCode::Done)
}
