//! Stand-in until the report is merged.

use proto::gate::{GateRun, Refused};

pub(crate) fn commit_message(_old: &str, _new: &str) -> String {
    "flake.lock: update\n".to_owned()
}

pub(crate) fn title(refused: &Refused) -> String {
    format!("{} fails", refused.candidate.branch)
}

pub(crate) fn body(_run: &GateRun, refused: &Refused) -> String {
    format!("{:?}", refused.why)
}
