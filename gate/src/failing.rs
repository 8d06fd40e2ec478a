//! What a push gateway is told of a command that failed before it came to anything. Without it the
//! last pass would stand for as long as the gate cannot work.

use exposition::Gateway;
use options::Console;
use proto::Repo;

use crate::{error::Error, figures};

/// Whom to tell, and of what.
#[derive(Debug)]
pub(crate) struct Failing {
    pub(crate) gateway: Gateway,
    pub(crate) what: What,
}

/// What could not be done.
#[derive(Debug)]
pub(crate) enum What {
    /// Landing on a branch.
    Run { repo: Repo, base: String },
    /// A verdict over a commit.
    Check { repo: Repo },
}

impl Failing {
    /// Tells that there is no verdict, unless somebody else has one or it was told already.
    pub(crate) async fn tell(self, error: &Error, console: &Console) {
        // Another gate is at work and tells what it comes to; and output comes after the push.
        if matches!(error, Error::Busy { .. } | Error::Output(_)) {
            return;
        }
        let now = bus::clock::now();
        let group = match &self.what {
            What::Run { repo, base } => figures::of_failed_run(repo, base, now),
            What::Check { repo } => figures::of_failed_check(repo, now),
        };
        options::tell(&self.gateway, vec![group], console).await;
    }
}
