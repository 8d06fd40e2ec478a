//! A clone of the repository for one process: commits made, compared, pushed and deleted.
//!
//! It knows git and nothing of verdicts or of the forge's API. Each push and each deletion is a
//! compare-and-set on the branch: git itself refuses it when the branch is not where it is expected.

mod push;

use std::{io, path::PathBuf, time::Duration};

use flake::{
    Access, Flake, GitError,
    process::{self, Finished},
};
use proto::{Revision, TokenError};
use settings::RepoUrl;
use tempfile::TempDir;
use tokio::process::Command;

pub(crate) use push::Pushed;

/// The file that an update changes, and no other.
pub(crate) const LOCK: &str = "flake.lock";
/// A first fetch of a large repository over a slow line.
const FETCH_MAX: Duration = Duration::from_secs(20 * 60);
/// Anything that asks nobody else.
const LOCAL_MAX: Duration = Duration::from_secs(120);

/// Who commits. The same author, date, parent and lock make the same commit again.
#[derive(Clone, Debug)]
pub(crate) struct Author {
    pub(crate) name: String,
    pub(crate) email: String,
}

/// What an update's commit is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Commit<'a> {
    pub(crate) parent: &'a Revision,
    pub(crate) lock: &'a str,
    pub(crate) message: &'a str,
    /// Seconds since the Unix epoch.
    pub(crate) date: u64,
}

