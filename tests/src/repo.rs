//! A real bare git repository and what people and attackers do to it.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;

use crate::{
    process::{Output, command, run},
    scratch::scratch,
};

/// A git command on a tiny repository, on a machine busy with other tests.
const GIT_DEADLINE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub struct Repo {
    dir: TempDir,
}

/// A repository that is not where it should be.
#[derive(Debug)]
pub struct Hidden {
    from: PathBuf,
    to: PathBuf,
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let back = std::fs::rename(&self.to, &self.from);
        assert!(back.is_ok() || std::thread::panicking(), "{back:?}");
    }
}

impl Repo {
    /// An empty bare repository whose default branch will be `master`.
    pub fn new() -> Self {
        let repo = Self { dir: scratch() };
        repo.git(&["init", "--quiet", "--bare", "--initial-branch=master", "."]);
        repo
    }

    /// Takes the repository away until the value is dropped, as a server that is down does.
    pub fn hide(&self) -> Hidden {
        let (from, to) = (self.path().to_owned(), self.path().with_extension("away"));
        std::fs::rename(&from, &to).expect("a folder to rename");
        Hidden { from, to }
    }

    pub fn url(&self) -> String {
        format!("file://{}", self.path().display())
    }

    pub fn path(&self) -> PathBuf {
        self.dir.path().join("homelab.git")
    }

    /// Puts these files over what the branch has, as one commit; returns its 40-hex id.
    ///
    /// A branch that does not exist starts with this commit and without history.
    pub fn commit<P, T>(&self, branch: &str, files: &[(P, T)]) -> String
    where
        P: AsRef<str>,
        T: AsRef<str>,
    {
        let reference = format!("refs/heads/{branch}");
        let mut script = format!(
            "commit {reference}\ncommitter Test <test@example.org> 1767225600 +0000\ndata 6\nchange\n"
        );
        if self.try_git(&["rev-parse", "--verify", "--quiet", &reference]).code == Some(0) {
            script += &format!("from {reference}^0\n");
        }
        for (path, text) in files {
            let (path, text) = (path.as_ref(), text.as_ref());
            script += &format!("M 100644 inline {path}\ndata {}\n{text}\n", text.len());
        }
        self.import(&script);
        self.git(&["rev-parse", &reference])
    }

    /// Makes or moves a branch, as `git push --force` does.
    pub fn set_branch(&self, branch: &str, to: &str) {
        self.git(&["update-ref", &format!("refs/heads/{branch}"), to]);
    }

    /// Deletes a branch. Its commits stay in the repository, on no ref.
    pub fn delete_branch(&self, branch: &str) {
        self.git(&["update-ref", "-d", &format!("refs/heads/{branch}")]);
    }

    /// The commit a branch or any other name points to.
    pub fn rev(&self, name: &str) -> String {
        self.git(&["rev-parse", "--verify", &format!("{name}^{{commit}}")])
    }

    /// Runs git in the repository and returns its trimmed stdout; panics when it fails.
    #[track_caller]
    pub fn git(&self, args: &[&str]) -> String {
        self.try_git(args).expect_code(0).stdout.trim_end().to_owned()
    }

    fn try_git(&self, args: &[&str]) -> Output {
        run(self.command().args(args), GIT_DEADLINE)
    }

    fn import(&self, script: &str) {
        let file = self.dir.path().join("import");
        fs::write(&file, script).expect("a writable temporary folder");
        let input = fs::File::open(&file).expect("the file just written");
        let mut git = self.command();
        git.args(["fast-import", "--quiet"]).stdin(Stdio::from(input));
        run(&mut git, GIT_DEADLINE).expect_code(0);
    }

    /// Git without any config but the repository's own.
    fn command(&self) -> Command {
        let path = self.path();
        fs::create_dir_all(&path).expect("a writable temporary folder");
        let mut git = command("git");
        git.current_dir(&path)
            .env("HOME", self.dir.path())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null");
        git
    }
}

impl Default for Repo {
    fn default() -> Self {
        Self::new()
    }
}
