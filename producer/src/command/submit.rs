//! `producer submit`: records what is expected of a commit, then asks for each host of it.
//!
//! Every step can be done again: a submit that was killed anywhere is completed by another one.

use std::collections::{BTreeMap, BTreeSet};

use bus::{Asked, Bus};
use clap::{
    ArgMatches, FromArgMatches,
    builder::{PossibleValuesParser, TypedValueParser},
    error::ErrorKind,
    parser::ValueSource,
};
use options::Push;
use proto::{
    Class, ExitCode, Host, Input, JobKey, Override, Overrides, Priority, Repo, Revision, RunId,
    RunRecord, TokenError, V1, event::RunChange,
};
use settings::{Branch, HostGlob};
use stand::HostStatus;
use telemetry::span::{self, Conclusion};
use tracing::{Instrument as _, Span};
use uuid::Uuid;

use crate::{
    context::Context,
    error::Error,
    expected::{self, Expected, Wanted},
    figures,
    follow::{self, End, News},
    outage::retried,
    render::{self, Report},
    snapshot, supersede,
};

const WHAT: &str = "What to build";
const HOW: &str = "How to build it";
const WAIT: &str = "Waiting";
/// In the order of what help shows below one heading.
const LAST: usize = 99;

/// Below its help.
const EXAMPLES: &str = "\
Examples:
  producer submit web01 db01 --repo nixos-servers --ref master --wait
  producer submit --repo nixos-servers --all --exclude 'pi*' --ref master --supersede
  producer submit web01 --repo nixos-servers --rev $(git rev-parse HEAD) --priority high --json";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[command(group = clap::ArgGroup::new("which").args(["hosts", "all"]).required(true))]
#[command(group = clap::ArgGroup::new("commit").args(["git_ref", "rev"]).required(true)
    .multiple(true))]
pub(crate) struct Args {
    /// Hosts to build: names in nixosConfigurations
    #[arg(value_name = "HOST")]
    hosts: Vec<Host>,
    /// Build every host of the flake
    #[arg(long, help_heading = WHAT)]
    all: bool,
    /// Leave out hosts that match; may be repeated
    #[arg(long, value_name = "GLOB", help_heading = WHAT)]
    exclude: Vec<HostGlob>,
    /// The repository, as the configs name it
    #[arg(long, help_heading = WHAT)]
    repo: Repo,
    /// The branch; without --rev it is resolved once, to the commit it is at now
    #[arg(long = "ref", id = "git_ref", value_name = "BRANCH", help_heading = WHAT)]
    git_ref: Option<Branch>,
    /// The commit, 40 hex digits
    #[arg(long, value_name = "SHA", help_heading = WHAT)]
    rev: Option<Revision>,
    /// Replace an input of the flake by a commit of another repository; may be repeated. --all lists
    /// the hosts that the flake has with its own inputs
    #[arg(long, value_name = "NAME=REPO@SHA", value_parser = overriding, help_heading = WHAT)]
    override_input: Vec<(Input, Override)>,
    /// How urgent
    #[arg(long, default_value_t = Priority::Normal, value_parser = priority(), help_heading = HOW)]
    priority: Priority,
    /// Build again, whatever is known
    #[arg(long, help_heading = HOW)]
    force: bool,
    /// Take the place of older runs of the same repo and ref that have not ended
    #[arg(long, requires = "git_ref", help_heading = HOW)]
    supersede: bool,
    /// Before `wait`, which it looks at.
    #[command(flatten)]
    push: PushOfWait,
    /// Wait until every host has ended
    #[arg(long, help_heading = WAIT)]
    wait: bool,
    /// How long to wait
    #[arg(long, default_value = "2h", value_name = "DURATION", requires = "wait", help_heading = WAIT)]
    timeout: settings::Span,
}

/// How it ended is known to who waits: asked for without, it would silently do nothing. A variable
/// that stands in the environment for every command is another thing.
#[derive(Debug)]
struct PushOfWait(Push);

