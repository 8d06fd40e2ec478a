//! The straight line of one attempt: each step in order, each announced, timed and logged.

use std::{convert::Infallible, io, path::Path, time::Duration};

use proto::{Built, Failure, FailureKind, InfraKind, Phase, Work, record::PhaseTime, time::millis};
use telemetry::span;
use tokio::{
    sync::{SemaphorePermit, mpsc},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tracing::Span;

use super::{BuildContext, BuildEnd, Ended, Limits, Notice, Plan, Source, Task, halted, notify};
use crate::{
    log_sink::LogSink,
    mirror::{Commit, Git, Mirror},
    nix::{
        classify::{self, RealiseEnd},
        command::{Pinned, StorePath},
        evaluate::{Said, call, evaluate},
        process::{Guard, Invocation},
        realise::{Realisation, realise},
        roots::{Branch, InUse, OVERRIDDEN, RootError},
    },
};

/// Queries of the store and new roots take milliseconds; but they wait for a running collection.
const STORE_CALL_WALL: Duration = Duration::from_secs(15 * 60);
/// Evaluations per attempt. A collection that begins between evaluation and build takes the
/// derivation; the second evaluation writes it where a root waits for it already. Then it can only be
/// lost to a collection that began before that, and passes a derivation that it has marked by
/// then (Nix waits for the path that was marked last only). So each further one needs a coincidence
/// of milliseconds more, and this many are no coincidence.
const EVALUATIONS_MAX: usize = 5;
/// Builds per attempt: a collection that reads roots just when a build ends can take its output (see
/// [`crate::nix::roots`]). Each further one needs another such collection.
const BUILDS_MAX: usize = 3;

/// What is built, and whose generation it becomes.
struct Checkout {
    flake: Pinned,
    branch: Branch,
}

/// An attempt under way.
pub(super) struct Attempt<'a> {
    pub(super) ctx: &'a BuildContext,
    pub(super) task: Task,
    notices: mpsc::Sender<Notice>,
    pub(super) log: LogSink,
    pub(super) stop: CancellationToken,
    phases: Vec<PhaseTime>,
    open: Option<(Phase, Instant, Span)>,
    /// Of all realisations so far: the time of the attempt is that of all of them too.
    work: Work,
}

impl<'a> Attempt<'a> {
    pub(super) fn new(
        ctx: &'a BuildContext,
        task: Task,
        notices: mpsc::Sender<Notice>,
        log: LogSink,
        stop: CancellationToken,
    ) -> Self {
        let (phases, open, work) = (Vec::new(), None, Work::default());
        Self { ctx, task, notices, log, stop, phases, open, work }
    }

    /// Runs it. Whoever stopped it is answered so, whatever else it had come to.
    pub(super) async fn finish(mut self) -> Ended {
        let end = self.run().await.map_or_else(|end| end, BuildEnd::Built);
        let end = if self.stop.is_cancelled() { BuildEnd::Stopped } else { end };
        self.blame_phase(&end);
        self.close_phase();
        match &end {
            BuildEnd::Failed { kind, failure } => self.say(kind.name(), failure),
            BuildEnd::Infra { kind, failure } => self.say(kind.name(), failure),
            BuildEnd::Built(_) | BuildEnd::Stopped => {}
        }
        Ended { end, phases: self.phases }
    }

    async fn run(&mut self) -> Result<Built, BuildEnd> {
        let (ctx, job) = (self.ctx, self.task.job.clone());
        let refuse = |message| Err(infra(InfraKind::Refused, message));
        let Some(Source { mirror, limits }) = ctx.sources.get(&job.repo) else {
            return refuse(format!("this worker's config has no [repos.{}]", job.repo));
        };
        if let Some(built) = self.rooted(mirror).await {
            return Ok(built);
        }
        // It was begun without a slot; with those that build and these there are twice the slots.
        let mut reuse_slot = match self.task.plan {
            Plan::Reuse(_) => Some(unless(&self.stop, ctx.reuse_slots.acquire()).await?),
            Plan::Full { .. } => None,
        };
        self.enter(Phase::Fetch).await;
        let commit = self.fetch(mirror).await?;
        let links = ctx.roots.in_use(&job, self.task.epoch);
        let links = links.map_err(|error| io_failed("make room for roots", &error))?;
        let mut anew_slot = None;
        for _ in 0..BUILDS_MAX {
            let built = match self.reusable(&links).await? {
                Some(built) => built,
                None => {
                    if reuse_slot.take().is_some() {
                        anew_slot = Some(self.anew().await?);
                    }
                    self.made(&commit, &links, limits).await?
                }
            };
            if self.kept(&commit, &built.out_path, limits).await? {
                drop((reuse_slot, anew_slot));
                return Ok(built);
            }
            self.log.say(format!("{} was collected, so it is built again", built.out_path));
            notify(&self.notices, Notice::Idle(false), &self.stop).await;
        }
        let message = "a garbage collection took the output each time, although it was rooted";
        Err(infra(InfraKind::Unclassified, message.to_owned()))
    }

