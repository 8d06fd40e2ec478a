//! On real git, against a bare repository beside it.

use std::{path::Path, process::Command};

use super::*;

struct Server {
    dir: TempDir,
}

impl Server {
    /// A bare repository whose `master` has one commit.
    fn new() -> Self {
        let server = Self { dir: tempfile::tempdir().expect("a folder") };
        server.git(&["init", "--quiet", "--bare", "--initial-branch=master", "."]);
        server.commit("master", &[("flake.nix", "{}"), (LOCK, "old")]);
        server
    }

    fn git(&self, args: &[&str]) -> String {
        let mut git = Command::new("git");
        git.arg("-C").arg(self.dir.path()).args(args);
        git.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        let done = git.output().expect("git");
        assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).trim().to_owned()
    }

    /// Commits files over what the branch has.
    fn commit(&self, branch: &str, files: &[(&str, &str)]) -> Revision {
        let work = tempfile::tempdir().expect("a folder");
        let path = work.path().to_string_lossy().into_owned();
        let name = format!("refs/heads/{branch}");
        let index = work.path().join("index");
        let run = |args: &[&str]| {
            let mut git = Command::new("git");
            git.arg("-C").arg(self.dir.path()).args(args).env("GIT_INDEX_FILE", &index);
            git.env("GIT_AUTHOR_NAME", "t").env("GIT_AUTHOR_EMAIL", "t@example.org");
            git.env("GIT_COMMITTER_NAME", "t").env("GIT_COMMITTER_EMAIL", "t@example.org");
            let done = git.output().expect("git");
            assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
            String::from_utf8_lossy(&done.stdout).trim().to_owned()
        };
        let parent = self.rev(&name);
        if let Some(parent) = &parent {
            run(&["read-tree", parent.as_str()]);
        }
        for (file, text) in files {
            let from = format!("{path}/file");
            std::fs::write(&from, text).expect("a file");
            let blob = run(&["hash-object", "-w", &from]);
            run(&["update-index", "--add", "--cacheinfo", &format!("100644,{blob},{file}")]);
        }
        let tree = run(&["write-tree"]);
        let mut args = vec!["commit-tree", &tree, "-m", "change"];
        if let Some(parent) = &parent {
            args.extend(["-p", parent.as_str()]);
        }
        let made = run(&args);
        run(&["update-ref", &name, &made]);
        made.parse().expect("a commit")
    }

    fn rev(&self, name: &str) -> Option<Revision> {
        let mut git = Command::new("git");
        git.arg("-C").arg(self.dir.path()).args(["rev-parse", "--verify", "--quiet", name]);
        let done = git.output().expect("git");
        String::from_utf8_lossy(&done.stdout).trim().parse().ok()
    }

    async fn checkout(&self) -> Checkout {
        let url: RepoUrl = url(self.dir.path());
        let author = Author { name: "gate".into(), email: "gate@example.org".into() };
        Checkout::open(&url, Access::default(), author).await.expect("a clone")
    }
}

fn url(path: &Path) -> RepoUrl {
    path.to_string_lossy().parse().expect("a url")
}

fn update<'a>(parent: &'a Revision, lock: &'a str) -> Commit<'a> {
    Commit { parent, lock, message: "update", date: 1_767_225_600 }
}

#[tokio::test]
async fn the_same_update_is_the_same_commit_wherever_it_is_made() {
    let server = Server::new();
    let (one, two) = (server.checkout().await, server.checkout().await);
    let base = one.fetch("master").await.expect("fetched").expect("a branch");
    two.fetch("master").await.expect("fetched");
    let first = one.commit(update(&base, "new")).await.expect("a commit");
    // What lies in the working tree does not matter.
    two.check_out(&base).await.expect("checked out");
    std::fs::write(two.path().join("stray"), "x").expect("a file");
    assert_eq!(two.commit(update(&base, "new")).await.expect("a commit"), first);
    assert_ne!(two.commit(update(&base, "newer")).await.expect("a commit"), first);
    assert_eq!(one.lock_at(&first).await.expect("read").as_deref(), Some("new"));
    assert_eq!(one.lock_at(&base).await.expect("read").as_deref(), Some("old"));
    assert!(one.contains(&first, &base).await.expect("compared"));
    assert!(!one.contains(&base, &first).await.expect("compared"));
    assert!(one.flake_differs(&base, &first).await.expect("compared"));
    assert!(one.has(&first).await.expect("looked") && one.has(&base).await.expect("looked"));
}

