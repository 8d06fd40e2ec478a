//! Asking a git server which commit a branch is at. Nothing is fetched and nothing is kept.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use proto::{Revision, TokenError};
use settings::{Branch, RepoTable, RepoUrl};
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

/// The commit that a branch of a repository is at, now.
///
/// # Errors
/// See [`GitError`].
pub async fn resolve(repo: &RepoTable, branch: &Branch) -> Result<Revision, GitError> {
    let access = Access::by_file(repo.git_credentials_file.as_deref());
    resolve_ref(&repo.url, &full_ref(branch), &access).await
}

/// The commit that a ref, by its full name, is at, now.
///
/// # Errors
/// See [`GitError`].
pub async fn resolve_ref(
    url: &RepoUrl,
    git_ref: &str,
    access: &Access,
) -> Result<Revision, GitError> {
    let (git_ref, url) = (git_ref.to_owned(), url.to_string());
    let failed = |reason: String| {
        let (git_ref, url) = (git_ref.clone(), url.clone());
        GitError::Failed { git_ref, url, reason }
    };
    let mut command = Command::new("git");
    command.args(["ls-remote", "--exit-code", "--", &url, &git_ref]);
    unattended(&mut command, access);
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

/// With what git (also the one that Nix starts) logs in.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// File in the format of git's `credential-store`.
    pub credentials: Option<PathBuf>,
    /// File with an access token for everything below one URL.
    pub token_file: Option<(String, PathBuf)>,
}

impl Access {
    /// By a credentials file, or as nobody.
    pub fn by_file(credentials: Option<&Path>) -> Self {
        Self { credentials: credentials.map(Path::to_owned), token_file: None }
    }
}

/// Makes git ask nobody, speak English, know no repository but the one it is given, and log in with
/// `access` only. The environment serves git and Nix alike. It names files and holds no secret: a process
/// hands its environment on to all that it starts.
pub fn unattended(command: &mut Command, access: &Access) {
    command.env("GIT_TERMINAL_PROMPT", "0").env("LC_ALL", "C");
    for inherited in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_ASKPASS", "SSH_ASKPASS"] {
        command.env_remove(inherited);
    }
    let mut config: Vec<(String, String)> = Vec::new();
    if let Some(path) = &access.credentials {
        // An empty helper forgets those of the user's own config.
        config.push(("credential.helper".into(), String::new()));
        config.push(("credential.helper".into(), credential_helper(path)));
    }
    if let Some((url, file)) = &access.token_file {
        // Only this one for the forge, whatever there is for the others.
        config.push((format!("credential.{url}.helper"), String::new()));
        config.push((format!("credential.{url}.helper"), token_helper(file)));
    }
    if config.is_empty() {
        return;
    }
    command.env("GIT_CONFIG_COUNT", config.len().to_string());
    for (at, (key, value)) in config.into_iter().enumerate() {
        command.env(format!("GIT_CONFIG_KEY_{at}"), key);
        command.env(format!("GIT_CONFIG_VALUE_{at}"), value);
    }
}

/// For reading only: git tells its own `store` helper to erase what a server refused, and a server
/// that is broken for a minute refuses everything. git hands the line to a shell, so the path is
/// quoted for one.
fn credential_helper(path: &Path) -> String {
    let path = path.to_string_lossy().replace('\'', r"'\''");
    let get = format!("git credential-store --file='{path}' get");
    format!("!f() {{ test \"$1\" = get && {get}; }}; f")
}

/// The forges take a token as the password of whatever user; blanks around it are none of it.
fn token_helper(path: &Path) -> String {
    let path = path.to_string_lossy().replace('\'', r"'\''");
    let get =
        format!("printf 'username=token\\npassword=%s\\n' \"$(tr -d '[:space:]' <'{path}')\"");
    format!("!f() {{ test \"$1\" = get && {get}; }}; f")
}

/// A pattern of `ls-remote` matches the end of names too, so the full name decides.
fn commit_of<'a>(answer: &'a str, git_ref: &str) -> Option<&'a str> {
    let mut lines = answer.lines().filter_map(|line| line.split_once('\t'));
    lines.find(|(_, name)| *name == git_ref).map(|(commit, _)| commit)
}

/// The end of what git said, in one line.
pub fn last_lines(stderr: &str) -> String {
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
    fn a_credentials_file_reaches_git_as_one_word_and_is_only_read() {
        let helper = |path: &str| credential_helper(Path::new(path));
        let get = |file: &str| {
            format!("!f() {{ test \"$1\" = get && git credential-store --file={file} get; }}; f")
        };
        assert_eq!(helper("/run/c"), get("'/run/c'"));
        assert_eq!(helper("/a b/$(id)'s"), get(r"'/a b/$(id)'\''s'"));
    }

    #[test]
    fn git_reads_a_token_from_its_file_for_its_forge_alone() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("it's a $(token)");
        std::fs::write(&file, " hunter2 \n").expect("a file");
        let token_file = Some(("https://git.example/".to_owned(), file));
        let access = Access { credentials: None, token_file };
        let fill = |host: &str, operation: &str| {
            let mut git = Command::new("git");
            git.args(["credential", operation]).env("GIT_ASKPASS", "");
            unattended(&mut git, &access);
            let mut git = git.into_std();
            let all = git.get_args().chain(git.get_envs().filter_map(|(_, value)| value));
            assert!(all.into_iter().all(|it| !it.to_string_lossy().contains("hunter2")));
            git.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
            let mut git = git.stderr(std::process::Stdio::null()).spawn().expect("git");
            let asked = format!("protocol=https\nhost={host}\n\n");
            let mut stdin = git.stdin.take().expect("its stdin");
            std::io::Write::write_all(&mut stdin, asked.as_bytes()).expect("it reads");
            drop(stdin);
            let said = git.wait_with_output().expect("it ends").stdout;
            String::from_utf8(said).expect("text")
        };
        let answer = "protocol=https\nhost=git.example\nusername=token\npassword=hunter2\n";
        assert_eq!(fill("git.example", "fill"), answer);
        assert!(!fill("git.other", "fill").contains("hunter2"));
        // A server that refused it for a minute takes nothing away.
        fill("git.example", "reject");
        assert_eq!(fill("git.example", "fill"), answer);
    }
}
