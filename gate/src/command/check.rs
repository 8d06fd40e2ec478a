//! `gate check`: reads the expected set and its results from the leader, and gives the verdict.
//! It decides nothing else, and writes nothing.

use std::collections::{BTreeMap, BTreeSet};

use bus::Bus;
use options::{Console, Push};
use proto::{
    ExitCode, Host, Identity, JobKey, Repo, Revision, RunId, RunRecord, TraceParent, run::run_key,
};
use stand::Seen;
use telemetry::span::{self, Conclusion};
use tracing::{Instrument as _, Span};

use crate::{
    config::Config,
    error::Error,
    failing::{Failing, What},
    figures,
    pool::seen_all,
    render,
    verdict::{Finding, Verdict},
};

/// Below its help.
const EXAMPLES: &str = "\
Examples:
  gate check --repo nixos-servers --rev SHA --hosts web01,db01 --json
  gate check --repo nixos-servers --rev SHA --run 01a205c2-16b4-7095-a68f-a42b236999a4";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[command(group = clap::ArgGroup::new("expected").args(["run", "hosts"]).required(true))]
pub(crate) struct Args {
    /// The repository, as the configs name it
    #[arg(long)]
    repo: Repo,
    /// The commit, 40 hex digits
    #[arg(long, value_name = "SHA")]
    rev: Revision,
    /// The run whose recorded hosts are expected
    #[arg(long)]
    run: Option<RunId>,
    /// The expected hosts, with commas between
    #[arg(long, value_delimiter = ',', value_name = "HOST,...")]
    hosts: Vec<Host>,
    #[command(flatten)]
    push: Push,
}

/// What the verdict is over.
struct Expected {
    hosts: BTreeSet<Host>,
    excluded: Vec<Host>,
    /// The span that asked for them.
    trace: Option<TraceParent>,
}

impl Args {
    /// Whom to tell if it fails.
    pub(crate) fn failing(&self) -> Option<Failing> {
        let gateway = self.push.gateway().ok()??;
        Some(Failing { gateway, what: What::Check { repo: self.repo.clone() } })
    }
}

pub(crate) async fn run(
    args: Args,
    bus: &Bus,
    config: &Config,
    console: &Console,
    json: bool,
) -> Result<ExitCode, Error> {
    let gateway = args.push.gateway()?;
    let (expected, span) = match expected(&args, bus, config).await {
        Ok(expected) => {
            let span = span::gate_check(&args.repo, &args.rev, expected.trace);
            (expected, span)
        }
        Err(error) => {
            let span = span::gate_check(&args.repo, &args.rev, None);
            span::failed(&span, error.exit_code(), &error);
            return Err(error);
        }
    };
    let checked = checked(&args, bus, config, expected.hosts, &span).await;
    let checked = checked.inspect_err(|error| span::failed(&span, error.exit_code(), error));
    // It ends here: telling of it is no part of it.
    drop(span);
    let Checked { verdict, findings } = checked?;
    if let Some(gateway) = gateway {
        let group = figures::of_check(&args.repo, verdict, &findings, bus::clock::now());
        options::tell(&gateway, vec![group], console).await;
    }
    let text = match json {
        true => render::json(verdict, &findings),
        false => render::text(verdict, &findings, &expected.excluded),
    };
    // The exit code tells the verdict to whoever reads nothing.
    console.data(&text)?;
    Ok(verdict.exit_code())
}

/// What a check came to.
struct Checked {
    verdict: Verdict,
    findings: BTreeMap<Host, Finding>,
}

async fn checked(
    args: &Args,
    bus: &Bus,
    config: &Config,
    hosts: BTreeSet<Host>,
    span: &Span,
) -> Result<Checked, Error> {
    let of_host = |host| {
        let (repo, revision) = (args.repo.clone(), args.rev.clone());
        JobKey { repo, revision, host }
    };
    let jobs: Vec<JobKey> = hosts.into_iter().map(of_host).collect();
    let seen = seen_all(bus, &jobs).instrument(span.clone()).await?;
    let asked = seen.iter().filter_map(|seen| seen.request.value.as_ref()?.trace);
    span::about(span, asked);
    let found = jobs.iter().zip(&seen).map(|(job, seen)| finding(config, job, seen));
    let findings = jobs.iter().map(|job| job.host.clone()).zip(found).collect();
    let verdict = Verdict::over(&findings);
    span.record("nbp.verdict", verdict.name());
    span::concluded(span, Conclusion::of(verdict.exit_code()), verdict.name());
    Ok(Checked { verdict, findings })
}

async fn expected(args: &Args, bus: &Bus, config: &Config) -> Result<Expected, Error> {
    let Some(run) = args.run else {
        let hosts = args.hosts.iter().cloned().collect();
        return Ok(Expected { hosts, excluded: Vec::new(), trace: None });
    };
    let record = trusted_run(bus, run, &config.trusted(bus.identity())).await?;
    if record.repo != args.repo || record.revision != args.rev {
        let RunRecord { repo, revision, .. } = record;
        return Err(Error::OtherCommit { run, repo, revision });
    }
    let RunRecord { hosts, excluded, trace, .. } = record;
    Ok(Expected { hosts: hosts.into_keys().collect(), excluded, trace })
}

/// Looks under the trusted identities only: the server lets nobody write under another's, so a
/// record of the same id elsewhere cannot stand in for theirs.
async fn trusted_run(
    bus: &Bus,
    run: RunId,
    trusted: &BTreeSet<Identity>,
) -> Result<RunRecord, Error> {
    for by in trusted {
        let key = run_key(by, run);
        if let Some(record) = bus.runs().get(&key).await?.value {
            // What it says of itself must be what its key says.
            return if record.key() == key { Ok(record) } else { Err(Error::UnknownRun(run)) };
        }
    }
    match bus.find_run(run).await? {
        Some(record) => Err(Error::Untrusted { run, by: record.by }),
        None => Err(Error::UnknownRun(run)),
    }
}

fn finding(config: &Config, job: &JobKey, seen: &Seen) -> Finding {
    let (record, request) = (&seen.record, &seen.request);
    let finding = Finding::of(record.value.as_ref(), request.value.as_ref());
    // Nobody vouches for what has not ended, and there it makes no difference.
    let objection = match (config.trusted_workers(), &record.value) {
        (Some(trusted), Some(record)) if finding != Finding::Missing => {
            let verified = bus::signature::verify(job, record, trusted);
            verified
                .objection()
                .inspect(|why| tracing::warn!(%job, ?verified, "not counted: {why}"))
        }
        _ => None,
    };
    objection.map_or(finding, Finding::Unproven)
}
