//! A Gitea or Forgejo that is not one: it serves a **real** bare repository over HTTP by
//! `git http-backend`, and the REST interface over the same repository, on loopback.
//!
//! Every request is held against the interface's own description (`tests/data/`), and so is every
//! answer of the mock; what does not fit fails the test when the mock is dropped. It stands in for
//! a server that is too large to be part of the tests; git is git.

mod api;
mod faults;
mod git;
mod http;
mod schema;
mod server;
mod spec;
mod state;

use std::{
    fmt, fs,
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use tempfile::TempDir;
use tokio::{net::TcpListener, runtime::Runtime};

pub use faults::{Fault, Held, On};
pub use http::Request;
pub use state::{File, PostedComment, PostedStatus, PullRequest, Settings};

use crate::{Repo, eventually, scratch::scratch};
use faults::{Faults, Stage};
use git::Git;
use server::{Shared, lock};
use spec::Spec;
use state::State;

/// Which server it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persona {
    /// 1.26.3: moves branches by compare-and-set.
    Gitea126,
    /// The same without that.
    Gitea125,
    /// 17.0.0, which also filters lists by other names.
    Forgejo,
}

/// A request that came, in the order in which they came.
#[derive(Clone, Debug)]
pub struct Seen {
    pub request: Request,
    /// `None` when there was no answer, or is none yet.
    pub status: Option<u16>,
}

/// The login of the token in [`MockForge::token_file`].
pub const BOT: &str = "gate-bot";
/// Somebody with a token of her own.
pub const ALICE: &str = "alice";

/// For a listener to be closed, on a machine busy with other tests.
const STOP_DEADLINE: Duration = Duration::from_secs(60);

const OWNER: &str = "infra";
const NAME: &str = "homelab";

/// A forge of one test, with one repository: `infra/homelab`.
pub struct MockForge {
    shared: Arc<Shared>,
    address: SocketAddr,
    /// `None` once it is stopped.
    runtime: Option<Runtime>,
    dir: TempDir,
}

impl MockForge {
    /// Serves `repo`, which may be changed behind its back at any time.
    pub fn start(persona: Persona, repo: &Repo) -> Self {
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        Self::serving(persona, repo.path(), (OWNER, NAME), anywhere)
    }

