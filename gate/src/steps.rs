//! The effects of a gate run, one per stage. Each can be carried out again after a crash anywhere:
//! it looks at what is there before it changes anything, and changes by compare-and-set.
//!
//! What follows from an effect is not decided here but by the planner.

mod build;
mod candidate;
mod clear;
mod explain;
mod land;
mod list;

use bus::Bus;
use exposition::Gateway;
use options::Console;
use proto::{
    ExitCode, Revision,
    gate::{Candidate, GateRun, Made, Stage},
};
use settings::RepoTable;

use crate::{
    cache::CacheError,
    checkout::{Checkout, CheckoutError, Commit},
    config::Config,
    forge::{self, Client, Forge as _},
    lease::Held,
    plan::Event,
    pool::Pool,
    report::status::Status,
    update::UpdateError,
};

/// The context under which a commit has its status.
pub(crate) const STATUS: &str = "flake-gate";

/// All that effects work with.
pub(crate) struct Ground<'a> {
    pub(crate) bus: &'a Bus,
    pub(crate) config: &'a Config,
    pub(crate) table: &'a RepoTable,
    pub(crate) console: &'a Console,
    pub(crate) forge: &'a Client,
    pub(crate) checkout: &'a Checkout,
    pub(crate) lease: &'a Held,
    /// Where it is told how a run ended, if anywhere.
    pub(crate) gateway: Option<&'a Gateway>,
}

/// An effect that did not come about. Each message goes on after "failed to …".
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The broker said no, or nothing.
    #[error("use the broker: {0}")]
    Bus(#[from] bus::Error),
    /// git, or the server of the repository.
    #[error(transparent)]
    Checkout(#[from] CheckoutError),
    /// Nix did not update the lock file.
    #[error(transparent)]
    Update(#[from] UpdateError),
    /// The forge.
    #[error("use the forge: {0}")]
    Forge(#[from] forge::Error),
    /// The cache.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The flake did not tell its hosts, and the flake is not to blame.
    #[error(transparent)]
    Listing(#[from] flake::ListingError),
    /// Jobs of these classes would wait for ever.
    #[error(
        "ask for the hosts: the broker has no consumer for class {0}; \
         run `producer setup --classes {0}`"
    )]
    Unserved(String),
    /// The server does not let the gate push its branch.
    #[error("push {branch}: {message}; let the gate's user push branches of that name")]
    BranchDenied {
        /// Which.
        branch: String,
        /// The server's words.
        message: String,
    },
    /// A commit that has to be somewhere is not.
    #[error("find commit {0} again: neither the server's branches nor the record have it")]
    CommitGone(Revision),
    /// The record makes another commit than it made before.
    #[error("make {expected} again: it came out as {made}; was the author's name changed?")]
    OtherCommit {
        /// The commit on record.
        expected: Revision,
        /// The commit made.
        made: Revision,
    },
}

impl StepError {
    /// The exit code of a run that this stops.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Unserved(_) | Self::BranchDenied { .. } | Self::OtherCommit { .. } => {
                ExitCode::Usage
            }
            Self::Bus(bus::Error::Denied { .. }) => ExitCode::Usage,
            Self::Forge(error) if !error.transient() => ExitCode::Usage,
            Self::Listing(flake::ListingError::HostClass(_)) => ExitCode::Usage,
            Self::Bus(_)
            | Self::Checkout(_)
            | Self::Update(_)
            | Self::Forge(_)
            | Self::Cache(_)
            | Self::Listing(_)
            | Self::CommitGone(_) => ExitCode::Undecided,
        }
    }

    /// Trying again within this process may help.
    pub(crate) fn passing(&self) -> bool {
        match self {
            Self::Bus(error) => error.transient(),
            Self::Forge(error) => error.transient(),
            Self::Checkout(CheckoutError::Io { .. }) => false,
            Self::Checkout(_) | Self::Cache(_) | Self::Update(UpdateError::Checkout(_)) => true,
            Self::Update(_)
            | Self::Listing(_)
            | Self::Unserved(_)
            | Self::BranchDenied { .. }
            | Self::CommitGone(_)
            | Self::OtherCommit { .. } => false,
        }
    }
}

impl Ground<'_> {
    /// Does what the stage asks for.
    pub(crate) async fn perform(&self, run: &GateRun) -> Result<Event, StepError> {
        match &run.stage {
            Stage::Pin => self.pin(run).await,
            Stage::Prepare { base, over } => self.prepare(run, base, over.as_ref()).await,
            Stage::Publish(candidate) => self.publish(run, candidate).await,
            Stage::List(candidate) => self.list(run, candidate).await,
            Stage::Test(trial) => self.test(run, trial).await,
            Stage::Confirm(doubted) => self.confirm(run, doubted).await,
            Stage::Compare(tested) => self.compare(run, tested).await,
            Stage::Land(tested) => self.land(run, tested).await,
            Stage::Tell(tested) => self.tell(run, tested).await,
            Stage::Explain(refused) => self.explain(run, refused).await,
            Stage::Clear(end) => self.clear(run, end).await,
            Stage::Ended(_) => Ok(Event::Cleared),
        }
    }

    fn pool(&self) -> Pool<'_> {
        let trusted = self.config.trusted_workers();
        Pool { bus: self.bus, trusted, console: self.console }
    }

    async fn pin(&self, run: &GateRun) -> Result<Event, StepError> {
        Ok(match self.checkout.fetch(&run.base).await? {
            Some(base) => Event::Pinned { base },
            None => Event::Gone { branch: run.base.clone() },
        })
    }

    /// Has the candidate and its base in the clone: fetched, or made again from the record.
    async fn have(&self, run: &GateRun, candidate: &Candidate) -> Result<(), StepError> {
        let checkout = self.checkout;
        let lacks = async |revision| Ok::<_, StepError>(!checkout.has(revision).await?);
        for branch in [&run.base, &candidate.branch] {
            if lacks(&candidate.base).await? || lacks(&candidate.revision).await? {
                checkout.fetch(branch).await?;
            }
        }
        if lacks(&candidate.base).await? {
            return Err(StepError::CommitGone(candidate.base.clone()));
        }
        if !lacks(&candidate.revision).await? {
            return Ok(());
        }
        let Made::Update(update) = &candidate.made else {
            return Err(StepError::CommitGone(candidate.revision.clone()));
        };
        let (parent, date) = (&candidate.base, update.date);
        let commit = Commit { parent, lock: &update.lock, message: &update.message, date };
        let made = checkout.commit(commit).await?;
        match made == candidate.revision {
            true => Ok(()),
            false => Err(StepError::OtherCommit { expected: candidate.revision.clone(), made }),
        }
    }

    /// Marks a commit on the forge. The verdict never depends on it, so a forge that fails here
    /// stops nothing.
    async fn mark(&self, commit: &Revision, Status { state, description }: Status) {
        let status =
            forge::Status { state, context: STATUS, description: &description, target_url: None };
        if let Err(error) = self.forge.set_status(commit, status).await {
            self.console.say(&format!("the commit status was not set: {error}"));
        }
    }
}
