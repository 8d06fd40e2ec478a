//! What a held job is about, in words: for the table of the tests.

use super::{Ending, Held, Stop, Sync, Work};

impl Held {
    /// Its build, and the operation that is under way.
    pub(in crate::machine) fn in_words(&self) -> String {
        let work = match &self.work {
            Work::Building => "building",
            Work::Stopping(Stop::Cancel(_)) => "stopping for a cancel",
            Work::Stopping(Stop::HandBack) => "stopping for a drain",
            Work::Stopping(Stop::Fenced) => "stopping, not mine",
            Work::Ended(Ending::Finish(_)) => "ended",
            Work::Ended(Ending::Wait { .. }) => "ended, to be tried again",
        };
        let sync = match &self.sync {
            Sync::Idle => "",
            Sync::Renewing(_) => ", renewing",
            Sync::ReadingRequest => ", reading request",
            Sync::ReadingRecord => ", reading record",
            Sync::Pausing(_) => ", pausing",
            Sync::Ending => ", writing its end",
        };
        format!("{work}{sync}")
    }
}
