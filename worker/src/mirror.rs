//! Bare mirrors of the repositories, and the check that a commit may be built at all.
//!
//! A commit may be built when a branch that the config allows, as mirrored now, contains it. That
//! it lies in the object store means nothing: it may be left from a branch since deleted. Nix's own
//! git cache does not look again, so this check comes before Nix hears of the commit.

mod git;
mod known;
mod landed;
mod lock;

pub(crate) use git::branches_of;

use std::{io, path::Path, path::PathBuf, time::Duration};

use proto::{Failure, InfraKind, Repo, Revision};
use settings::{BranchGlob, RepoTable};
use tokio_util::sync::CancellationToken;

use self::{known::Known, lock::Lock};
use crate::{
    build::BuildEnd,
    log_sink::LogSink,
    nix::{
        command::{FlakeRef, Nix},
        process::{Guard, Supervisor},
    },
};

/// All git calls of one attempt together. A first clone of a large repository is minutes.
const FETCH_WALL: Duration = Duration::from_secs(20 * 60);
/// The mirror of one repository.
#[derive(Debug)]
pub struct Mirror {
    dir: PathBuf,
    repo: Repo,
    url: String,
    default_ref: String,
    allowed: Vec<BranchGlob>,
    credentials_file: Option<PathBuf>,
    lock: Lock,
    known: Known,
}

/// A commit that may be built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// How Nix finds it.
    pub flake: FlakeRef,
    /// The allowed branch that contains it; the repository's default one if several do.
    pub branch: String,
}

/// Who runs git, and until when.
#[derive(Debug)]
pub struct Git<'a> {
    /// Runs children.
    pub supervisor: &'a Supervisor,
    /// Their environment.
    pub nix: &'a Nix,
    /// Ends them.
    pub stop: &'a CancellationToken,
    /// Hears what they say.
    pub log: &'a LogSink,
}

/// Why a commit cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// Stopped from outside.
    #[error("stopped")]
    Stopped,
    /// git failed.
    #[error("git {step} of repo {repo} failed: {message}")]
    Git {
        /// The repository.
        repo: Repo,
        /// What was tried.
        step: &'static str,
        /// What git said.
        message: String,
    },
    /// No allowed branch contains the commit.
    #[error(
        "commit {commit} of repo {repo} is on no branch that this worker may build ({allowed}); \
         push it there, or extend refs in the worker's config"
    )]
    NotAllowed {
        /// The repository.
        repo: Repo,
        /// The commit.
        commit: String,
        /// The patterns.
        allowed: String,
    },
    /// Somebody else's git is at work all the time.
    #[error("another process has held {} for too long", path.display())]
    Held {
        /// The lock file.
        path: PathBuf,
    },
    /// The mirror's folder.
    #[error("keep the mirror {}: {source}", path.display())]
    Io {
        /// Which folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl From<MirrorError> for BuildEnd {
    fn from(error: MirrorError) -> Self {
        match error {
            MirrorError::Stopped => Self::Stopped,
            error => {
                let failure = Failure::message(error.to_string());
                Self::Infra { kind: InfraKind::FetchFailed, failure }
            }
        }
    }
}

impl Mirror {
    /// The mirror of `repo` under `state_dir`; nothing is touched yet.
    pub fn new(state_dir: &Path, repo: &Repo, table: &RepoTable) -> Self {
        let mirrors = state_dir.join("mirrors");
        Self {
            dir: mirrors.join(format!("{repo}.git")),
            repo: repo.clone(),
            url: table.url.as_str().to_owned(),
            default_ref: table.default_ref.as_str().to_owned(),
            allowed: table.allowed_refs(),
            credentials_file: table.git_credentials_file.clone(),
            lock: Lock::new(mirrors.join(format!("{repo}.lock"))),
            known: Known::default(),
        }
    }

    /// Makes sure the commit is here and may be built. Asks the network only when it must, and git
    /// only when a look at its files does not do.
    pub async fn obtain(&self, git: &Git<'_>, revision: &Revision) -> Result<Commit, MirrorError> {
        if git.stop.is_cancelled() {
            return Err(MirrorError::Stopped);
        }
        let commit = revision.commit();
        let git_ref = git_ref(commit);
        if let Some(branch) = self.known_branch(revision)
            && known::target(&self.dir, &git_ref).as_deref() == Some(commit)
        {
            return Ok(self.commit(commit, git_ref, branch));
        }
        let _only = self.lock.take(git.stop).await?;
        let guard = Guard::new(git.stop, FETCH_WALL);
        self.init(git, &guard).await?;
        let mut branch = self.branch_of(git, &guard, commit).await?;
        if branch.is_none() {
            git.log.say(format!("fetching {} from {}", revision.short(), self.url));
            self.fetch(git, &guard).await?;
            branch = self.branch_of(git, &guard, commit).await?;
        }
        let Some(branch) = branch else { return Err(self.not_allowed(commit)) };
        self.must(git, &guard, "update-ref", &["update-ref", &git_ref, commit]).await?;
        self.known.note(&self.dir, &self.default_ref, commit, &branch);
        Ok(self.commit(commit, git_ref, branch))
    }

