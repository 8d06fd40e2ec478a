//! One attempt, from commit to rooted closure, as one straight line: fetch, evaluate, build, push,
//! root.
//!
//! It does not know the broker, the lease or why it is stopped. It never retries an attempt; the
//! one thing it does twice is to evaluate a derivation that the garbage collector took.

mod attempt;
mod builder;
mod difference;
mod push;

pub use builder::Builder;
pub(crate) use push::{There, there};

use std::{collections::BTreeMap, fmt, io, time::Duration};

use futures_util::future::BoxFuture;
use proto::{
    Built, Epoch, Failure, FailureKind, InfraKind, JobKey, LastGood, Overrides, Phase, Repo,
    record::{PhaseTime, Progress},
};
use tokio::sync::{RwLock, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::{
    build::{attempt::Attempt, push::Push},
    config::{Config, RepoConfig},
    log_sink::LogSink,
    mirror::Mirror,
    nix::{
        command::Nix,
        process::{Halt, Supervisor},
        roots::Roots,
    },
};

/// What to do for a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Evaluate and build.
    Full {
        /// Build for real, even what is valid already.
        force: bool,
    },
    /// An earlier incarnation was built: if its path is still valid, root it and be done.
    Reuse(Built),
}

/// One attempt.
#[derive(Debug)]
pub struct Task {
    /// The job.
    pub job: JobKey,
    /// The claim; no two attempts of a job share it.
    pub epoch: Epoch,
    /// What to do.
    pub plan: Plan,
    /// Inputs of the flake that are replaced.
    pub overrides: Overrides,
    /// The host's last good build, to compare with.
    pub last_good: Earlier,
}

/// A host's last good build, read when there is something to compare with it: most attempts have
/// nothing.
#[derive(Default)]
pub struct Earlier {
    read: Option<Read>,
    good: Option<LastGood>,
}

type Read = Box<dyn FnOnce() -> BoxFuture<'static, Option<LastGood>> + Send + Sync>;

impl Earlier {
    /// One that is read so.
    pub fn new<R>(read: impl FnOnce() -> R + Send + Sync + 'static) -> Self
    where
        R: Future<Output = Option<LastGood>> + Send + 'static,
    {
        Self { read: Some(Box::new(move || Box::pin(read()))), good: None }
    }

    /// Reads it, once.
    pub(crate) async fn read(&mut self) {
        if let Some(read) = self.read.take() {
            self.good = read().await;
        }
    }

    /// The build, if there is one and it was read.
    pub(crate) fn good(&self) -> Option<&LastGood> {
        self.good.as_ref()
    }
}

impl fmt::Debug for Earlier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Earlier").field("good", &self.good).finish_non_exhaustive()
    }
}

/// What an attempt tells while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// It came to this phase.
    Phase(Phase),
    /// Derivations built and expected. Some are left out when nobody listens.
    Progress(Progress),
    /// It builds nothing (true), as it waits for another build's lock or is past its build; or it
    /// does again.
    Idle(bool),
    /// What was to be reused is gone: it is built after all.
    Anew,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BuildEnd {
    /// The closure is valid and rooted.
    Built(Built),
    /// The flake is at fault, or a limit was reached.
    Failed {
        /// How.
        kind: FailureKind,
        /// Where and why.
        failure: Failure,
    },
    /// The infrastructure is at fault.
    Infra {
        /// How.
        kind: InfraKind,
        /// Where and why.
        failure: Failure,
    },
    /// It came to no end, and somebody begins it again: it was stopped from outside, whatever else
    /// it had come to; or what was to be reused is gone, and there is no room to build it here.
    Stopped,
}

/// An attempt that is over: no process of it is left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// How.
    pub end: BuildEnd,
    /// The time of each phase it came to.
    pub phases: Vec<PhaseTime>,
}

/// What one build may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Time to build, without waiting for other builds' locks (which may last as long again).
    pub wall: Duration,
    /// Time that a running builder may be silent.
    pub silence: Duration,
    /// Time to evaluate.
    pub eval_wall: Duration,
    /// Memory that an evaluation may have for itself.
    pub eval_memory_max: u64,
    /// Bytes of log that are kept.
    pub log_keep_max: u64,
    /// Bytes of log that end a build.
    pub log_kill_max: u64,
}

