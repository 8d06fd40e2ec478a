//! Which commits have come to the tracked branch meanwhile, by whatever way they landed there.

use std::collections::{BTreeMap, BTreeSet};

use super::{FETCH_WALL, Git, Mirror, MirrorError};
use crate::nix::process::Guard;

/// How many commits the history of a commit has: an ancestor has fewer than its descendants.
pub(crate) type Age = u64;

impl Mirror {
    /// Of these commits, those that the tracked branch (`default_ref`) contains as it is now.
    ///
    /// # Errors
    /// When the repository cannot be fetched: what was known before is no answer.
    pub(crate) async fn landed(
        &self,
        git: &Git<'_>,
        commits: &BTreeSet<&str>,
    ) -> Result<BTreeMap<String, Age>, MirrorError> {
        let _only = self.lock.take(git.stop).await?;
        let guard = Guard::new(git.stop, FETCH_WALL);
        self.init(git, &guard).await?;
        self.fetch(git, &guard).await?;
        let tracked = format!("refs/heads/{}", self.default_ref);
        let mut landed = BTreeMap::new();
        for &commit in commits {
            // From the name of a file: never an option, and no other name of a commit.
            let is_hex = |c: char| c.is_ascii_digit() || matches!(c, 'a'..='f');
            if commit.is_empty() || !commit.chars().all(is_hex) {
                continue;
            }
            if self.is_ancestor(git, &guard, commit, &tracked).await? == Some(true) {
                landed.insert(commit.to_owned(), self.age(git, &guard, commit).await?);
            }
        }
        Ok(landed)
    }

    async fn age(&self, git: &Git<'_>, guard: &Guard, commit: &str) -> Result<Age, MirrorError> {
        let args = ["rev-list", "--count", commit, "--"];
        let (exit, message) = self.git(git, guard, "rev-list", &args).await?;
        let exit = self.check(exit, "rev-list", message)?;
        let count = exit.text().and_then(|count| count.trim().parse().ok());
        count.ok_or_else(|| self.failed("rev-list", "it printed no count".to_owned()))
    }
}