    /// The allowed branch that contains the commit, if that was found out before and still holds.
    pub(crate) fn known_branch(&self, revision: &Revision) -> Option<String> {
        let branch = self.known.branch_of(&self.dir, &self.default_ref, revision.commit());
        branch.filter(|name| self.allows(name))
    }

    fn commit(&self, commit: &str, git_ref: String, branch: String) -> Commit {
        let mirror = self.dir.clone();
        Commit { flake: FlakeRef { mirror, git_ref, commit: commit.to_owned() }, branch }
    }

    fn allows(&self, branch: &str) -> bool {
        self.allowed.iter().any(|glob| glob.matches(branch))
    }

    /// Whether this is the tracked branch (`default_ref`).
    pub fn tracks(&self, branch: &str) -> bool {
        branch == self.default_ref
    }

    /// Whether a build of `new` takes the place of one of `old` as the newest of the tracked branch
    /// (`default_ref`). It does when the branch contains it, and does not hold it to be older: an
    /// ancestor of `old`. Two sides of a merge are as new as each other, so the later build counts;
    /// and an `old` that the branch no longer contains, because it was rewound, counts no more.
    pub(crate) async fn replaces(
        &self,
        git: &Git<'_>,
        new: &Revision,
        old: Option<&Revision>,
    ) -> Result<bool, MirrorError> {
        let _only = self.lock.take(git.stop).await?;
        let guard = Guard::new(git.stop, FETCH_WALL);
        let tracked = format!("refs/heads/{}", self.default_ref);
        let (new, old) = (new.commit(), old.map(Revision::commit));
        if self.is_ancestor(git, &guard, new, &tracked).await? != Some(true) {
            return Ok(false);
        }
        let Some(old) = old.filter(|old| *old != new) else { return Ok(true) };
        let mut old_tracked = self.is_ancestor(git, &guard, old, &tracked).await?;
        if old_tracked.is_none() {
            // Another worker has seen more of the branch than this mirror.
            self.fetch(git, &guard).await?;
            if self.is_ancestor(git, &guard, new, &tracked).await? != Some(true) {
                return Ok(false);
            }
            old_tracked = self.is_ancestor(git, &guard, old, &tracked).await?;
        }
        let older = async || self.is_ancestor(git, &guard, new, old).await;
        Ok(old_tracked != Some(true) || older().await? == Some(false))
    }

    /// None when git does not know one of them.
    async fn is_ancestor(
        &self,
        git: &Git<'_>,
        guard: &Guard,
        ancestor: &str,
        of: &str,
    ) -> Result<Option<bool>, MirrorError> {
        let args = ["merge-base", "--is-ancestor", ancestor, of];
        let (exit, _) = self.git(git, guard, "merge-base", &args).await?;
        Ok(match exit.code {
            Some(0) => Some(true),
            Some(1) => Some(false),
            _ => None,
        })
    }

    /// The allowed branch that contains `commit`. None also when git does not know the commit.
    async fn branch_of(
        &self,
        git: &Git<'_>,
        guard: &Guard,
        commit: &str,
    ) -> Result<Option<String>, MirrorError> {
        let format = "--format=%(refname:lstrip=2)";
        let args = ["for-each-ref", "--contains", commit, format, "refs/heads/"];
        let (exit, _) = self.git(git, guard, "for-each-ref", &args).await?;
        let names = if exit.success() { exit.text().unwrap_or_default() } else { "" };
        let mut branches = names.lines().filter(|name| self.allows(name));
        let first = branches.clone().next();
        let best = branches.find(|name| self.tracks(name)).or(first);
        Ok(best.map(str::to_owned))
    }

    fn not_allowed(&self, commit: &str) -> MirrorError {
        let allowed: Vec<&str> = self.allowed.iter().map(BranchGlob::as_str).collect();
        let (repo, commit) = (self.repo.clone(), commit.to_owned());
        MirrorError::NotAllowed { repo, commit, allowed: allowed.join(", ") }
    }
}

/// Nix fetches by this name: the branch may be gone or moved when it does.
fn git_ref(commit: &str) -> String {
    format!("refs/nbp/{commit}")
}

#[cfg(test)]
pub(crate) mod tests;
