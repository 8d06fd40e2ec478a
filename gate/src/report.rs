//! What a gate tells people of a run: the pull request with its comment, labels and commit status,
//! attached logs, and what the command prints.
//!
//! All of it is made from the run's record and from what was read of its hosts. It asks nobody and
//! sends nothing. Names, messages and logs come from flakes and builders: [`view`] makes them fit to
//! be shown, and [`markdown`] keeps them from being read as Markdown.

use std::collections::BTreeMap;

use proto::{Failure, Repo, Timestamp, WorkerName, gate::GateRun};
use settings::RepoUrl;

use crate::policy::Policy;

pub(crate) mod attachment;
pub(crate) mod body;
pub(crate) mod comment;
pub(crate) mod commit;
mod foreign;
pub(crate) mod json;
pub(crate) mod labels;
mod markdown;
pub(crate) mod scrub;
pub(crate) mod status;
pub(crate) mod terminal;
pub(crate) mod units;
mod view;
mod words;

/// All that a report is made of.
pub(crate) struct Facts<'a> {
    /// The run.
    pub(crate) run: &'a GateRun,
    /// What is known of its hosts beyond their results, by label. A host without is reported by its
    /// result alone.
    pub(crate) details: &'a BTreeMap<String, Detail>,
    /// What the config says.
    pub(crate) site: &'a Site,
    /// By the gate's clock, for ages.
    pub(crate) now: Timestamp,
}

/// What is known of one host beyond its result.
#[derive(Clone, Debug, Default)]
pub(crate) struct Detail {
    /// Why it did not end as built, with the end of its log.
    pub(crate) failure: Option<Failure>,
    /// Who tried it, in this order.
    pub(crate) workers: Vec<WorkerName>,
    /// How its closure differs from the one that was built last, if it was built.
    pub(crate) closure: Option<ClosureDiff>,
    /// File name of its whole log at the pull request, if it is attached there.
    pub(crate) attachment: Option<String>,
}

/// How a closure differs from an earlier one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ClosureDiff {
    /// As `nix store diff-closures` says it.
    pub(crate) text: String,
    /// Lines that were left out of it.
    pub(crate) lines_cut: u64,
    /// Bytes that it grew by.
    pub(crate) bytes: i64,
}

/// What the config says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Site {
    /// Where people fetch the repositories from.
    pub(crate) urls: BTreeMap<Repo, RepoUrl>,
    /// The page of the gated repository on its forge, e.g. `https://git.example.org/infra/nixos`.
    pub(crate) web: Option<String>,
    /// As whom the gate pushes.
    pub(crate) user: Option<String>,
    /// Which failures decide.
    pub(crate) policy: Policy,
    /// The secrets that the gate holds.
    pub(crate) scrub: scrub::Scrub,
}

#[cfg(test)]
mod tests;