    /// Serves the bare repository in `dir` as `owner/name` at this address.
    pub fn serving(
        persona: Persona,
        dir: PathBuf,
        (owner, name): (&str, &str),
        address: SocketAddr,
    ) -> Self {
        let spec = Spec::of(persona);
        let users = [BOT, ALICE].map(|login| (token(), login.to_owned())).to_vec();
        let shared = Arc::new(Shared {
            persona,
            spec,
            git: Git::new(dir),
            repo: (owner.to_owned(), name.to_owned()),
            users,
            state: Mutex::new(State::default()),
            faults: Faults::default(),
            seen: Mutex::default(),
            violations: Mutex::default(),
        });
        let (listener, address) = server::listen(address);
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build().expect("a runtime");
        let accepting = Arc::clone(&shared);
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).expect("a listener of ours");
            server::accept(listener, accepting).await;
        });
        let dir = scratch();
        let forge = Self { shared, address, runtime: Some(runtime), dir };
        fs::write(forge.token_file(), forge.token() + "\n").expect("a writable temporary folder");
        forge
    }

    /// Where its pages would start.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The repository, for git. Fetching needs no login unless the settings say so.
    pub fn git_url(&self) -> String {
        format!("{}/{}.git", self.url(), self.repo())
    }

    /// `owner/name`.
    pub fn repo(&self) -> String {
        let (owner, name) = &self.shared.repo;
        format!("{owner}/{name}")
    }

    /// The token of [`BOT`].
    pub fn token(&self) -> String {
        self.token_of(BOT)
    }

    #[track_caller]
    pub fn token_of(&self, login: &str) -> String {
        let found = self.shared.users.iter().find(|(_, it)| it == login);
        found.expect("a user of this forge").0.clone()
    }

    /// A file with the token of [`BOT`].
    pub fn token_file(&self) -> PathBuf {
        self.dir.path().join("token")
    }

    /// The `[forge]` table that a gate needs to use it.
    pub fn config(&self) -> String {
        format!(
            "[forge]\nurl = {:?}\nrepo = {:?}\ntoken_file = {:?}\n",
            self.url(),
            self.repo(),
            self.token_file()
        )
    }

    /// Ends it: its port refuses connections.
    pub fn stop(&mut self) {
        self.shut_down();
        eventually("the forge's port to be closed", STOP_DEADLINE, || {
            TcpStream::connect(self.address).is_err().then_some(())
        });
    }

    /// Waits for nothing, so that a test may end inside a runtime of its own.
    fn shut_down(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    // What the server is like.

    pub fn set(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.shared.state().settings);
    }

    /// Lets only these users push to a branch, by REST and by git.
    pub fn protect(&self, branch: &str, allowed: &[&str]) {
        let mut state = self.shared.state();
        state.protected.retain(|(it, _)| it != branch);
        let allowed = allowed.iter().map(|&login| login.to_owned()).collect();
        state.protected.push((branch.to_owned(), allowed));
        self.shared.git.protect(&state.protected);
    }

    // What somebody else did.

    /// Opens a pull request as somebody did before, even from a fork; returns its number.
    pub fn add_pull(&self, change: impl FnOnce(&mut PullRequest)) -> u64 {
        let mut state = self.shared.state();
        let number = state.next_pull();
        let mut pull = PullRequest {
            number,
            open: true,
            merged: false,
            title: format!("Change {number}"),
            body: String::new(),
            author: ALICE.to_owned(),
            head: format!("change-{number}"),
            head_commit: String::new(),
            base: "master".to_owned(),
            from_fork: true,
            labels: Vec::new(),
        };
        change(&mut pull);
        state.pulls.push(pull);
        number
    }

    pub fn add_label(&self, name: &str) -> u64 {
        let mut state = self.shared.state();
        state.labels.push(name.to_owned());
        state.labels.len() as u64
    }

    /// Writes a comment as `author`; returns its id.
    pub fn add_comment(&self, pull: u64, author: &str, body: &str) -> u64 {
        let mut state = self.shared.state();
        let (author, body) = (author.to_owned(), body.to_owned());
        let id = state.next_comment();
        state.comments.push(PostedComment { id, pull, author, body, files: Vec::new(), edits: 0 });
        id
    }

    // What became of it.

    pub fn pulls(&self) -> Vec<PullRequest> {
        self.shared.state().pulls.clone()
    }

    #[track_caller]
    pub fn pull(&self, number: u64) -> PullRequest {
        self.shared.state().pull(number).expect("a pull request of this number").clone()
    }

    /// Names of a pull request's labels, sorted.
    #[track_caller]
    pub fn labels_of(&self, number: u64) -> Vec<String> {
        let (ids, names) = (self.pull(number).labels, self.labels());
        let index = |id: &u64| usize::try_from(*id).expect("a small number") - 1;
        let mut names: Vec<String> = ids.iter().map(|id| names[index(id)].clone()).collect();
        names.sort();
        names
    }

    /// Names of all labels, those of one name included; ids count from 1.
    pub fn labels(&self) -> Vec<String> {
        self.shared.state().labels.clone()
    }

    pub fn comments(&self, pull: u64) -> Vec<PostedComment> {
        let state = self.shared.state();
        state.comments.iter().filter(|comment| comment.pull == pull).cloned().collect()
    }

    /// All that was said about a commit, oldest first.
    pub fn statuses(&self, commit: &str) -> Vec<PostedStatus> {
        self.shared.state().statuses.get(commit).cloned().unwrap_or_default()
    }

    // What goes wrong.

    /// Answers the next `times` such requests like this, without doing what they ask for. What
    /// changes the right answer is done all the same.
    pub fn fault(&self, on: On, times: usize, fault: Fault) {
        self.shared.faults.fault(Stage::Instead, on, Some(times), fault);
    }

    /// The same for all that come.
    pub fn always(&self, on: On, fault: Fault) {
        self.shared.faults.fault(Stage::Instead, on, None, fault);
    }

    /// Does what the next `times` such requests ask for, and answers like this.
    pub fn lose(&self, on: On, times: usize, fault: Fault) {
        self.shared.faults.fault(Stage::After, on, Some(times), fault);
    }

    /// Runs `hook` just before the next such request is handled.
    pub fn before(&self, on: On, hook: impl FnOnce() + Send + 'static) {
        self.shared.faults.before(on, Box::new(hook));
    }

    /// Moves a branch just before the next such request is handled, as a push by git does.
    pub fn move_before(&self, on: On, branch: &str, to: &str) {
        self.shared.faults.before(on, self.mover(branch, to));
    }

    /// Moves a branch while the next `PUT` of it is handled: after the server has looked where it
    /// is, before it pushes with a lease.
    pub fn move_inside(&self, branch: &str, to: &str) {
        let on = On::new("PUT", format!("/branches/{branch}"));
        self.shared.faults.inside_of(on, self.mover(branch, to));
    }

    /// Holds such requests before they do anything.
    pub fn hold(&self, on: On) -> Held {
        self.shared.faults.hold(Stage::Instead, on)
    }

    /// Holds the answers of such requests, which have done what they ask for.
    pub fn hold_answer(&self, on: On) -> Held {
        self.shared.faults.hold(Stage::After, on)
    }

    /// Takes all faults away. What is held stays held.
    pub fn heal(&self) {
        self.shared.faults.clear();
    }

    fn mover(&self, branch: &str, to: &str) -> Box<dyn FnOnce() + Send> {
        let (git, to) = (self.shared.git.clone(), to.to_owned());
        let reference = format!("refs/heads/{branch}");
        Box::new(move || {
            git.run(&["update-ref", &reference, &to]).expect("a branch that can be moved");
        })
    }

    // What came.

    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.shared.seen).clone()
    }

    /// How many such requests came.
    pub fn count(&self, on: &On) -> usize {
        lock(&self.shared.seen).iter().filter(|seen| on.matches(&seen.request)).count()
    }

    pub fn forget_seen(&self) {
        lock(&self.shared.seen).clear();
    }

    /// Panics when a token stood anywhere but in an `Authorization` header.
    #[track_caller]
    pub fn check_secrets(&self) {
        for Seen { request, .. } in self.seen() {
            for (token, login) in &self.shared.users {
                let body = String::from_utf8_lossy(&request.body);
                let headers = request.headers.iter().filter(|(name, _)| name != "authorization");
                let mut texts = headers.map(|(_, value)| value.as_str()).collect::<Vec<_>>();
                texts.extend([request.target.as_str(), &body]);
                let leaked = texts.iter().any(|text| text.contains(token.as_str()));
                let (method, target) = (&request.method, request.path());
                assert!(!leaked, "the token of {login} stands in {method} {target}");
            }
        }
    }

    /// What did not fit the description so far. Taken, it does not fail the test any more.
    pub fn take_violations(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.shared.violations))
    }
}

impl Drop for MockForge {
    fn drop(&mut self) {
        self.shut_down();
        let violations = self.take_violations();
        if !std::thread::panicking() {
            assert!(violations.is_empty(), "what does not fit: {violations:#?}");
            self.check_secrets();
        }
    }
}

impl fmt::Debug for MockForge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MockForge").field("address", &self.address).finish_non_exhaustive()
    }
}

/// 40 hex digits, as the forges make them.
fn token() -> String {
    std::iter::repeat_with(|| char::from_digit(fastrand::u32(..16), 16).expect("below 16"))
        .take(40)
        .collect()
}
