//! What is known, as text for people and as JSON for programs. Pure: nothing here reads a bucket,
//! a clock or a terminal.

pub(crate) mod dead;
pub(crate) mod events;
pub(crate) mod folded;
pub(crate) mod history;
pub(crate) mod json;
pub(crate) mod log;
pub(crate) mod nats;
pub(crate) mod queue;
pub(crate) mod story;
pub(crate) mod table;
pub(crate) mod text;
pub(crate) mod waits;
pub(crate) mod workers;

use proto::{Revision, RunId, RunRecord};

use crate::view::HostStatus;

/// Hosts of one commit, as asked for by a run or, without one, all that anybody asked for.
pub(crate) struct Report<'a> {
    pub(crate) run: Option<RunId>,
    pub(crate) repo: &'a proto::Repo,
    pub(crate) revision: &'a Revision,
    pub(crate) git_ref: Option<&'a str>,
    pub(crate) hosts: &'a [HostStatus],
}

impl<'a> Report<'a> {
    /// The hosts of a run.
    pub(crate) fn of_run(run: &'a RunRecord, hosts: &'a [HostStatus]) -> Self {
        Self {
            run: Some(run.run),
            repo: &run.repo,
            revision: &run.revision,
            git_ref: run.git_ref.as_deref(),
            hosts,
        }
    }
}