    /// Pushes and roots the output. False: it is not in the store any more.
    async fn kept(
        &mut self,
        commit: &Checkout,
        out_path: &str,
        limits: &Limits,
    ) -> Result<bool, BuildEnd> {
        let Some(out) = StorePath::parse(out_path) else {
            return Err(infra(InfraKind::Unclassified, format!("{out_path} is no store path")));
        };
        let kept = async {
            self.push(&out, limits).await?;
            self.enter(Phase::Root).await;
            self.root(commit, &out).await
        };
        match kept.await {
            Ok(()) => Ok(true),
            Err(BuildEnd::Stopped) => Err(BuildEnd::Stopped),
            Err(end) => match self.is_gone(&out).await {
                Ok(true) => Ok(false),
                Err(BuildEnd::Stopped) => Err(BuildEnd::Stopped),
                // What went wrong first says more.
                Ok(false) | Err(_) => Err(end),
            },
        }
    }

    /// The earlier result, if it is asked for and a look says that all is as it should be: its commit
    /// is known to be allowed, and it is the newest generation of its branch already.
    async fn rooted(&mut self, mirror: &Mirror) -> Option<Built> {
        let (ctx, job) = (self.ctx, self.task.job.clone());
        let Plan::Reuse(built) = self.task.plan.clone() else { return None };
        if ctx.push.is_some() || job.revision.overrides().is_some() {
            return None;
        }
        let out = StorePath::parse(&built.out_path)?;
        let name = mirror.known_branch(&job.revision)?;
        let branch = Branch { tracked: mirror.tracks(&name), name };
        if !ctx.roots.is_newest(&job, &branch, &out) {
            return None;
        }
        self.enter(Phase::Root).await;
        Some(self.reused(&built))
    }