impl FromArgMatches for PushOfWait {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let typed = matches.value_source("push_metrics") == Some(ValueSource::CommandLine);
        if typed && !matches.get_flag("wait") {
            let why = "--push-metrics needs --wait: how it ends is not known before\n";
            return Err(clap::Error::raw(ErrorKind::MissingRequiredArgument, why));
        }
        Push::from_arg_matches(matches).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl clap::Args for PushOfWait {
    fn augment_args(command: clap::Command) -> clap::Command {
        let help = "With --wait: push how it ended to this Prometheus push gateway; a push that \
                    fails is said and changes no exit code";
        Push::augment_args(command)
            .mut_arg("push_metrics", |arg| arg.help(help).help_heading(WAIT).display_order(LAST))
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

/// Help, completions and the tip for a misspelt one come from the list.
fn priority() -> impl TypedValueParser<Value = Priority> {
    let names = Priority::ALL.into_iter().map(Priority::as_str);
    PossibleValuesParser::new(names).try_map(|name| name.parse::<Priority>())
}

pub(crate) async fn run(args: Args, context: &mut Context<'_>) -> Result<ExitCode, Error> {
    let gateway = args.push.0.gateway()?.filter(|_| args.wait);
    let span = span::submit(&args.repo);
    let done = submit(&args, context, &span).await;
    let done = done.inspect_err(|error| span::failed(&span, error.exit_code(), error));
    drop(span);
    // What it came to is so, whether or not it can be printed.
    if let Some(gateway) = &gateway {
        let now = bus::clock::now();
        let groups = match &done {
            Ok(done) => figures::of_run(&done.asking.run, &done.asking.hosts, done.code, now),
            Err(_) => vec![figures::of_failure(&args.repo, now)],
        };
        options::tell(gateway, groups, context.console).await;
    }
    let Submitted { asking: Asking { bus, run, hosts, .. }, code, end } = done?;
    let report = Report::of_run(&run, &hosts);
    if context.json {
        context.console.data(&render::json::report(&report))?;
    } else if args.wait {
        context.console.data(&render::text::report(&report, &context.page()))?;
    }
    follow::say_how_to_come_back(&run, end, context.console);
    bus.close().await;
    Ok(code)
}

/// What a submit came to.
struct Submitted {
    asking: Asking,
    code: ExitCode,
    /// How the waiting ended, if it was waited for.
    end: End,
}

/// Asks, and waits if that is wanted.
async fn submit(args: &Args, context: &mut Context<'_>, span: &Span) -> Result<Submitted, Error> {
    let mut asking = asked(args, context).instrument(span.clone()).await?;
    if !args.wait {
        return Ok(Submitted { asking, code: ExitCode::Done, end: End::Complete });
    }
    let Asking { bus, run, known, .. } = &asking;
    let (news, limit) = (News::AllBut(known), Some(args.timeout.0));
    let (hosts, end) = follow::follow(bus, run, news, limit, context.console).await?;
    let code = follow::exit_code(&hosts, end);
    match end {
        End::Complete => span::concluded(span, Conclusion::of(code), span::code_word(code)),
        End::TimedOut => span::concluded(span, Conclusion::Timeout, "timeout"),
        // The builds go on, so nobody knows.
        End::Left => {}
    }
    asking.hosts = hosts;
    Ok(Submitted { asking, code, end })
}

/// What was asked for.
struct Asking {
    bus: Bus,
    run: RunRecord,
    /// Jobs that a finished failure answers.
    known: BTreeSet<JobKey>,
    /// How all stand; none before they are waited for, if none is known.
    hosts: Vec<HostStatus>,
}

/// Asks for everything.
async fn asked(args: &Args, context: &mut Context<'_>) -> Result<Asking, Error> {
    let wanted = Wanted {
        repo: &args.repo,
        hosts: &args.hosts,
        exclude: &args.exclude,
        branch: args.git_ref.as_ref(),
        revision: args.rev.as_ref(),
    };
    let overrides = overrides(args)?;
    // Both fail at once where they can: evaluating a flake may take minutes.
    if wanted.needs_repo() {
        context.config.repo(wanted.repo)?;
    }
    let bus = context.connect().await?;
    let expected = expected::expected(wanted, &context.config, context.console).await?;
    refuse_unserved(&bus, expected.hosts.values()).await?;
    let run = record(args, expected, overrides, &bus);
    let (git_ref, hosts) = (run.git_ref.as_deref(), run.hosts.len());
    span::resolved(&Span::current(), run.run, &run.revision, git_ref, hosts);
    retried(|| bus.record_run(&run)).await?;
    announce(&run, args.wait, context)?;
    // Beside the asks, whose round trips are more: nobody waits for it.
    let told = bus.tell_of_run(&run, RunChange::submitted(&run));
    let (known, ()) = tokio::join!(ask_all(&bus, &run), told);
    let known = known?;
    if args.supersede {
        for older in supersede::older_runs(&bus, &run).await? {
            bus.tell_of_run(&older, RunChange::Superseded { by_run: run.run }).await;
            let (id, rev) = (older.run, older.revision.short());
            context.console.say(&format!("run {id} ({rev}) is superseded"));
        }
    }
    // Who waits reads how they stand anyway.
    let hosts = match args.wait && known.is_empty() {
        true => Vec::new(),
        false => said_of_known(&bus, &run, &known, context).await?,
    };
    Ok(Asking { bus, run, known, hosts })
}

/// A job of a class that has no consumer would wait for ever.
async fn refuse_unserved(bus: &Bus, classes: impl Iterator<Item = &Class>) -> Result<(), Error> {
    let unserved: Vec<&str> = bus.unserved(classes).await?.into_iter().map(Class::as_str).collect();
    match unserved.is_empty() {
        true => Ok(()),
        false => Err(Error::MissingConsumers { classes: unserved.join(",") }),
    }
}

/// One `NAME=REPO@SHA`.
fn overriding(text: &str) -> Result<(Input, Override), String> {
    let parts = text.split_once('=').and_then(|(name, by)| Some((name, by.split_once('@')?)));
    let (name, (repo, commit)) = parts.ok_or("it is not NAME=REPO@SHA")?;
    let parsed = || -> Result<_, TokenError> {
        let (repo, revision) = (repo.parse()?, commit.parse()?);
        Ok((name.parse()?, Override { repo, revision }))
    };
    parsed().map_err(|error| error.to_string())
}

/// The overrides that were asked for. A revision that names others is refused: no worker would
/// build it.
fn overrides(args: &Args) -> Result<Overrides, Error> {
    let mut inputs = BTreeMap::new();
    for (input, by) in &args.override_input {
        if inputs.insert(input.clone(), by.clone()).is_some() {
            return Err(Error::OverriddenTwice(input.clone()));
        }
    }
    let overrides = Overrides::new(inputs).map_err(Error::Overrides)?;
    match &args.rev {
        Some(rev) if rev.overrides().is_some() && !rev.names(&overrides) => {
            Err(Error::OtherOverrides(rev.clone()))
        }
        _ => Ok(overrides),
    }
}

fn record(args: &Args, expected: Expected, overrides: Overrides, bus: &Bus) -> RunRecord {
    let Expected { revision, git_ref, hosts, excluded } = expected;
    RunRecord {
        v: V1,
        run: RunId(Uuid::now_v7()),
        by: bus.identity().clone(),
        at: bus::clock::now(),
        repo: args.repo.clone(),
        revision: revision.with(&overrides),
        git_ref,
        overrides,
        hosts,
        excluded,
        priority: args.priority,
        force: args.force,
        trace: telemetry::context(&Span::current()),
    }
}

/// Said before the first ask, so that a submit that is killed can be taken up by `watch`. It is
/// data only where no report follows that has it too.
fn announce(run: &RunRecord, wait: bool, context: &mut Context<'_>) -> Result<(), Error> {
    let line = render::text::announcement(run);
    if context.json || wait {
        context.console.say(&line);
    } else {
        context.console.data(&(line + "\n"))?;
    }
    if !run.excluded.is_empty() {
        let names: Vec<&str> = run.excluded.iter().map(Host::as_str).collect();
        context.console.say(&format!("left out: {}", names.join(", ")));
    }
    context.console.say(&format!("follow it with `producer watch {}`", run.run));
    Ok(())
}

/// Asks for every host; gives those that a finished failure answers.
async fn ask_all(bus: &Bus, run: &RunRecord) -> Result<BTreeSet<JobKey>, Error> {
    let asked = bus.ask_all(run).await?.into_iter();
    Ok(asked.filter(|(_, asked)| *asked == Asked::FromRecord).map(|(job, _)| job).collect())
}

/// Reads how the hosts stand, and says of which the answer was there before.
async fn said_of_known(
    bus: &Bus,
    run: &RunRecord,
    known: &BTreeSet<JobKey>,
    context: &Context<'_>,
) -> Result<Vec<HostStatus>, Error> {
    let hosts = retried(|| snapshot::of_run(bus, run)).await?;
    let now = bus::clock::now();
    for status in hosts.iter().filter(|status| known.contains(&status.job)) {
        if let Some(line) = render::text::known_since(status, now) {
            context.console.say(&line);
        }
    }
    Ok(hosts)
}
