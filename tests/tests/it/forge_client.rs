//! The gate's client of Gitea and Forgejo, against the mock of both: what it does when all goes
//! well, and what it never does when nothing does.

mod entities;
mod landing;
mod lists;
mod mock;
mod once;
mod trouble;

use std::time::Duration;

use gate::forge::{
    BranchMove, Client, Error, Forge as _, ForgeConfig, LabelId, Marked, Moved, NewLabel, NewPull,
    Opened, Patience, PullNumber,
};
use proto::Revision;
use tests::{
    MockForge, Repo,
    forge::{BOT, On, Persona},
};
use tokio::runtime::Runtime;

use crate::DEADLINE;

const PERSONAS: [Persona; 3] = [Persona::Gitea126, Persona::Gitea125, Persona::Forgejo];
const UPDATE: &str = "flake-update/2026-11-22";
const MARKER: &str = "<!-- flake-gate:1 -->";

/// Long enough for git on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(20);
const RETRIES: usize = 4;

/// A forge whose update branch is one commit ahead of master.
struct Desk {
    runtime: Runtime,
    client: Client,
    forge: MockForge,
    repo: Repo,
    base: Revision,
    candidate: Revision,
}

impl Desk {
    fn new(persona: Persona) -> Self {
        Self::with_timeout(persona, TIMEOUT)
    }

    fn with_timeout(persona: Persona, timeout: Duration) -> Self {
        let repo = Repo::new();
        let base = repo.commit("master", &[("flake.lock", "1")]);
        repo.set_branch(UPDATE, &base);
        let candidate = repo.commit(UPDATE, &[("flake.lock", "2")]);
        let forge = MockForge::start(persona, &repo);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let config = ForgeConfig { timeout, ..config(&forge) };
        let client = runtime.block_on(Client::connect_with(&config, impatient()));
        let client = client.expect("a forge that answers");
        forge.forget_seen();
        Self {
            runtime,
            client,
            forge,
            repo,
            base: revision(&base),
            candidate: revision(&candidate),
        }
    }

    fn block<T>(&self, work: impl Future<Output = T>) -> T {
        let ended = self.runtime.block_on(async { tokio::time::timeout(DEADLINE, work).await });
        ended.expect("an end by the deadline")
    }

    /// Moves master from the base to the candidate.
    fn land(&self) -> Result<Moved, Error> {
        let step = BranchMove { branch: "master", old: &self.base, new: &self.candidate };
        self.block(self.client.move_branch(step))
    }

    fn master(&self) -> Revision {
        revision(&self.repo.rev("master"))
    }

    fn new_pull<'a>(&self, labels: &'a [LabelId]) -> NewPull<'a> {
        NewPull { base: "master", head: UPDATE, title: "Update", body: "It fails.", labels }
    }

    #[track_caller]
    fn opened(&self) -> PullNumber {
        match self.block(self.client.create_pull(self.new_pull(&[]))) {
            Ok(Opened::Created(pull)) => pull.number,
            opened => panic!("no new request: {opened:?}"),
        }
    }
}

fn config(forge: &MockForge) -> ForgeConfig {
    ForgeConfig {
        url: forge.url().parse().expect("a URL"),
        repo: forge.repo().parse().expect("a repository"),
        token_file: forge.token_file(),
        timeout: TIMEOUT,
    }
}

fn impatient() -> Patience {
    Patience {
        retries: RETRIES,
        delay_min: Duration::from_millis(5),
        delay_max: Duration::from_millis(50),
        retry_after_max: Duration::from_secs(1),
    }
}

fn revision(id: &str) -> Revision {
    id.parse().expect("a commit")
}

fn put_master() -> On {
    On::new("PUT", "/branches/master")
}

fn label(name: &str) -> NewLabel<'_> {
    NewLabel { name, color: "#d73a4a", description: "set by the gate" }
}

fn marked(body: &str) -> Marked<'_> {
    Marked { author: BOT, marker: MARKER, body }
}