    /// The right to build what was to be reused. Without one it is left to whoever has a slot: many
    /// reuses are begun at once, and all of them may be gone.
    async fn anew(&self) -> Result<SemaphorePermit<'a>, BuildEnd> {
        let Ok(slot) = self.ctx.anew_slots.try_acquire() else { return Err(BuildEnd::Stopped) };
        notify(&self.notices, Notice::Anew, &self.stop).await;
        Ok(slot)
    }

    /// Makes sure that the commit, and those that take the place of its inputs, are here and may be
    /// built: each by the allowed branches of its own repository.
    async fn fetch(&self, mirror: &Mirror) -> Result<Checkout, BuildEnd> {
        let (supervisor, nix) = (&self.ctx.supervisor, &self.ctx.nix);
        let git = Git { supervisor, nix, stop: &self.stop, log: &self.log };
        let Commit { flake, branch: mut name } =
            mirror.obtain(&git, &self.task.job.revision).await?;
        let mut overrides = Vec::new();
        for (input, by) in self.task.overrides.iter() {
            let Some(source) = self.ctx.sources.get(&by.repo) else {
                let message = format!("this worker's config has no [repos.{}]", by.repo);
                return Err(infra(InfraKind::Refused, message));
            };
            let commit = source.mirror.obtain(&git, &by.revision).await?;
            self.log.say(format!("input {input} is {} at {}", by.repo, by.revision.short()));
            overrides.push((input.clone(), commit.flake));
        }
        if !overrides.is_empty() {
            name.push_str(OVERRIDDEN);
        }
        let branch = Branch { tracked: mirror.tracks(&name), name };
        Ok(Checkout { flake: Pinned { flake, overrides }, branch })
    }

    /// The earlier result, if it is asked for and still valid; then `links` hold it.
    async fn reusable(&self, links: &InUse) -> Result<Option<Built>, BuildEnd> {
        let Plan::Reuse(built) = &self.task.plan else { return Ok(None) };
        // The record is from the bus: a path that is none is as good as one that is gone.
        let Some(out) = StorePath::parse(&built.out_path) else { return Ok(None) };
        let nix = &self.ctx.nix;
        let valid = self.quiet(&nix.check_validity(&out)).await?.exit.success()
            && self.quiet(&nix.add_root(&out, links.output())).await?.exit.success();
        if !valid {
            self.log.say(format!("{out} is gone, so it is built again"));
            return Ok(None);
        }
        Ok(Some(self.reused(built)))
    }

    /// The result of an earlier asking, as this attempt's own.
    fn reused(&self, built: &Built) -> Built {
        Built { reused: true, work: Some(self.work), ..built.clone() }
    }

    /// Made anew: beside others, and alone if there is not memory enough for that.
    async fn made(
        &mut self,
        commit: &Checkout,
        links: &InUse,
        limits: &Limits,
    ) -> Result<Built, BuildEnd> {
        let ctx = self.ctx;
        let stop = self.stop.clone();
        let made = {
            let _beside_others = unless(&stop, ctx.alone.read()).await?;
            self.evaluate_and_build(commit, links, limits).await
        };
        let Err(BuildEnd::Failed { kind: FailureKind::OutOfMemory, failure }) = made else {
            return made;
        };
        self.log
            .say(format!("out of memory: {}; once more, with nothing beside it", failure.message));
        let _alone = unless(&stop, ctx.alone.write()).await?;
        self.evaluate_and_build(commit, links, limits).await
    }

    async fn evaluate_and_build(
        &mut self,
        commit: &Checkout,
        links: &InUse,
        limits: &Limits,
    ) -> Result<Built, BuildEnd> {
        let (ctx, force) = (self.ctx, self.task.plan == Plan::Full { force: true });
        for _ in 0..EVALUATIONS_MAX {
            self.enter(Phase::Evaluate).await;
            let (job, rev) = (&self.task.job, self.task.job.revision.short());
            self.log.say(format!("evaluating {} at {rev} of {}", job.host, commit.branch.name));
            let (log, stop) = (&self.log, &self.stop);
            let drv = evaluate(ctx, limits, &commit.flake, &job.host, stop, log).await?;
            links.hold(&drv).map_err(|error| io_failed("root the derivation", &error))?;
            self.enter(Phase::Build).await;
            // Beside the build, and not waited for: a broker that is away holds up no build.
            let mut earlier = std::mem::take(&mut self.task.last_good);
            let reading = async {
                earlier.read().await;
                std::future::pending::<Infallible>().await
            };
            let built = tokio::select! {
                built = self.realise(&drv, links, force, limits) => built,
                never = reading => match never {},
            };
            self.task.last_good = earlier;
            if let Some(out) = built? {
                // What is left is to ask, to push and to root.
                notify(&self.notices, Notice::Idle(true), &self.stop).await;
                let closure_bytes = self.closure_bytes(&out).await?;
                let diff = self.difference(&out, closure_bytes).await.map(Box::new);
                let (out_path, drv_path) = (out.to_string(), drv.to_string());
                let (reused, work) = (false, Some(self.work));
                return Ok(Built { out_path, drv_path, closure_bytes, reused, work, diff });
            }
            self.log.say(format!("{drv} is gone, so it is evaluated again"));
            self.root_call(&ctx.nix.add_drv_root(&drv, links.drv())).await?;
        }
        let message = "the derivation vanished each time, although it was rooted; if the store is \
                       damaged, `nix-store --verify --check-contents --repair` says so";
        Err(infra(InfraKind::Unclassified, message.to_owned()))
    }

    /// The output, or none when the derivation is gone.
    async fn realise(
        &mut self,
        drv: &StorePath,
        links: &InUse,
        force: bool,
        limits: &Limits,
    ) -> Result<Option<StorePath>, BuildEnd> {
        let nix = &self.ctx.nix;
        if force && self.output_is_valid(drv).await? {
            self.log.say(format!("building {drv} again"));
            match self.watched(&nix.rebuild(drv), limits).await {
                RealiseEnd::Valid | RealiseEnd::NothingToCompare => {}
                RealiseEnd::DrvGone => return Ok(None),
                RealiseEnd::Over(end) => return Err(end),
            }
        }
        match self.watched(&nix.realise(drv, links.output()), limits).await {
            RealiseEnd::Valid => {}
            RealiseEnd::DrvGone => return Ok(None),
            RealiseEnd::NothingToCompare => {
                let message = "Nix compared where it was to build".to_owned();
                return Err(infra(InfraKind::Unclassified, message));
            }
            RealiseEnd::Over(end) => return Err(end),
        }
        let target = std::fs::read_link(links.output());
        let target = target.map_err(|error| io_failed("read the root that Nix made", &error))?;
        let out = StorePath::parse(&target.to_string_lossy());
        let odd = || format!("Nix rooted {}, which is no store path", target.display());
        out.map(Some).ok_or_else(|| infra(InfraKind::Unclassified, odd()))
    }

    async fn watched(&mut self, invocation: &Invocation, limits: &Limits) -> RealiseEnd {
        let (ctx, notices) = (self.ctx, &self.notices);
        let Realisation { end, work } =
            realise(ctx, limits, invocation, notices, &self.log, &self.stop).await;
        self.work.add(work);
        end
    }

    async fn output_is_valid(&self, drv: &StorePath) -> Result<bool, BuildEnd> {
        let said = self.quiet(&self.ctx.nix.outputs(drv)).await?;
        let outputs = said.exit.text().filter(|_| said.exit.success()).unwrap_or_default();
        let Some(out) = outputs.lines().next().and_then(StorePath::parse) else {
            return Ok(false);
        };
        Ok(self.quiet(&self.ctx.nix.check_validity(&out)).await?.exit.success())
    }

    /// The store answers, and has it not.
    async fn is_gone(&self, path: &StorePath) -> Result<bool, BuildEnd> {
        let said = self.quiet(&self.ctx.nix.print_invalid(path)).await?;
        Ok(said.exit.success() && said.exit.text().is_some_and(|text| text.trim() == path.as_str()))
    }

    /// Sum over the closure. 0 when it cannot be had: a size is no reason to fail a build.
    async fn closure_bytes(&self, out: &StorePath) -> Result<u64, BuildEnd> {
        let said = self.quiet(&self.ctx.nix.closure_size(out)).await?;
        let text = said.exit.text().filter(|_| said.exit.success()).unwrap_or_default();
        Ok(text.split_whitespace().next_back().and_then(|size| size.parse().ok()).unwrap_or(0))
    }

    async fn root(&self, commit: &Checkout, out: &StorePath) -> Result<(), BuildEnd> {
        let link = async |link: &Path| self.root_call(&self.ctx.nix.add_root(out, link)).await;
        let made = self.ctx.roots.add_generation(&self.task.job, &commit.branch, out, link).await;
        made.map_err(|error| match error {
            RootError::Call(end) => end,
            RootError::Io { source, path } => {
                io_failed(&format!("keep roots in {}", path.display()), &source)
            }
        })
    }

    /// A call that must make a root.
    async fn root_call(&self, invocation: &Invocation) -> Result<(), BuildEnd> {
        let said = self.quiet(invocation).await?;
        match said.exit.success() {
            true => Ok(()),
            false => Err(classify::store_call_failed(said.exit.code, &said.stderr)),
        }
    }

    /// A call that says nothing worth logging; what it says on failure comes back.
    pub(super) async fn quiet(&self, invocation: &Invocation) -> Result<Said, BuildEnd> {
        self.quiet_within(STORE_CALL_WALL, invocation).await
    }

    pub(super) async fn quiet_within(
        &self,
        wall: Duration,
        invocation: &Invocation,
    ) -> Result<Said, BuildEnd> {
        let guard = Guard::new(&self.stop, wall);
        let said = call(self.ctx, invocation, &guard, &LogSink::mute()).await;
        said.map_err(|(halt, _)| halted(&halt, "query the store"))
    }

    pub(super) async fn enter(&mut self, phase: Phase) {
        self.close_phase();
        self.open = Some((phase, Instant::now(), span::phase(phase)));
        notify(&self.notices, Notice::Phase(phase), &self.stop).await;
    }

    /// What goes wrong does so in the phase that is open.
    fn blame_phase(&self, end: &BuildEnd) {
        let Some((_, _, span)) = &self.open else { return };
        match end {
            BuildEnd::Failed { kind, .. } => span::phase_failed(span, kind.name()),
            BuildEnd::Infra { kind, .. } => span::phase_failed(span, kind.name()),
            BuildEnd::Built(_) | BuildEnd::Stopped => {}
        }
    }

    /// A phase that is entered twice is one entry, with the sum.
    fn close_phase(&mut self) {
        let Some((phase, since, _span)) = self.open.take() else { return };
        let ms = millis(since.elapsed());
        match self.phases.iter_mut().find(|time| time.phase == phase) {
            Some(time) => time.ms = time.ms.saturating_add(ms),
            None => self.phases.push(PhaseTime { phase, ms }),
        }
    }

    fn say(&self, outcome: &str, failure: &Failure) {
        let drv = failure.drv.as_deref().map_or(String::new(), |drv| format!(" ({drv})"));
        self.log.say(format!("{outcome}: {}{drv}", failure.message));
    }
}

/// What is waited for, unless the attempt is stopped first.
pub(super) async fn unless<T>(
    stop: &CancellationToken,
    wait: impl Future<Output = T>,
) -> Result<T, BuildEnd> {
    tokio::select! {
        biased;
        () = stop.cancelled() => Err(BuildEnd::Stopped),
        done = wait => Ok(done),
    }
}

pub(super) fn infra(kind: InfraKind, message: String) -> BuildEnd {
    BuildEnd::Infra { kind, failure: Failure::message(message) }
}

fn io_failed(doing: &str, error: &io::Error) -> BuildEnd {
    let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    let kind = if full { InfraKind::DiskFull } else { InfraKind::Unclassified };
    infra(kind, format!("failed to {doing}: {error}"))
}
