//! What there is to show of many hosts at one moment. Pure: it knows no terminal.

use std::{collections::BTreeMap, time::Duration};

use proto::{JobKey, Phase, Timestamp, WorkerName, record::Progress};

/// Many hosts at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Board {
    /// Those in workers' hands; shown longest first, since whoever waits wants to know what for.
    pub running: Vec<Running>,
    /// How many wait, by why they do.
    pub waiting: BTreeMap<String, usize>,
    /// How many ended, by how they did; what was built first.
    pub ended: Vec<(Mood, String, usize)>,
    /// All of them.
    pub expected: usize,
    /// When somebody began to look.
    pub since: Timestamp,
}

/// Whether something is good news.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mood {
    Good,
    Bad,
    Unclear,
}

/// A host in a worker's hands.
#[derive(Clone, Debug, PartialEq)]
pub struct Running {
    /// What people call it.
    pub name: String,
    pub job: JobKey,
    pub epoch: proto::Epoch,
    pub worker: WorkerName,
    /// Its lease ran out: the worker died, froze or lost the broker.
    pub silent: bool,
    pub phase: Phase,
    pub progress: Option<Progress>,
    /// When it was claimed, by its worker's clock.
    pub since: Timestamp,
    /// How long the host's last real build took.
    pub usual: Option<Duration>,
    /// The newest line of its log.
    pub said: Option<String>,
}

impl Board {
    /// Hosts that have ended.
    pub fn finished(&self) -> usize {
        self.ended.iter().map(|(_, _, hosts)| hosts).sum()
    }
}
