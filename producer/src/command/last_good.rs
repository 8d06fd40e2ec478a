//! `producer last-good`: the newest built closure of a host on its repository's tracked branch.

use proto::{ExitCode, Host, Repo, last_good};

use crate::{context::Context, error::Error, outage::retried, render, suggest};

/// Below its help.
const EXAMPLES: &str = "\
Examples:
  producer last-good web01 --repo nixos-servers --json | jq -r .out_path";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The host: a name in nixosConfigurations
    #[arg(value_name = "HOST")]
    host: Host,
    /// Its repository, as the configs name it
    #[arg(long)]
    repo: Repo,
}

pub(crate) async fn run(args: Args, context: &mut Context<'_>) -> Result<ExitCode, Error> {
    let Args { host, repo } = args;
    let bus = context.connect().await?;
    let (bucket, key) = (bus.last_good(), last_good::key(&repo, &host));
    let good = retried(|| bucket.get(&key)).await?.value;
    let Some(good) = good else {
        let hint = retried(|| suggest::host(&bus, &repo, &host)).await?;
        return Err(Error::NoLastGood { repo, host, hint });
    };
    context.console.data(&match context.json {
        true => render::json::last_good(&repo, &host, &good),
        false => render::text::last_good(&repo, &host, &good, &context.page()),
    })?;
    bus.close().await;
    Ok(ExitCode::Done)
}
