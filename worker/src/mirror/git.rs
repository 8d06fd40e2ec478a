//! The git calls of a mirror: making it, fetching into it, healing it.

use std::{collections::VecDeque, fs, io, path::Path};

use settings::{BranchGlob, RepoTable};

use super::{Git, Mirror, MirrorError};
use crate::nix::{
    command::Nix,
    process::{Exit, Guard, Halt, Invocation},
};

/// 100,000 branches with names of 40 bytes.
const BRANCHES_STDOUT_MAX: usize = 10 << 20;
/// Lines of git's stderr kept for the message.
const STDERR_LINES: usize = 20;

impl Mirror {
    pub(super) async fn init(&self, git: &Git<'_>, guard: &Guard) -> Result<(), MirrorError> {
        fs::create_dir_all(&self.dir).map_err(|source| self.io(source))?;
        let dir = self.dir.to_string_lossy();
        if self.dir.join("HEAD").exists() {
            return Ok(());
        }
        // `init` over a half-made repository completes it.
        let call = git.nix.git(["init", "--quiet", "--bare", "--", &dir]);
        let (exit, message) = self.run(git, guard, "init", &call).await?;
        self.check(exit, "init", message).map(drop)
    }

    pub(super) async fn fetch(&self, git: &Git<'_>, guard: &Guard) -> Result<(), MirrorError> {
        match self.fetch_once(git, guard).await {
            // A git that was killed in the middle leaves lock files or half an object behind. Here
            // nobody else is at work, so whatever is broken is thrown away and fetched anew.
            Err(MirrorError::Git { message, .. }) if broken(&message) => {
                git.log.say(format!("the mirror is broken and made anew: {message}"));
                fs::remove_dir_all(&self.dir).map_err(|source| self.io(source))?;
                self.init(git, guard).await?;
                self.fetch_once(git, guard).await
            }
            end => end,
        }
    }

    async fn fetch_once(&self, git: &Git<'_>, guard: &Guard) -> Result<(), MirrorError> {
        let login = login(self.credentials_file.as_deref());
        let mut fixed: Vec<&str> = login.iter().map(String::as_str).collect();
        fixed.extend(["fetch", "--quiet", "--prune", "--no-tags", "--force", "--", &self.url]);
        let mut wanted: Vec<&str> = self.allowed.iter().map(BranchGlob::as_str).collect();
        loop {
            let refspec = |name: &&str| format!("+refs/heads/{name}:refs/heads/{name}");
            let refspecs: Vec<String> = wanted.iter().map(refspec).collect();
            let args: Vec<&str> =
                fixed.iter().copied().chain(refspecs.iter().map(String::as_str)).collect();
            let error = match self.must(git, guard, "fetch", &args).await {
                Err(error @ MirrorError::Git { .. }) => error,
                end => return end,
            };
            // One listed branch that is gone fails the whole fetch, and is not pruned either.
            let text = error.to_string();
            let gone = missing_branch(&text);
            let at = wanted.iter().position(|name| !name.contains('*') && gone == Some(name));
            let Some(at) = at.filter(|_| wanted.len() > 1) else { return Err(error) };
            let name = format!("refs/heads/{}", wanted.remove(at));
            self.must(git, guard, "update-ref", &["update-ref", "-d", &name]).await?;
        }
    }

    pub(super) async fn must(
        &self,
        git: &Git<'_>,
        guard: &Guard,
        step: &'static str,
        args: &[&str],
    ) -> Result<(), MirrorError> {
        let (exit, message) = self.git(git, guard, step, args).await?;
        self.check(exit, step, message).map(drop)
    }

    pub(super) async fn git(
        &self,
        git: &Git<'_>,
        guard: &Guard,
        step: &'static str,
        args: &[&str],
    ) -> Result<(Exit, String), MirrorError> {
        let dir = format!("--git-dir={}", self.dir.display());
        let call = git.nix.git(std::iter::once(dir.as_str()).chain(args.iter().copied()));
        self.run(git, guard, step, &call).await
    }

