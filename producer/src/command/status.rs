//! `producer status`: one look at every host of a run, or of a commit.

use bus::Bus;
use flake::ListingError;
use proto::{Class, ExitCode, JobKey, Repo, RunId, RunRecord};

use crate::{
    context::Context,
    error::Error,
    naming::{self, RevisionName},
    render::{self, Report},
    runs, snapshot,
};

/// Below its help.
const EXAMPLES: &str = "\
Examples:
  producer status                                     the newest run of this identity
  producer status --repo nixos-servers --json
  producer status --repo nixos-servers --rev $(git rev-parse HEAD)";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The run; without it the newest of this identity
    #[arg(value_name = "RUN", conflicts_with = "repo")]
    run: Option<RunId>,
    /// The newest run of this repository; with --rev, every host anybody asked for
    #[arg(long)]
    repo: Option<Repo>,
    /// The commit, or its first 7 digits
    #[arg(long, value_name = "SHA", requires = "repo")]
    rev: Option<RevisionName>,
}

pub(crate) async fn run(args: Args, context: &mut Context<'_>) -> Result<ExitCode, Error> {
    let bus = context.connect().await?;
    let text = match (args.run, args.repo, args.rev) {
        (_, Some(repo), Some(revision)) => of_commit(&bus, &repo, &revision, context).await?,
        (Some(run), _, _) => of_run(&bus, runs::by_id(&bus, run).await?, context).await?,
        (None, Some(repo), None) => {
            let of = format!(" of repo {repo}");
            let run = runs::newest(&bus, &of, Some(&repo), |run| run.repo == repo).await?;
            of_run(&bus, run, context).await?
        }
        (None, None, _) => {
            let run = runs::newest(&bus, "", None, |_| true).await?;
            of_run(&bus, run, context).await?
        }
    };
    context.console.data(&text)?;
    bus.close().await;
    Ok(ExitCode::Done)
}

async fn of_run(bus: &Bus, run: RunRecord, context: &Context<'_>) -> Result<String, Error> {
    let hosts = snapshot::glance(bus, &run).await?;
    Ok(rendered(&Report::of_run(&run, &hosts), context))
}

/// Without a run nobody says which hosts are expected: these are all that were asked for.
async fn of_commit(
    bus: &Bus,
    repo: &Repo,
    named: &RevisionName,
    context: &Context<'_>,
) -> Result<String, Error> {
    let unknown = || Error::UnknownRevision(format!("{repo}.{named}"));
    let known = naming::recorded(bus, &format!("{repo}.{}.*", named.wildcard())).await?;
    let revision = match named.among(known.iter().map(|job| &job.revision)) {
        Ok(revision) => revision.ok_or_else(unknown)?,
        Err(fitting) => return Err(naming::ambiguous(named, fitting.into_iter())),
    };
    let mut jobs: Vec<(JobKey, Class)> = Vec::new();
    for job in known.iter().filter(|job| job.revision == *revision) {
        let class = context.config.class_of(repo, &job.host).map_err(ListingError::HostClass)?;
        jobs.push((job.clone(), class));
    }
    if jobs.is_empty() {
        return Err(unknown());
    }
    let around = stand::around::read(bus, jobs.iter().map(|(_, class)| class.clone())).await?;
    let hosts = snapshot::read(bus, jobs, &around).await?;
    let report = Report { run: None, repo, revision, git_ref: None, hosts: &hosts };
    Ok(rendered(&report, context))
}

fn rendered(report: &Report<'_>, context: &Context<'_>) -> String {
    match context.json {
        true => render::json::report(report),
        false => render::text::report(report, &context.page()),
    }
}
