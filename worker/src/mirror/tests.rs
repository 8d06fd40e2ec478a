//! Real git, with the repository in a folder.

use std::{fs, process::Command};

use super::*;
use crate::nix::process::tests::supervisor;

pub(crate) struct Upstream {
    dir: tempfile::TempDir,
}

impl Upstream {
    pub(crate) fn new() -> Self {
        let upstream = Self { dir: tempfile::tempdir().expect("a folder") };
        upstream.git(&["init", "--quiet", "--initial-branch=master"]);
        upstream
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn git(&self, args: &[&str]) -> String {
        let identity = ["-c", "user.name=t", "-c", "user.email=t@t"];
        let mut git = Command::new("git");
        git.arg("-C").arg(self.path()).args(identity).args(args);
        let output = git.output().expect("git runs");
        assert!(output.status.success(), "git {args:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    pub(crate) fn commit(&self, name: &str, text: &str) -> Revision {
        fs::write(self.path().join(name), text).expect("a file");
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--message", name]);
        self.git(&["rev-parse", "HEAD"]).parse().expect("a commit")
    }
}

fn nix(home: &Path) -> Nix {
    let (substituters, trusted_public_keys) = (String::new(), String::new());
    Nix { store: None, home: home.to_owned(), substituters, trusted_public_keys }
}

struct Setup {
    upstream: Upstream,
    state: tempfile::TempDir,
    mirror: Mirror,
    stop: CancellationToken,
}

impl Setup {
    fn new(refs: &str) -> Self {
        let (upstream, state) = (Upstream::new(), tempfile::tempdir().expect("a folder"));
        let text = format!("url = {:?}\nrefs = {refs}", upstream.path());
        let table: RepoTable = settings::parse(&text, Path::new("test")).expect("a table");
        let mirror = Mirror::new(state.path(), &"r".parse().expect("a repo"), &table);
        Self { upstream, state, mirror, stop: CancellationToken::new() }
    }

    async fn obtain(&self, revision: &Revision) -> Result<Commit, MirrorError> {
        let nix = nix(self.state.path());
        let log = LogSink::mute();
        let supervisor = supervisor();
        let git = Git { supervisor: &supervisor, nix: &nix, stop: &self.stop, log: &log };
        self.mirror.obtain(&git, revision).await
    }

    async fn replaces(&self, new: &Revision, old: Option<&Revision>) -> bool {
        let nix = nix(self.state.path());
        let log = LogSink::mute();
        let supervisor = supervisor();
        let git = Git { supervisor: &supervisor, nix: &nix, stop: &self.stop, log: &log };
        self.mirror.replaces(&git, new, old).await.expect("git works")
    }

    async fn landed(&self, commits: &[&str]) -> Result<Vec<(String, u64)>, MirrorError> {
        let nix = nix(self.state.path());
        let log = LogSink::mute();
        let supervisor = supervisor();
        let git = Git { supervisor: &supervisor, nix: &nix, stop: &self.stop, log: &log };
        let landed = self.mirror.landed(&git, &commits.iter().copied().collect()).await?;
        let mut landed: Vec<(String, u64)> = landed.into_iter().collect();
        landed.sort_by_key(|(_, age)| *age);
        Ok(landed)
    }

    #[track_caller]
    fn refused(end: Result<Commit, MirrorError>) -> String {
        let error = end.expect_err("it may not be built");
        assert!(matches!(error, MirrorError::NotAllowed { .. }), "{error}");
        let end = BuildEnd::from(error);
        let BuildEnd::Infra { kind: InfraKind::FetchFailed, failure } = end else {
            panic!("{end:?}")
        };
        failure.message
    }
}

#[tokio::test]
async fn only_commits_on_allowed_branches_may_be_built() {
    let it = Setup::new("[\"master\", \"update/*\"]");
    let first = it.upstream.commit("a", "1");
    assert_eq!(it.obtain(&first).await.expect("on master").branch, "master");
    it.upstream.git(&["checkout", "--quiet", "-b", "update/x"]);
    let update = it.upstream.commit("a", "2");
    assert_eq!(it.obtain(&update).await.expect("on update/x").branch, "update/x");
    it.upstream.git(&["checkout", "--quiet", "-b", "private"]);
    let private = it.upstream.commit("a", "3");
    let told = Setup::refused(it.obtain(&private).await);
    for part in ["repo r", private.commit(), "master, update/*"] {
        assert!(told.contains(part), "{told}");
    }
    // A branch that the config allowed once is still in the mirror.
    let mut narrow = it;
    narrow.mirror.allowed = vec!["master".parse().expect("a pattern")];
    Setup::refused(narrow.obtain(&update).await);
    let nowhere: Revision = "0".repeat(40).parse().expect("a commit");
    Setup::refused(narrow.obtain(&nowhere).await);
}

#[tokio::test]
async fn a_commit_in_the_store_that_no_allowed_branch_contains_is_refused() {
    let it = Setup::new("[\"master\", \"update/*\"]");
    it.upstream.commit("a", "1");
    it.upstream.git(&["checkout", "--quiet", "-b", "update/x"]);
    let update = it.upstream.commit("a", "2");
    it.obtain(&update).await.expect("allowed while the branch is there");
    it.upstream.git(&["checkout", "--quiet", "master"]);
    it.upstream.git(&["branch", "--quiet", "-D", "update/x"]);
    let next = it.upstream.commit("b", "1");
    it.obtain(&next).await.expect("a fetch, which prunes");
    let kept = it.mirror.dir.join("refs/nbp").join(update.commit());
    assert!(kept.exists(), "it is still in the object store");
    Setup::refused(it.obtain(&update).await);
}

#[tokio::test]
async fn what_is_known_needs_no_network_and_a_broken_mirror_heals() {
    let it = Setup::new("[\"master\", \"gone\"]");
    let first = it.upstream.commit("a", "1");
    it.obtain(&first).await.expect("a listed branch that is not there hinders nobody");
    let second = it.upstream.commit("a", "2");
    fs::write(it.mirror.dir.join("HEAD"), "nonsense").expect("broken");
    it.obtain(&second).await.expect("made anew");
    let away = it.upstream.path().join("gone.git");
    fs::rename(it.upstream.path().join(".git"), away).expect("no network");
    it.obtain(&second).await.expect("known");
    let error = it.obtain(&"1".repeat(40).parse().expect("a commit")).await.expect_err("unknown");
    assert!(matches!(&error, MirrorError::Git { step: "fetch", .. }), "{error}");
    it.stop.cancel();
    assert!(matches!(it.obtain(&second).await, Err(MirrorError::Stopped)));
}

#[tokio::test]
async fn what_is_known_needs_no_git_until_a_branch_moves() {
    let it = Setup::new("[\"master\", \"update/*\"]");
    let first = it.upstream.commit("a", "1");
    let found = it.obtain(&first).await.expect("on master");
    let without_git = async || {
        let nix = nix(it.state.path());
        let log = LogSink::mute();
        let supervisor = Supervisor::new("/nonexistent", [""]);
        let git = Git { supervisor: &supervisor, nix: &nix, stop: &it.stop, log: &log };
        it.mirror.obtain(&git, &first).await
    };
    assert_eq!(without_git().await.expect("known"), found);
    // What Nix fetches by is there, or git makes it.
    let kept = it.mirror.dir.join("refs/nbp").join(first.commit());
    fs::remove_file(&kept).expect("a ref");
    assert!(matches!(without_git().await, Err(MirrorError::Git { .. })));
    it.obtain(&first).await.expect("on master");
    assert!(kept.exists() && without_git().await.is_ok());
    let second = it.upstream.commit("a", "2");
    it.obtain(&second).await.expect("on master");
    assert!(matches!(without_git().await, Err(MirrorError::Git { .. })), "master has moved");
    assert_eq!(it.obtain(&first).await.expect("on master"), found);
    assert_eq!(without_git().await.expect("known again"), found);
}

#[tokio::test]
async fn the_newest_good_commit_is_the_tracked_branchs_word() {
    let it = Setup::new("[\"master\", \"update/*\"]");
    let git = |args: &[&str]| it.upstream.git(args);
    let first = it.upstream.commit("a", "1");
    let second = it.upstream.commit("a", "2");
    it.obtain(&second).await.expect("on master");
    assert!(it.replaces(&first, None).await);
    assert!(it.replaces(&second, Some(&first)).await);
    assert!(!it.replaces(&first, Some(&second)).await, "an older one");
    assert!(it.replaces(&second, Some(&second)).await, "the same one, built again");
    // What is on another branch only is not tracked.
    git(&["checkout", "--quiet", "-b", "update/x"]);
    let update = it.upstream.commit("a", "3");
    it.obtain(&update).await.expect("on update/x");
    assert!(!it.replaces(&update, Some(&second)).await);
    assert!(!it.replaces(&update, None).await);
    // Two sides of a merge are as new as each other.
    git(&["checkout", "--quiet", "master"]);
    let side = it.upstream.commit("b", "1");
    git(&["merge", "--quiet", "--no-edit", "update/x"]);
    let merged = it.upstream.commit("c", "1");
    it.obtain(&merged).await.expect("on master");
    assert!(it.replaces(&side, Some(&update)).await && it.replaces(&update, Some(&side)).await);
    // Another worker noted a commit that this mirror has not seen: it asks before it judges.
    let unseen = it.upstream.commit("c", "2");
    assert!(!it.replaces(&merged, Some(&unseen)).await);
    // The branch was rewound: what it no longer holds is not the newest of it.
    git(&["reset", "--quiet", "--hard", second.as_str()]);
    let other = it.upstream.commit("d", "1");
    it.obtain(&other).await.expect("on master");
    assert!(it.replaces(&other, Some(&unseen)).await && it.replaces(&second, Some(&unseen)).await);
}

#[tokio::test]
async fn what_has_landed_is_known_by_the_branch_as_it_is_now_and_in_its_order() {
    let it = Setup::new("[\"master\", \"update/*\"]");
    let git = |args: &[&str]| it.upstream.git(args);
    let first = it.upstream.commit("a", "1");
    git(&["checkout", "--quiet", "-b", "update/x"]);
    let update = it.upstream.commit("a", "2");
    git(&["checkout", "--quiet", "-b", "update/y"]);
    let other = it.upstream.commit("a", "3");
    let asked = [&update, &other, &first].map(Revision::short);
    let place = |of: &Revision, age| (of.short().to_owned(), age);
    assert_eq!(it.landed(&asked).await.expect("it answers"), [place(&first, 1)]);
    // By a fast-forward, with the branch gone at once, and more behind it.
    git(&["checkout", "--quiet", "master"]);
    git(&["merge", "--quiet", "--ff-only", "update/x"]);
    git(&["branch", "--quiet", "-D", "update/x"]);
    it.upstream.commit("b", "1");
    let landed = it.landed(&asked).await.expect("it answers");
    assert_eq!(landed, [place(&first, 1), place(&update, 2)]);
    for name in ["", "master", "--all", "HEAD", "0123456789ab"] {
        assert_eq!(it.landed(&[name]).await.expect("it answers"), [], "{name}");
    }
    // What was known before is no answer.
    let away = it.upstream.path().join("gone.git");
    fs::rename(it.upstream.path().join(".git"), away).expect("no network");
    assert!(matches!(it.landed(&asked).await, Err(MirrorError::Git { step: "fetch", .. })));
}
