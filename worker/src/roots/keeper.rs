//! Lets go of roots that are of no use any more, and makes generations of candidates that landed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use proto::Repo;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use crate::{
    config::{Config, RepoConfig},
    error::Error,
    log_sink::LogSink,
    mirror::{Git, Mirror, MirrorError},
    nix::{
        command::Nix,
        landing::{Landed, Landing, landing, may_land},
        process::{Guard, Halt, Line, Supervisor},
        retention::{Fate, Retention, Root},
        roots::{RootError, Roots, branch_folder},
    },
};

/// Candidates stay for days: to look each hour is often enough.
const LOOK_EVERY: Duration = Duration::from_secs(3600);
/// To root what is valid takes milliseconds, but waits for a running collection.
const ROOT_WALL: Duration = Duration::from_secs(15 * 60);

/// A root and what becomes, or became, of it.
pub(super) type Fated = (Root, Fate);

/// Roots and what is to become of them, as a config has it.
#[derive(Debug)]
pub(crate) struct Keeper {
    state_dir: PathBuf,
    roots_dir: PathBuf,
    roots: Roots,
    retention: Retention,
    mirrors: BTreeMap<String, Mirror>,
    supervisor: Supervisor,
    nix: Nix,
    stop: CancellationToken,
}

/// Why a root that was to become a generation did not.
#[derive(Debug, thiserror::Error)]
enum RootingError {
    #[error("root it: {0}")]
    Halted(Halt),
    #[error("root it: nix-store said: {0}")]
    Refused(String),
    #[error("root it: {} is no store path", .0.display())]
    NoStorePath(PathBuf),
}

impl Keeper {
    /// Until `stop`.
    pub(crate) fn new(config: &Config, stop: CancellationToken) -> Self {
        let tracked = |(repo, of): (&Repo, &RepoConfig)| {
            (repo.to_string(), of.table.default_ref.as_str().to_owned())
        };
        let mirror = |(repo, of): (&Repo, &RepoConfig)| {
            (repo.to_string(), Mirror::new(&config.state_dir, repo, &of.table))
        };
        let retention = Retention {
            tracked: config.repos.iter().map(tracked).collect(),
            keep_generations: config.keep_generations,
            candidates_for: config.candidates_for,
        };
        Self {
            state_dir: config.state_dir.clone(),
            roots_dir: config.roots_dir.clone(),
            roots: Roots::new(config.roots_dir.clone(), config.keep_generations, None),
            retention,
            mirrors: config.repos.iter().map(mirror).collect(),
            supervisor: Supervisor::this_program(),
            nix: Nix::new(config, config.state_dir.join("home")),
            stop,
        }
    }

    /// All roots, by age and number alone: whether what has expired has landed is not asked.
    pub(super) fn fates(&self) -> Result<Vec<Fated>, Error> {
        let roots = self.roots.list().map_err(|source| self.failed(source))?;
        Ok(self.retention.fates(roots, SystemTime::now()))
    }

    /// Does what is due; gives the roots that it concerned. On trial it only asks.
    pub(super) async fn prune(&self, trial: bool) -> Result<Vec<Fated>, Error> {
        let mut due: BTreeMap<String, Vec<Root>> = BTreeMap::new();
        for (root, fate) in self.fates()? {
            if fate == Fate::Expired {
                due.entry(root.repo.clone()).or_default().push(root);
            }
        }
        let mut done = Vec::new();
        for (repo, candidates) in due {
            done.extend(self.settle(&repo, candidates, trial).await?);
        }
        // Only now: what has landed is a generation too.
        for (root, fate) in self.fates()?.into_iter().filter(|(_, fate)| *fate == Fate::Surplus) {
            self.remove(&root, trial)?;
            done.push((root, fate));
        }
        Ok(done)
    }

    /// What becomes of the candidates of a repository whose time is over.
    async fn settle(
        &self,
        repo: &str,
        mut candidates: Vec<Root>,
        trial: bool,
    ) -> Result<Vec<Fated>, Error> {
        let landed = match self.landed(repo, &candidates).await {
            Ok(landed) => landed,
            Err(error) => {
                if !matches!(error, MirrorError::Stopped) {
                    warn!(
                        "candidates of repo {repo} stay: whether they landed is unknown: {error}"
                    );
                }
                let stays = |root| (root, Fate::Unasked);
                return Ok(candidates.into_iter().map(stays).collect());
            }
        };
        candidates.sort_by_key(|root| landed.get(root.commit()).copied());
        let mut done = Vec::new();
        for root in candidates {
            let fate = self.settle_one(&root, &landed, trial).await?;
            done.push((root, fate));
        }
        Ok(done)
    }

