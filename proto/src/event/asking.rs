//! What was asked of the pool, and by whom: runs, and classes that are paused.

use serde::{Deserialize, Serialize};

use crate::{
    job::RunId,
    priority::Priority,
    revision::Revision,
    run::RunRecord,
    time::Timestamp,
    token::{Class, Host, Identity, Repo},
    version::V1,
};

/// One thing that somebody did to a run. Subject `nbp.event.run.<kind>.<repo>.<identity>`.
///
/// It is smaller than the record of the run, and so fits where that one did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunEvent {
    /// Version of this shape.
    pub v: V1,
    /// When, by the teller's clock.
    pub at: Timestamp,
    /// The run.
    pub run: RunId,
    /// Its repository.
    pub repo: Repo,
    /// Its commit, with the digest of overridden inputs if there are any.
    pub revision: Revision,
    /// Who did it: not always who submitted the run. The subject says it too, and the server lets
    /// nobody tell under another's.
    pub by: Identity,
    /// What was done.
    pub what: RunChange,
}

impl RunEvent {
    /// What `by` did to a run, at `at`.
    pub fn of(run: &RunRecord, by: Identity, at: Timestamp, what: RunChange) -> Self {
        let (id, repo, revision) = (run.run, run.repo.clone(), run.revision.clone());
        Self { v: V1, at, run: id, repo, revision, by, what }
    }
}

/// What was done to a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum RunChange {
    /// It was recorded, and its hosts were asked for.
    Submitted {
        /// The full ref that was asked for; none for a bare commit.
        #[serde(default, skip_serializing_if = "Option::is_none", rename = "ref")]
        git_ref: Option<String>,
        /// The expected hosts.
        hosts: Vec<Host>,
        /// How urgent.
        priority: Priority,
        /// Build again, whatever is known.
        force: bool,
    },
    /// Hosts of it were asked for again.
    Retried {
        /// Which.
        hosts: Vec<Host>,
    },
    /// Its wishes for these hosts were taken away. Each ends as cancelled, unless another run wants
    /// it or it has ended.
    Cancelled {
        /// Which.
        hosts: Vec<Host>,
    },
    /// A newer run of the same ref took its place.
    Superseded {
        /// The newer one.
        by_run: RunId,
    },
}

impl RunChange {
    /// That a run was submitted as it is on record.
    pub fn submitted(run: &RunRecord) -> Self {
        Self::Submitted {
            git_ref: run.git_ref.clone(),
            hosts: run.hosts.keys().cloned().collect(),
            priority: run.priority,
            force: run.force,
        }
    }

    /// The token in the event's subject.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Submitted { .. } => "submitted",
            Self::Retried { .. } => "retried",
            Self::Cancelled { .. } => "cancelled",
            Self::Superseded { .. } => "superseded",
        }
    }
}

/// One thing that somebody did to a class. Subject `nbp.event.class.<kind>.<class>.<identity>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassEvent {
    /// Version of this shape.
    pub v: V1,
    /// When, by the teller's clock.
    pub at: Timestamp,
    /// The class.
    pub class: Class,
    /// Who did it, as in the subject.
    pub by: Identity,
    /// What was done.
    pub what: ClassChange,
}

/// What was done to a class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum ClassChange {
    /// None of its jobs are handed out; what runs goes on.
    Paused {
        /// Until then; none: until it is resumed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
    },
    /// Its jobs are handed out again.
    Resumed,
}

impl ClassChange {
    /// The token in the event's subject.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Paused { .. } => "paused",
            Self::Resumed => "resumed",
        }
    }
}
