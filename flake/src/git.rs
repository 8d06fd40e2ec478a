//! Asking a git server which commit a branch is at. Nothing is fetched and nothing is kept.

use std::{path::Path, time::Duration};

use proto::{Revision, TokenError};
use settings::{Branch, RepoTable};
use tokio::process::Command;

use crate::process::{self, ProcessError};

/// A ref that was not resolved. Each message goes on after "failed to …".
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// The server has no such branch.
    #[error("resolve {git_ref}: {url} has no such ref")]
    NoSuchRef {
        /// The full name.
        git_ref: String,
        /// Where.
        url: String,
    },
    /// git or the server failed.
    #[error("resolve {git_ref} at {url}: {reason}")]
    Failed {
        /// The full name.
        git_ref: String,
        /// Where.
        url: String,
        /// What git said.
        reason: String,
    },
    /// The answer is no commit.
    #[error("resolve {git_ref}: {source}")]
    Answer {
        /// The full name.
        git_ref: String,
        /// Why.
        source: TokenError,
    },
}

/// `git ls-remote` is one round trip; ssh and a slow server get their time.
const LS_REMOTE_MAX: Duration = Duration::from_secs(60);
/// What `git ls-remote --exit-code` says when nothing matches.
const EXIT_NO_MATCH: i32 = 2;

/// The full name of a branch.
pub fn full_ref(branch: &Branch) -> String {
    format!("refs/heads/{branch}")
}

/// The commit that a branch is at, now.
pub async fn resolve(repo: &RepoTable, branch: &Branch) -> Result<Revision, GitError> {
    let (git_ref, url) = (full_ref(branch), repo.url.to_string());
    let failed = |reason: String| {
        let (git_ref, url) = (git_ref.clone(), url.clone());
        GitError::Failed { git_ref, url, reason }
    };
    let mut command = Command::new("git");
    command.args(["ls-remote", "--exit-code", "--", &url, &git_ref]);
    unattended(&mut command, repo.git_credentials_file.as_deref());
    let done = process::finished("git", &mut command, LS_REMOTE_MAX)
        .await
        .map_err(|error: ProcessError| failed(error.to_string()))?;
    match done.status.code() {
        Some(0) => {}
        Some(EXIT_NO_MATCH) => return Err(GitError::NoSuchRef { git_ref, url }),
        _ => return Err(failed(last_lines(&done.stderr))),
    }
    match commit_of(&String::from_utf8_lossy(&done.stdout), &git_ref) {
        None => Err(GitError::NoSuchRef { git_ref, url }),
        Some(commit) => commit.parse().map_err(|source| GitError::Answer { git_ref, source }),
    }
}

/// Makes git (also the one that Nix starts) ask nobody, speak English, and take its passwords from
/// one file. The environment serves both programs alike and keeps the path out of argv.
pub fn unattended(command: &mut Command, credentials: Option<&Path>) {
    command.env("GIT_TERMINAL_PROMPT", "0").env("LC_ALL", "C");
    let Some(path) = credentials else { return };
    command
        .env("GIT_CONFIG_COUNT", "2")
        // An empty helper forgets those of the user's own config.
        .env("GIT_CONFIG_KEY_0", "credential.helper")
        .env("GIT_CONFIG_VALUE_0", "")
        .env("GIT_CONFIG_KEY_1", "credential.helper")
        .env("GIT_CONFIG_VALUE_1", credential_helper(path));
}

/// git hands a helper to a shell, so the path is quoted for one.
fn credential_helper(path: &Path) -> String {
    let path = path.to_string_lossy().replace('\'', r"'\''");
    format!("store --file='{path}'")
}

/// A pattern of `ls-remote` matches the end of names too, so the full name decides.
fn commit_of<'a>(answer: &'a str, git_ref: &str) -> Option<&'a str> {
    let mut lines = answer.lines().filter_map(|line| line.split_once('\t'));
    lines.find(|(_, name)| *name == git_ref).map(|(commit, _)| commit)
}

fn last_lines(stderr: &str) -> String {
    const LINES_MAX: usize = 5;
    let lines: Vec<&str> = stderr.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(LINES_MAX)..].join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_full_name_is_the_branch() {
        let answer = "aaa\trefs/heads/x/refs/heads/master\nbbb\trefs/heads/master\n";
        assert_eq!(commit_of(answer, "refs/heads/master"), Some("bbb"));
        assert_eq!(commit_of(answer, "refs/heads/main"), None);
        assert_eq!(commit_of("warning: nonsense\n", "refs/heads/main"), None);
    }

    #[test]
    fn a_credentials_file_reaches_git_as_one_word() {
        let helper = |path: &str| credential_helper(Path::new(path));
        assert_eq!(helper("/run/c"), "store --file='/run/c'");
        assert_eq!(helper("/a b/$(id)'s"), r"store --file='/a b/$(id)'\''s'");
    }
}