impl Limits {
    /// What holds where no config says otherwise.
    pub const DEFAULT: Self = Self {
        // A kernel or a browser from source on a small machine.
        wall: Duration::from_secs(4 * 3600),
        // Long links and test suites without output; Hydra's default is two hours for these.
        silence: Duration::from_secs(3600),
        // Ten times a slow host, with inputs still to be fetched.
        eval_wall: Duration::from_secs(30 * 60),
        // Twice what a large NixOS host takes.
        eval_memory_max: 8 << 30,
        // Larger than nearly every honest log.
        log_keep_max: 64 << 20,
        // Only a loop writes so much.
        log_kill_max: 1 << 30,
    };
}

/// What all attempts of a worker share.
#[derive(Debug)]
pub struct BuildContext {
    /// Runs children.
    pub supervisor: Supervisor,
    /// Composes Nix's and git's command lines.
    pub nix: Nix,
    /// The repositories.
    pub sources: BTreeMap<Repo, Source>,
    /// Garbage-collector roots.
    pub roots: Roots,
    /// Where results go, unless the store is the cache.
    pub push: Option<Push>,
    /// Evaluations at once.
    pub eval_slots: Semaphore,
    /// Reuses at once that need more than a look.
    pub reuse_slots: Semaphore,
    /// Builds at once of what was to be reused and is gone. They were begun without a slot.
    pub anew_slots: Semaphore,
    /// Held for writing by an attempt that ran out of memory and tries again with nothing beside it.
    pub alone: RwLock<()>,
}

/// A repository and what its builds may use.
#[derive(Debug)]
pub struct Source {
    /// The repository.
    pub mirror: Mirror,
    /// What a build of it may use.
    pub limits: Limits,
}

impl BuildContext {
    /// The context of a config, and the folders it needs.
    pub fn new(config: &Config, supervisor: Supervisor) -> io::Result<Self> {
        let home = config.state_dir.join("home");
        std::fs::create_dir_all(&home)?;
        let source = |(repo, of): (&Repo, &RepoConfig)| {
            let mirror = Mirror::new(&config.state_dir, repo, &of.table);
            (repo.clone(), Source { mirror, limits: of.limits })
        };
        Ok(Self {
            supervisor,
            nix: Nix::new(config, home),
            sources: config.repos.iter().map(source).collect(),
            roots: Roots::new(
                config.roots_dir.clone(),
                config.keep_generations,
                config.store_dir(),
            ),
            push: config.cache.as_ref().map(|cache| Push::new(cache, config.retry)),
            eval_slots: Semaphore::new(config.eval_slots),
            reuse_slots: Semaphore::new(config.slots),
            anew_slots: Semaphore::new(config.slots),
            alone: RwLock::new(()),
        })
    }
}

/// Runs one attempt. `stop` may fire at any time; then everything is killed, awaited, and the end
/// is [`BuildEnd::Stopped`].
pub async fn build(
    ctx: &BuildContext,
    task: Task,
    notices: mpsc::Sender<Notice>,
    log: LogSink,
    stop: CancellationToken,
) -> Ended {
    Attempt::new(ctx, task, notices, log, stop).finish().await
}

/// Tells a notice that must not be lost, unless nobody wants the attempt any more.
pub(crate) async fn notify(
    notices: &mpsc::Sender<Notice>,
    notice: Notice,
    stop: &CancellationToken,
) {
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        // A listener that is gone does not want to know.
        _ = notices.send(notice) => {}
    }
}

/// How an attempt ends whose call was ended by us.
pub(crate) fn halted(halt: &Halt, doing: &str) -> BuildEnd {
    match halt {
        Halt::Stopped => BuildEnd::Stopped,
        halt => {
            let failure = Failure::message(format!("failed to {doing}: {halt}"));
            BuildEnd::Infra { kind: InfraKind::Unclassified, failure }
        }
    }
}

#[cfg(test)]
mod tests;