    async fn run(
        &self,
        git: &Git<'_>,
        guard: &Guard,
        step: &'static str,
        call: &Invocation,
    ) -> Result<(Exit, String), MirrorError> {
        let mut said = VecDeque::new();
        let end = git.supervisor.run(call, guard, |line| {
            if said.len() == STDERR_LINES {
                said.pop_front();
            }
            said.push_back(line.text.to_string());
        });
        match end.await {
            Ok(exit) => {
                let lines: Vec<String> = said.into();
                Ok((exit, lines.join("; ")))
            }
            Err(Halt::Stopped) => Err(MirrorError::Stopped),
            Err(halt) => Err(self.failed(step, halt.to_string())),
        }
    }

    pub(super) fn check(
        &self,
        exit: Exit,
        step: &'static str,
        message: String,
    ) -> Result<Exit, MirrorError> {
        match exit.success() {
            true => Ok(exit),
            false => Err(self.failed(step, message)),
        }
    }

    pub(super) fn failed(&self, step: &'static str, message: String) -> MirrorError {
        MirrorError::Git { repo: self.repo.clone(), step, message }
    }

    fn io(&self, source: io::Error) -> MirrorError {
        MirrorError::Io { path: self.dir.clone(), source }
    }
}

/// The branch that git did not find at the remote, if it says so.
fn missing_branch(message: &str) -> Option<&str> {
    let (_, after) = message.split_once("find remote ref refs/heads/")?;
    after.split([' ', ';', '\'']).next()
}

/// git speaks of its own repository, not of the remote one.
fn broken(message: &str) -> bool {
    let own: Vec<&str> = message.split("; ").filter(|line| !line.starts_with("remote:")).collect();
    let message = own.join("; ").to_lowercase();
    let signs = [
        ".lock': file exists",
        "not a git repository",
        "object file",
        "loose object",
        "bad object",
        "corrupt",
        "packfile",
        "did not send all necessary objects",
        "unable to read",
        "bad config",
        // A branch `a` that was replaced by `a/b` upstream.
        "cannot lock ref",
    ];
    signs.iter().any(|sign| message.contains(sign))
}

/// git's options for logging in with what this file holds, or with nothing.
///
/// For reading only: git tells its own `store` helper to erase what a server refused, and a server
/// that is broken for a minute refuses everything.
fn login(credentials_file: Option<&Path>) -> Vec<String> {
    // The empty helper clears the system's list.
    let mut options = vec!["-c".to_owned(), "credential.helper=".to_owned()];
    if let Some(path) = credentials_file {
        let file = quoted(&path.to_string_lossy());
        let get = format!("git credential-store --file={file} get");
        let helper = format!("credential.helper=!f() {{ test \"$1\" = get && {get}; }}; f");
        options.extend(["-c".to_owned(), helper]);
    }
    options
}

/// The branches of a repository, asked as a mirror of it would: one a line, in full.
pub(crate) fn branches_of(nix: &Nix, table: &RepoTable) -> Invocation {
    let login = login(table.git_credentials_file.as_deref());
    let ask = ["ls-remote", "--heads", "--", table.url.as_str()];
    // Whoever became another user may stand in a folder that this one cannot enter.
    let somewhere = ["-C", "/"].into_iter();
    let mut call = nix.git(somewhere.chain(login.iter().map(String::as_str)).chain(ask));
    call.stdout_bytes_max = BRANCHES_STDOUT_MAX;
    call
}

/// git hands the helper's line to a shell.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_branch_is_missing_by_its_whole_name() {
        let said = "fetch: fatal: couldn't find remote ref refs/heads/release-26.05; hint: no";
        assert_eq!(missing_branch(said), Some("release-26.05"));
        assert_eq!(missing_branch("fatal: could not read from remote repository"), None);
    }

    #[test]
    fn the_mirror_is_not_blamed_for_the_words_of_the_server() {
        assert!(broken("fatal: bad object HEAD"));
        assert!(!broken("remote: error: bad object HEAD; fatal: early EOF"));
    }
}
