//! `producer logs`: the kept log of a host's build, and the live one behind it.

use std::str::FromStr;

use bus::Bus;
use flake::ListingError;
use proto::{Epoch, ExitCode, Host, JobKey, Record, Repo, RunId};
use stand::{Around, HostStatus, Look, Seen, Stand};

use crate::{
    context::Context,
    error::Error,
    naming::{JobName, RevisionName},
    render::{
        log::{Form, LogText},
        text,
    },
    runs, snapshot, suggest,
    tail::{self, Tail},
};

/// Below its help.
const EXAMPLES: &str = "\
Examples:
  producer logs web01 --repo nixos-servers -f
  producer logs web01 --run 01a205c2-16b4-7095-a68f-a42b236999a4 --tail 50
  producer logs nixos-servers.<revision>.web01 --attempt 1";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// A host, or a job: <repo>.<revision>.<host>; the first 7 digits of its commit are enough
    #[arg(value_name = "HOST|JOB")]
    target: Target,
    /// The repository, for a host
    #[arg(long, conflicts_with = "run")]
    repo: Option<Repo>,
    /// The commit, for a host of --repo, or its first 7 digits; else the newest that this identity
    /// asked for
    #[arg(long, value_name = "SHA", requires = "repo")]
    rev: Option<RevisionName>,
    /// The run, for a host
    #[arg(long)]
    run: Option<RunId>,
    /// Which of the kept attempts, from 1; the newest by default
    #[arg(long, value_name = "N",
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    attempt: Option<usize>,
    /// Only the last lines
    #[arg(long, value_name = "N")]
    tail: Option<usize>,
    /// Go on with what comes, until the job has ended
    #[arg(short, long)]
    follow: bool,
    /// As the builder wrote it, control sequences included
    #[arg(long)]
    raw: bool,
}

/// What a log is asked of.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    Host(Host),
    Job(JobName),
}

impl FromStr for Target {
    type Err = String;

    fn from_str(value: &str) -> Result<Self, String> {
        // A host has no dot and a job has two.
        match value.contains('.') {
            true => value.parse().map(Self::Job),
            false => value.parse().map(Self::Host).map_err(|error| format!("{error}")),
        }
    }
}

pub(crate) async fn run(args: Args, context: &mut Context<'_>) -> Result<ExitCode, Error> {
    let bus = context.connect().await?;
    let job = job(&bus, &args).await?;
    let seen = snapshot::seen(&bus, &job).await?;
    let kept = bus.log_epochs(&job).await?;
    if seen.request.value.is_none() && seen.record.value.is_none() && kept.is_empty() {
        return Err(suggest::unknown_job(&bus, &job).await);
    }
    let status = judged(&job, &seen, context)?;
    let record = seen.record.value.as_ref();
    let Some(from) = first_epoch(&args, &job, &kept, record, &status)? else {
        context.console.say(&without_log(&status));
        context.console.data(&text::failure(&status))?;
        return Ok(ExitCode::Done);
    };
    if let Some(note) = note(from, record, &status, args.attempt.is_some()) {
        context.console.say(&note);
    }
    let form = match (context.json, args.raw) {
        (true, _) => Form::Json,
        (false, true) => Form::Raw,
        (false, false) => Form::Plain,
    };
    let log = LogText::new(form);
    let tail = Tail { bus: &bus, job: &job, from, last: args.tail };
    if args.follow {
        tail::follow(tail, log, context.console).await?;
    } else {
        tail::kept(tail, log, context.console).await?;
    }
    bus.close().await;
    Ok(ExitCode::Done)
}

async fn job(bus: &Bus, args: &Args) -> Result<JobKey, Error> {
    let host = match &args.target {
        Target::Job(name) => return name.find(bus).await,
        Target::Host(host) => host,
    };
    if let (Some(repo), Some(revision)) = (&args.repo, &args.rev) {
        let (repo, revision) = (repo.clone(), revision.clone());
        return JobName { repo, revision, host: host.clone() }.find(bus).await;
    }
    let run = match args.run {
        Some(run) => runs::by_id(bus, run).await?,
        None => {
            let of = args.repo.as_ref().map(|repo| format!(" of repo {repo}")).unwrap_or_default();
            let fits = |run: &proto::RunRecord| {
                run.hosts.contains_key(host) && args.repo.as_ref().is_none_or(|it| *it == run.repo)
            };
            let of = format!("{of} with host {host}");
            runs::newest(bus, &of, args.repo.as_ref(), fits).await?
        }
    };
    match run.hosts.contains_key(host) {
        true => Ok(run.job(host)),
        false => Err(Error::NotInRun { host: host.clone(), run: run.run }),
    }
}

fn judged(job: &JobKey, seen: &Seen, context: &Context<'_>) -> Result<HostStatus, Error> {
    let class = context.config.class_of(&job.repo, &job.host).map_err(ListingError::HostClass)?;
    let look = Look { around: &Around::default(), now: bus::clock::now() };
    Ok(HostStatus::of(job.clone(), &class, seen, look))
}

/// The attempt to begin with; `None` when there is nothing to show and nothing to wait for.
fn first_epoch(
    args: &Args,
    job: &JobKey,
    kept: &[Epoch],
    record: Option<&Record>,
    status: &HostStatus,
) -> Result<Option<Epoch>, Error> {
    if let Some(asked) = args.attempt {
        let found = kept.get(asked - 1).copied();
        let missing = || Error::NoAttempt { asked, job: job.clone(), kept: kept.len() };
        return found.map(Some).ok_or_else(missing);
    }
    let newest = kept.last().copied();
    let current = record.map_or(0, |record| record.epoch.0);
    Ok(match (&status.stand, args.follow) {
        // What comes next has the next epoch; an older asking's log is not what is waited for.
        (Stand::Queued(_), true) => Some(Epoch(current + 1)),
        (Stand::Running { .. }, true) => Some(Epoch(current)),
        (Stand::Waiting { .. }, true) => Some(newest.unwrap_or(Epoch(current))),
        _ => newest,
    })
}

/// Says whose log is shown when it is not that of the newest attempt.
fn note(from: Epoch, record: Option<&Record>, status: &HostStatus, chosen: bool) -> Option<String> {
    let (host, phrase) = (&status.job.host, status.phrase());
    if chosen || from >= record?.epoch {
        return match status.stand {
            Stand::Queued(_) => {
                Some(format!("{host}: {phrase}; the newest log is of epoch {from}"))
            }
            _ => None,
        };
    }
    Some(format!("{host}: {phrase}, without a log of its own; this is the log of epoch {from}"))
}

fn without_log(status: &HostStatus) -> String {
    let (host, phrase) = (&status.job.host, status.phrase());
    match status.finished() {
        Some(_) => format!("{host}: {phrase}; no log is kept"),
        None => format!("{host}: {phrase}; there is no log yet, -f waits for it"),
    }
}