    async fn settle_one(&self, root: &Root, landed: &Landed, trial: bool) -> Result<Fate, Error> {
        let generations = self.generations(root)?;
        let fate = match landing(root, &generations, landed, self.retention.keep_generations) {
            Landing::Goes(fate) => fate,
            Landing::Promote(_) if trial => return Ok(Fate::Landed),
            Landing::Promote(roots) => {
                for root in roots {
                    if let Err(error) = self.promote(root).await {
                        warn!("{} stays where it is: {}", root.link.display(), in_full(&error));
                        return Ok(Fate::Unasked);
                    }
                }
                Fate::Landed
            }
        };
        self.remove(root, trial)?;
        Ok(fate)
    }

    /// Asks git about these and all generations that they may come among.
    async fn landed(&self, repo: &str, candidates: &[Root]) -> Result<Landed, MirrorError> {
        let asked: Vec<&Root> = candidates.iter().filter(|root| may_land(root)).collect();
        let Some(mirror) = self.mirrors.get(repo).filter(|_| !asked.is_empty()) else {
            return Ok(Landed::new());
        };
        let generations: Result<Vec<_>, _> =
            asked.iter().map(|root| self.generations(root)).collect();
        // A folder that cannot be read now fails below again, where it is told.
        let generations: Vec<Root> = generations.into_iter().flatten().flatten().collect();
        let commits: BTreeSet<&str> =
            asked.into_iter().chain(&generations).map(Root::commit).collect();
        let log = LogSink::mute();
        let git = Git { supervisor: &self.supervisor, nix: &self.nix, stop: &self.stop, log: &log };
        mirror.landed(&git, &commits).await
    }

    /// Those of the tracked branch for the same host, oldest first.
    fn generations(&self, of: &Root) -> Result<Vec<Root>, Error> {
        let Some(tracked) = self.retention.tracked.get(&of.repo) else { return Ok(Vec::new()) };
        let tracked = branch_folder(tracked);
        let mut all = self.roots.list().map_err(|source| self.failed(source))?;
        all.retain(|root| (&root.repo, &root.host, &root.branch) == (&of.repo, &of.host, &tracked));
        Ok(all)
    }

    async fn promote(&self, root: &Root) -> Result<(), RootError<RootingError>> {
        let Some(tracked) = self.retention.tracked.get(&root.repo) else { return Ok(()) };
        let link = async |link: &Path| self.link(&root.target, link).await;
        self.roots.promote(root, tracked, link).await
    }

    async fn link(&self, target: &Path, link: &Path) -> Result<(), RootingError> {
        let path = crate::nix::command::StorePath::parse(&target.to_string_lossy());
        let path = path.ok_or_else(|| RootingError::NoStorePath(target.to_owned()))?;
        let guard = Guard::new(&self.stop, ROOT_WALL);
        let mut said = String::new();
        let call = self.nix.add_root(&path, link);
        let last = |line: &Line<'_>| said = line.text.to_string();
        let exit = self.supervisor.run(&call, &guard, last).await;
        match exit.map_err(RootingError::Halted)?.success() {
            true => Ok(()),
            false => Err(RootingError::Refused(said)),
        }
    }

    fn remove(&self, root: &Root, trial: bool) -> Result<(), Error> {
        match trial {
            true => Ok(()),
            false => self.roots.remove(root).map_err(|source| self.failed(source)),
        }
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::Folder { path: self.roots_dir.clone(), source }
    }

    /// Mirrors that another user has fetched into the worker can fetch into no more.
    pub(super) fn must_be_owner(&self) -> Result<(), Error> {
        let user = rustix::process::geteuid().as_raw();
        match fs::metadata(&self.state_dir) {
            Ok(of) if of.uid() != user => Err(Error::Owner { path: self.state_dir.clone() }),
            _ => Ok(()),
        }
    }

    /// Prunes at once and then each hour, until told to stop.
    pub(crate) fn watch(self, tasks: &TaskTracker) {
        tasks.spawn(async move {
            loop {
                match self.prune(false).await {
                    Ok(done) => tell(&done),
                    Err(error) => warn!("expired roots stay: {error}"),
                }
                tokio::select! {
                    () = self.stop.cancelled() => return,
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                }
            }
        });
    }
}

fn tell(done: &[Fated]) {
    let count = |is: fn(Fate) -> bool| done.iter().filter(|(_, fate)| is(*fate)).count();
    let (gone, landed) = (count(Fate::goes), count(|fate| fate == Fate::Landed));
    if gone > 0 {
        info!(roots = gone, "let go of expired results");
    }
    if landed > 0 {
        info!(roots = landed, "candidates that landed are generations now");
    }
}

/// An error with what is behind it.
fn in_full(error: &RootError<RootingError>) -> String {
    match error {
        RootError::Call(error) => error.to_string(),
        error => error.to_string(),
    }
}
