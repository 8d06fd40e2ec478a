//! Presence of workers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    job::{Instance, JobKey},
    record::{Phase, Progress},
    time::Timestamp,
    token::{Class, Repo, WorkerName},
    version::V1,
};

/// A living worker. Bucket `nbp-workers`, key = worker name; silence for 45 s removes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// Version of this shape.
    pub v: V1,
    /// Its name.
    pub worker: WorkerName,
    /// Its life.
    pub instance: Instance,
    /// What it can build.
    pub classes: Vec<Class>,
    /// Where from. Empty of a worker that does not say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repos: Vec<Repo>,
    /// How many jobs at once.
    pub slots: usize,
    /// Words of its owner about it, such as `role`: `build-host`. The pool makes nothing of them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What it is building.
    pub jobs: Vec<PresentJob>,
    /// Told to stop: finishes what it has and takes nothing new.
    #[serde(default)]
    pub draining: bool,
    /// Why it takes nothing now, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<String>,
    /// What is left of its machine. None of a worker that does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room: Option<Room>,
    /// Version of the program.
    pub version: String,
    /// Started, by its own clock.
    pub since: Timestamp,
}

impl Presence {
    /// It is one that takes such jobs, now or when it has room.
    pub fn serves(&self, class: &Class, repo: &Repo) -> bool {
        // A worker that was told to stop takes nothing new.
        !self.draining && self.classes.contains(class) && self.has(repo)
    }

    fn has(&self, repo: &Repo) -> bool {
        self.repos.is_empty() || self.repos.contains(repo)
    }
}

/// One job in a worker's hands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PresentJob {
    /// Which.
    pub job: JobKey,
    /// How far.
    pub phase: Phase,
    /// Claimed then, by its own clock. None before the claim stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Derivations built so far and expected in all, as Nix counts them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
}

/// What is left of a worker's machine, as its admission measured it last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Room {
    /// The folders that builds fill.
    pub places: Vec<PlaceRoom>,
    /// Share of time, in percent, in which some task waited for memory; none where the kernel does
    /// not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_pressure: Option<u8>,
    /// Above this it takes no new job.
    pub memory_pressure_max: u8,
}

/// What is left in a folder, and what must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceRoom {
    /// What it is for, e.g. `the store`.
    pub name: String,
    /// Free bytes.
    pub bytes_free: u64,
    /// With fewer it takes no new job.
    pub bytes_free_min: u64,
    /// Free inodes; none where the file system makes them as it needs them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inodes_free: Option<u64>,
    /// With fewer it takes no new job.
    pub inodes_free_min: u64,
}
