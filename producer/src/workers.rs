//! The living workers: what each one has in its slots, what room it has, and whether it takes jobs.
//!
//! [`read`] asks the broker; nothing prints.

use bus::Bus;
use proto::{Presence, Timestamp};

use crate::queue::Taking;

/// One living worker.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct WorkerView {
    pub(crate) presence: Presence,
    /// When the broker heard of it last, by the broker's clock.
    pub(crate) seen: Timestamp,
}

impl WorkerView {
    pub(crate) fn taking(&self) -> Taking {
        Taking::of(&self.presence)
    }

    /// `full`, `ready`, `paused` or `draining`.
    pub(crate) fn state(&self) -> &'static str {
        match self.taking() {
            Taking::Draining => "draining",
            Taking::Paused(_) => "paused",
            Taking::Jobs if self.presence.jobs.len() >= self.presence.slots => "full",
            Taking::Jobs => "ready",
        }
    }
}

/// All of them, by name.
pub(crate) async fn read(bus: &Bus) -> Result<Vec<WorkerView>, bus::Error> {
    let found = bus.workers().list("*").await?;
    let view = |(_, entry): (String, bus::Entry<Presence>)| {
        Some(WorkerView { presence: entry.value?, seen: entry.time })
    };
    Ok(found.into_iter().filter_map(view).collect())
}