/// A git call that failed. Each message goes on after "failed to …".
#[derive(Debug, thiserror::Error)]
pub enum CheckoutError {
    /// A folder or file of the clone.
    #[error("keep a clone in {}: {source}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// git or the server failed.
    #[error("{doing}: {reason}")]
    Git {
        /// What was tried.
        doing: String,
        /// What git said.
        reason: String,
    },
    /// The server was asked for a branch.
    #[error(transparent)]
    Ref(#[from] GitError),
    /// What git answered is no commit.
    #[error("read a commit from git: {0}")]
    Answer(#[from] TokenError),
}

/// See the module. The clone goes with the value.
#[derive(Debug)]
pub(crate) struct Checkout {
    dir: TempDir,
    url: RepoUrl,
    access: Access,
    author: Author,
}

impl Checkout {
    /// An empty clone in the folder for temporary files.
    pub(crate) async fn open(
        url: &RepoUrl,
        access: Access,
        author: Author,
    ) -> Result<Self, CheckoutError> {
        let dir = tempfile::Builder::new().prefix("nbp-gate-").tempdir();
        let dir = dir.map_err(|source| CheckoutError::Io { path: std::env::temp_dir(), source })?;
        let checkout = Self { dir, url: url.clone(), access, author };
        checkout.must("make a clone", &["init", "--quiet", "."], LOCAL_MAX).await?;
        Ok(checkout)
    }

    /// Where the working tree is.
    pub(crate) fn path(&self) -> &std::path::Path {
        self.dir.path()
    }

    /// How git and Nix log in.
    pub(crate) fn access(&self) -> &Access {
        &self.access
    }

    /// The commit that a branch is at on the server; none: there is no such branch.
    pub(crate) async fn head(&self, branch: &str) -> Result<Option<Revision>, CheckoutError> {
        match flake::resolve_ref(&self.url, &full(branch), &self.access).await {
            Ok(revision) => Ok(Some(revision)),
            Err(GitError::NoSuchRef { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The branches on the server that match a pattern of git's.
    pub(crate) async fn branches(&self, pattern: &str) -> Result<Vec<String>, CheckoutError> {
        let doing = format!("list branches of {}", self.url);
        let pattern = full(pattern);
        let args = ["ls-remote", "--", self.url.as_str(), &pattern];
        let done = self.must(&doing, &args, LOCAL_MAX).await?;
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        let names = text.lines().filter_map(|line| line.split_once('\t'));
        let names = names.filter_map(|(_, name)| name.strip_prefix("refs/heads/"));
        Ok(names.map(str::to_owned).collect())
    }

    /// Fetches a branch with its history; gives the commit that it was at then.
    pub(crate) async fn fetch(&self, branch: &str) -> Result<Option<Revision>, CheckoutError> {
        let doing = format!("fetch {branch} from {}", self.url);
        let kept = format!("refs/nbp/heads/{branch}");
        let refspec = format!("+{}:{kept}", full(branch));
        let args = ["fetch", "--quiet", "--no-tags", "--", self.url.as_str(), &refspec];
        let done = self.git(&doing, &args, FETCH_MAX).await?;
        if done.status.success() {
            return self.commit_of(&doing, &kept).await.map(Some);
        }
        // git's words differ; whether the branch is there is asked for.
        match self.head(branch).await? {
            None => Ok(None),
            Some(_) => Err(git_failed(doing, &done)),
        }
    }

    /// Whether the clone has a commit.
    pub(crate) async fn has(&self, revision: &Revision) -> Result<bool, CheckoutError> {
        let name = format!("{revision}^{{commit}}");
        let done = self.git("look for a commit", &["cat-file", "-e", &name], LOCAL_MAX).await?;
        Ok(done.status.success())
    }

    /// Whether `ancestor` is `revision` or an ancestor of it. Both must be here.
    pub(crate) async fn contains(
        &self,
        revision: &Revision,
        ancestor: &Revision,
    ) -> Result<bool, CheckoutError> {
        let doing = format!("compare {} with {}", ancestor.short(), revision.short());
        let args = ["merge-base", "--is-ancestor", ancestor.as_str(), revision.as_str()];
        let done = self.git(&doing, &args, LOCAL_MAX).await?;
        match done.status.code() {
            Some(0) => Ok(true),
            Some(1) => Ok(false),
            _ => Err(git_failed(doing, &done)),
        }
    }

    /// Whether anything that an update depends on differs between two commits.
    pub(crate) async fn flake_differs(
        &self,
        from: &Revision,
        to: &Revision,
    ) -> Result<bool, CheckoutError> {
        let doing = format!("compare {} with {}", from.short(), to.short());
        let args = ["diff", "--quiet", from.as_str(), to.as_str(), "--", "flake.nix", LOCK];
        let done = self.git(&doing, &args, LOCAL_MAX).await?;
        match done.status.code() {
            Some(0) => Ok(false),
            Some(1) => Ok(true),
            _ => Err(git_failed(doing, &done)),
        }
    }

    /// The lock file of a commit; none: it has none.
    pub(crate) async fn lock_at(
        &self,
        revision: &Revision,
    ) -> Result<Option<String>, CheckoutError> {
        let doing = format!("read {LOCK} at {}", revision.short());
        let name = format!("{revision}:{LOCK}");
        if !self.git(&doing, &["cat-file", "-e", &name], LOCAL_MAX).await?.status.success() {
            return Ok(None);
        }
        let done = self.must(&doing, &["cat-file", "blob", &name], LOCAL_MAX).await?;
        let text = String::from_utf8(done.stdout);
        text.map(Some).map_err(|_| CheckoutError::Git { doing, reason: "it is no text".into() })
    }

    /// Puts the files of a commit into the working tree, and nothing else.
    pub(crate) async fn check_out(&self, revision: &Revision) -> Result<(), CheckoutError> {
        let doing = format!("check {} out", revision.short());
        let args = ["checkout", "--quiet", "--force", "--detach", revision.as_str()];
        self.must(&doing, &args, LOCAL_MAX).await?;
        self.must(&doing, &["clean", "-ffdxq"], LOCAL_MAX).await.map(drop)
    }

    /// Makes the commit: the parent's tree with this lock file.
    pub(crate) async fn commit(&self, commit: Commit<'_>) -> Result<Revision, CheckoutError> {
        let doing = "commit the update";
        let parent = commit.parent.as_str();
        let (lock, message) = (self.file("lock"), self.file("message"));
        write(&lock, commit.lock)?;
        write(&message, commit.message)?;
        self.must(doing, &["read-tree", parent], LOCAL_MAX).await?;
        let (lock, message) = (lock.to_string_lossy(), message.to_string_lossy());
        let hash = ["hash-object", "-w", "--no-filters", "--", &lock];
        let blob = word(&self.must(doing, &hash, LOCAL_MAX).await?);
        let entry = format!("100644,{blob},{LOCK}");
        let stage = ["update-index", "--add", "--cacheinfo", &entry];
        self.must(doing, &stage, LOCAL_MAX).await?;
        let tree = word(&self.must(doing, &["write-tree"], LOCAL_MAX).await?);
        let mut git = self.command(&["commit-tree", &tree, "-p", parent, "-F", &message]);
        let date = format!("{} +0000", commit.date);
        for who in ["AUTHOR", "COMMITTER"] {
            git.env(format!("GIT_{who}_NAME"), &self.author.name)
                .env(format!("GIT_{who}_EMAIL"), &self.author.email)
                .env(format!("GIT_{who}_DATE"), &date);
        }
        let done = finished(doing, &mut git, LOCAL_MAX).await?;
        match done.status.success() {
            true => Ok(word(&done).parse()?),
            false => Err(git_failed(doing.to_owned(), &done)),
        }
    }

    /// The flake at a commit of this clone, under a name of its own.
    pub(crate) async fn hold(&self, revision: &Revision) -> Result<Held, CheckoutError> {
        let git_ref = format!("refs/nbp/{}", revision.commit());
        let args = ["update-ref", &git_ref, revision.commit()];
        self.must("name a commit", &args, LOCAL_MAX).await?;
        let url = self.path().to_string_lossy().parse().map_err(|_| CheckoutError::Git {
            doing: "name the clone".into(),
            reason: format!("{} makes no URL; set TMPDIR", self.path().display()),
        })?;
        Ok(Held { url, git_ref, revision: revision.clone(), access: self.access.clone() })
    }

    async fn commit_of(&self, doing: &str, name: &str) -> Result<Revision, CheckoutError> {
        let name = format!("{name}^{{commit}}");
        let done = self.must(doing, &["rev-parse", "--verify", &name], LOCAL_MAX).await?;
        Ok(word(&done).parse()?)
    }

    /// A file beside the working tree's own, where no commit sees it.
    fn file(&self, name: &str) -> PathBuf {
        self.path().join(".git").join(format!("nbp-{name}"))
    }

    async fn must(
        &self,
        doing: &str,
        args: &[&str],
        limit: Duration,
    ) -> Result<Finished, CheckoutError> {
        let done = self.git(doing, args, limit).await?;
        if done.status.success() { Ok(done) } else { Err(git_failed(doing.to_owned(), &done)) }
    }

    async fn git(
        &self,
        doing: &str,
        args: &[&str],
        limit: Duration,
    ) -> Result<Finished, CheckoutError> {
        finished(doing, &mut self.command(args), limit).await
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut git = Command::new("git");
        flake::unattended(&mut git, &self.access);
        git.arg("-C").arg(self.path());
        // A hook of the user's is not for the gate's commits.
        git.args(["-c", "core.hooksPath=/dev/null"]).args(args);
        git
    }
}

/// A commit by a name that Nix can fetch it by.
#[derive(Debug)]
pub(crate) struct Held {
    url: RepoUrl,
    git_ref: String,
    revision: Revision,
    access: Access,
}

impl Held {
    /// As a flake.
    pub(crate) fn flake(&self) -> Flake<'_> {
        let Self { url, git_ref, revision, access } = self;
        Flake { url, git_ref, revision, access, overrides: &[] }
    }
}

/// A branch by its full name.
pub(crate) fn full(branch: &str) -> String {
    format!("refs/heads/{branch}")
}

async fn finished(
    doing: &str,
    git: &mut Command,
    limit: Duration,
) -> Result<Finished, CheckoutError> {
    let done = process::finished("git", git, limit).await;
    let failed = |reason: String| CheckoutError::Git { doing: doing.to_owned(), reason };
    done.map_err(|error| failed(error.to_string()))
}

fn git_failed(doing: String, done: &Finished) -> CheckoutError {
    CheckoutError::Git { doing, reason: flake::git::last_lines(&done.stderr) }
}

fn word(done: &Finished) -> String {
    String::from_utf8_lossy(&done.stdout).trim().to_owned()
}

fn write(path: &PathBuf, text: &str) -> Result<(), CheckoutError> {
    let io = |source| CheckoutError::Io { path: path.clone(), source };
    std::fs::write(path, text).map_err(io)
}

#[cfg(test)]
mod tests;
