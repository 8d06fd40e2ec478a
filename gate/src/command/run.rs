//! `gate run`: updates the lock file and lands it when everything was built, or takes up the run
//! that did not end last time.

use bus::Bus;
use options::{Console, Push};
use proto::{
    ExitCode, GateId, Repo, V1,
    gate::{GateRun, Source, Stage},
};
use settings::{Branch, Span};
use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    config::Config,
    engine::Kept,
    error::Error,
    failing::{Failing, What},
    landing::{self, Site},
    plan::Event,
    steps::Ground,
    told::{self, Teller},
};

/// Below its help.
const EXAMPLES: &str = "\
Examples:
  gate run --repo nixos-servers --deadline 2h45m
  gate run --repo nixos-servers --dry-run
  gate run --repo nixos-servers --branch fix-db01 --base master";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The repository, as the config names it
    #[arg(long)]
    repo: Repo,
    /// The branch to land on [default: the repository's default_ref]
    #[arg(long, value_name = "BRANCH")]
    base: Option<Branch>,
    /// Land this branch instead of an update, such as an update with a fix on it
    #[arg(long, value_name = "NAME")]
    branch: Option<Branch>,
    /// Stop waiting after this long; the run goes on with `gate resume`
    #[arg(long, value_name = "DURATION")]
    deadline: Option<Span>,
    /// Say what would be done, and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    push: Push,
}

impl Args {
    /// Whom to tell if it fails.
    pub(crate) fn failing(&self, config: &Config) -> Option<Failing> {
        if self.dry_run {
            return None;
        }
        let gateway = self.push.gateway().ok()??;
        let table = config.repo(&self.repo).ok()?;
        let base = self.base.as_ref().unwrap_or(&table.default_ref).to_string();
        Some(Failing { gateway, what: What::Run { repo: self.repo.clone(), base } })
    }
}

pub(crate) async fn run(
    args: Args,
    bus: &Bus,
    config: &Config,
    console: &Console,
    json: bool,
) -> Result<ExitCode, Error> {
    let deadline = args.deadline.map(|Span(span)| Instant::now() + span);
    let site = Site::open(config, &args.repo, args.push.gateway()?).await?;
    let base = args.base.unwrap_or_else(|| site.table.default_ref.clone()).to_string();
    let source = match args.branch {
        Some(branch) => Source::Branch { name: branch.to_string() },
        None => Source::Update,
    };
    let lease = site.lease(bus, &base).await?;
    let ground = site.ground(bus, &lease, console);
    let new = fresh(bus, &args.repo, base, source);
    let done = match args.dry_run {
        true => dry(&ground, new, json).await,
        false => told_under(&ground, new, deadline, json).await,
    };
    lease.release().await;
    done
}

fn fresh(bus: &Bus, repo: &Repo, base: String, source: Source) -> GateRun {
    GateRun {
        v: V1,
        id: GateId(Uuid::now_v7()),
        repo: repo.clone(),
        base,
        source,
        by: bus.identity().clone(),
        at: bus::clock::now(),
        rounds: 0,
        stage: Stage::Pin,
        trace: None,
    }
}

async fn told_under(
    ground: &Ground<'_>,
    new: GateRun,
    deadline: Option<Instant>,
    json: bool,
) -> Result<ExitCode, Error> {
    let mut teller = Teller::new(ground.console, json);
    let code = run_under(ground, new, deadline, &mut teller).await?;
    teller.end_with_last()?;
    Ok(code)
}

/// What was left unfinished comes first: its candidate may be built already.
async fn run_under(
    ground: &Ground<'_>,
    new: GateRun,
    deadline: Option<Instant>,
    teller: &mut Teller<'_>,
) -> Result<ExitCode, Error> {
    if let Some(mut kept) = unfinished(ground, &new.repo, &new.base).await? {
        let age = new.at.since(kept.run.at);
        let same = kept.run.source == new.source;
        if age > ground.config.give_up_after {
            ground.console.say(&format!("giving up a run that began {} ago", Span(age)));
            kept.give_up(ground).await.map_err(Error::Step)?;
            landing::drive(ground, kept, deadline, teller).await?;
        } else {
            ground.console.say("taking up the run that did not end");
            let ended = landing::drive(ground, kept, deadline, teller).await?;
            if same || ended == ExitCode::Undecided {
                return Ok(ended);
            }
        }
    }
    // Noted first: a record that no lease knows of would never be found again.
    ground.lease.note_run(new.id).await.map_err(Error::lease)?;
    let kept = Kept::begin(ground.bus, new).await?;
    landing::drive(ground, kept, deadline, teller).await
}

/// The run of a branch that did not end.
pub(crate) async fn unfinished(
    ground: &Ground<'_>,
    repo: &Repo,
    base: &str,
) -> Result<Option<Kept>, Error> {
    let Some(id) = ground.lease.newest().await else { return Ok(None) };
    let kept = Kept::take_up(ground.bus, repo, base, id).await?;
    Ok(kept.filter(|kept| kept.run.stage.ended().is_none()))
}

/// Goes as far as nobody outside sees: to the candidate and the hosts that would have to be built.
async fn dry(ground: &Ground<'_>, run: GateRun, json: bool) -> Result<ExitCode, Error> {
    let mut run = run;
    loop {
        let event = match &run.stage {
            // Would be pushed here.
            Stage::Publish(_) => Event::Published,
            Stage::Pin | Stage::Prepare { .. } | Stage::List(_) => {
                ground.perform(&run).await.map_err(Error::Step)?
            }
            _ => break,
        };
        run = crate::plan::advance(run, event, ground.config.rules);
    }
    let site = ground.site(None);
    let text = match json {
        true => told::plan_json(&run, &site),
        false => told::plan(&run, &site),
    };
    ground.console.data(&text)?;
    Ok(run.stage.ended().map_or(ExitCode::Done, landing::exit_code))
}