#[tokio::test]
async fn a_branch_is_moved_only_from_where_it_is_expected() {
    let server = Server::new();
    let clone = server.checkout().await;
    let base = clone.fetch("master").await.expect("fetched").expect("a branch");
    let ours = clone.commit(update(&base, "new")).await.expect("a commit");
    let push = async |branch, to, from| clone.push(branch, to, from).await.expect("an answer");

    assert_eq!(push("u/1", &ours, None).await, Pushed::Done);
    assert_eq!(push("u/1", &base, None).await, Pushed::Lost, "it exists");
    assert_eq!(push("u/1", &ours, Some(&ours)).await, Pushed::Done, "asked twice");

    // Somebody is faster.
    let theirs = server.commit("master", &[("README", "x")]);
    assert_eq!(push("master", &ours, Some(&base)).await, Pushed::Lost);
    assert_eq!(server.rev("refs/heads/master"), Some(theirs.clone()));

    // Rewound: a plain push of the tested commit would bring the dropped one back.
    let tested = {
        clone.fetch("master").await.expect("fetched");
        clone.commit(update(&theirs, "new")).await.expect("a commit")
    };
    server.git(&["update-ref", "refs/heads/master", base.as_str()]);
    assert_eq!(push("master", &tested, Some(&theirs)).await, Pushed::Lost);
    assert_eq!(server.rev("refs/heads/master"), Some(base.clone()));
    assert_eq!(push("master", &ours, Some(&base)).await, Pushed::Done);
}

#[tokio::test]
async fn a_branch_is_deleted_only_where_it_was_left() {
    let server = Server::new();
    let clone = server.checkout().await;
    let base = clone.fetch("master").await.expect("fetched").expect("a branch");
    let ours = clone.commit(update(&base, "new")).await.expect("a commit");
    clone.push("u/1", &ours, None).await.expect("an answer");
    let fix = server.commit("u/1", &[("fix", "x")]);
    assert_eq!(clone.delete("u/1", &ours).await.expect("an answer"), Pushed::Lost);
    assert_eq!(server.rev("refs/heads/u/1"), Some(fix.clone()));
    assert_eq!(clone.delete("u/1", &fix).await.expect("an answer"), Pushed::Done);
    assert_eq!(clone.delete("u/1", &fix).await.expect("an answer"), Pushed::Lost, "it is gone");
    assert_eq!(clone.head("u/1").await.expect("an answer"), None);
    assert_eq!(clone.fetch("u/1").await.expect("an answer"), None);
}

#[tokio::test]
async fn a_server_that_refuses_says_why() {
    let server = Server::new();
    let hook = server.dir.path().join("hooks/pre-receive");
    std::fs::write(&hook, "#!/bin/sh\necho 'branch is protected' >&2\nexit 1\n").expect("a hook");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&hook, mode).expect("a mode");
    let clone = server.checkout().await;
    let base = clone.fetch("master").await.expect("fetched").expect("a branch");
    let ours = clone.commit(update(&base, "new")).await.expect("a commit");
    let pushed = clone.push("master", &ours, Some(&base)).await.expect("an answer");
    let Pushed::Denied(words) = pushed else { panic!("{pushed:?}") };
    assert!(words.contains("branch is protected"), "{words}");
}

#[tokio::test]
async fn a_server_that_is_away_is_an_error_and_no_missing_branch() {
    let server = Server::new();
    let clone = server.checkout().await;
    std::fs::rename(server.dir.path(), server.dir.path().with_extension("away")).expect("moved");
    assert!(clone.head("master").await.is_err());
    assert!(clone.fetch("master").await.is_err());
    std::fs::rename(server.dir.path().with_extension("away"), server.dir.path()).expect("back");
}
