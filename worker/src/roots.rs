//! `worker roots`: what holds results in the store, and what holds them no longer; and the task of a
//! running worker that lets go of what has expired. Which those are `nix::retention` says.

use std::{
    io::{self, Write as _},
    path::PathBuf,
    time::{Duration, SystemTime},
};

use proto::Repo;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use crate::{
    config::{Config, RepoConfig},
    error::Error,
    nix::{
        retention::{Fate, Retention, Root, shown_branch},
        roots::Roots,
    },
};

/// Candidates stay for days: to look each hour is often enough.
const LOOK_EVERY: Duration = Duration::from_secs(3600);

/// Roots and what is to become of them, as a config has it.
#[derive(Clone, Debug)]
pub(crate) struct Keeper {
    dir: PathBuf,
    retention: Retention,
}

impl Keeper {
    pub(crate) fn new(config: &Config) -> Self {
        let tracked = |(repo, of): (&Repo, &RepoConfig)| {
            (repo.to_string(), of.table.default_ref.as_str().to_owned())
        };
        let retention = Retention {
            tracked: config.repos.iter().map(tracked).collect(),
            keep_generations: config.keep_generations,
            candidates_for: config.candidates_for,
        };
        Self { dir: config.roots_dir.clone(), retention }
    }

    fn roots(&self) -> Roots {
        Roots::new(self.dir.clone(), self.retention.keep_generations)
    }

    fn fates(&self) -> io::Result<Vec<(Root, Fate)>> {
        Ok(self.retention.fates(self.roots().list()?, SystemTime::now()))
    }

    /// Removes what is of no use any more; gives those roots.
    fn prune(&self) -> io::Result<Vec<(Root, Fate)>> {
        let fates = self.fates()?;
        let goes: Vec<_> = fates.into_iter().filter(|(_, fate)| fate.goes()).collect();
        for (root, _) in &goes {
            self.roots().remove(root)?;
        }
        Ok(goes)
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::Folder { path: self.dir.clone(), source }
    }

    /// Prunes at once and then each hour, until told to stop.
    pub(crate) fn watch(self, stop: CancellationToken, tasks: &TaskTracker) {
        tasks.spawn(async move {
            loop {
                let keeper = self.clone();
                match tokio::task::spawn_blocking(move || keeper.prune()).await {
                    Ok(Ok(gone)) if gone.is_empty() => {}
                    Ok(Ok(gone)) => info!(roots = gone.len(), "let go of expired results"),
                    Ok(Err(error)) => warn!("expired roots stay: {error}"),
                    Err(error) => warn!("expired roots stay: {error}"),
                }
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                }
            }
        });
    }
}

/// `worker roots list`: one root a line, with what becomes of it.
///
/// # Errors
/// When the folder cannot be read.
pub(crate) fn list(config: &Config) -> Result<(), Error> {
    let keeper = Keeper::new(config);
    let fates = keeper.fates().map_err(|error| keeper.failed(error))?;
    say(fates.iter().map(|(root, fate)| line(root, *fate)))
}

/// `worker roots prune`: removes what is of no use any more, or only says what that is.
///
/// # Errors
/// When a root cannot be removed.
pub(crate) fn prune(config: &Config, dry_run: bool) -> Result<(), Error> {
    let keeper = Keeper::new(config);
    let goes = match dry_run {
        true => keeper.fates().map(|all| all.into_iter().filter(|(_, it)| it.goes()).collect()),
        false => keeper.prune(),
    };
    let goes: Vec<_> = goes.map_err(|error| keeper.failed(error))?;
    say(goes.iter().map(|(root, fate)| line(root, *fate)))
}

fn line(root: &Root, fate: Fate) -> String {
    let fate = match fate {
        Fate::Generation => "generation".to_owned(),
        Fate::Candidate(left) => format!("candidate for {} more hours", left.as_secs() / 3600),
        Fate::Unknown => "kept: its repo is not in the config".to_owned(),
        Fate::Surplus => "surplus".to_owned(),
        Fate::Expired => "expired candidate".to_owned(),
    };
    let Root { repo, host, target, .. } = root;
    let (branch, commit, target) = (shown_branch(&root.branch), root.commit(), target.display());
    format!("{repo} {host} {branch} {commit} {target}: {fate}")
}

/// On stdout; a reader that has seen enough is no failure.
fn say(lines: impl Iterator<Item = String>) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    for line in lines {
        match writeln!(out, "{}", telemetry::plain(&line)) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            written => written.map_err(Error::Output)?,
        }
    }
    Ok(())
}
