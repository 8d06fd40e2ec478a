//! The commit status of a candidate: one line that the forge shows beside the commit.

use proto::gate::{Refused, Tested, Why};

use super::{
    Facts,
    foreign::Foreign,
    scrub::Scrub,
    units::counted,
    view::{Subject, Tally, View},
    words,
};
use crate::{forge::StatusState, policy::Policy};

/// Longest description; GitHub refuses longer ones, and the others cut them.
pub(crate) const DESCRIPTION_CHARS_MAX: usize = 139;

/// A commit status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) state: StatusState,
    pub(crate) description: String,
}

impl Status {
    /// So many hosts have ended.
    pub(crate) fn pending(ended: usize, of: usize) -> Self {
        Self::new(StatusState::Pending, &format!("{ended} of {} ended", counted(of, "host")))
    }

    /// Every host that counts is built.
    pub(crate) fn success(tested: &Tested, policy: Policy) -> Self {
        let tally = Tally::of(&tested.results, policy);
        Self::new(StatusState::Success, &built(&tally))
    }

    /// It is not landed. What passed is good by itself; on a base that moved it is untested.
    pub(crate) fn refused(facts: &Facts<'_>, refused: &Refused) -> Self {
        let view = View::of(facts, Subject::of_refused(refused));
        let (tally, briefly) = (&view.tally, words::briefly(facts, refused, &view));
        match &refused.why {
            Why::Failed(_) if tally.against == 0 => Self::new(StatusState::Error, &briefly),
            Why::Failed(_) | Why::NoHosts { .. } => Self::new(StatusState::Failure, &briefly),
            Why::Denied { .. } => {
                Self::new(StatusState::Success, &format!("{}; {briefly}", built(tally)))
            }
            Why::BaseMoved { .. } => Self::new(StatusState::Error, &briefly),
        }
    }

    /// The gate could not come to an answer.
    pub(crate) fn error(message: &str, scrub: &Scrub) -> Self {
        Self::new(StatusState::Error, &Foreign { scrub }.message(message))
    }

    fn new(state: StatusState, description: &str) -> Self {
        let mut short: String = description.chars().take(DESCRIPTION_CHARS_MAX).collect();
        if short.len() < description.len() {
            short.pop();
            short.push('…');
        }
        Self { state, description: short }
    }
}

fn built(tally: &Tally) -> String {
    let mut said = format!("{} of {} built", tally.built, counted(tally.required, "host"));
    for (count, what) in [(tally.flaky, "flaky"), (tally.pre_existing, "pre-existing failure")] {
        if count > 0 {
            let what =
                if what == "flaky" { format!("{count} flaky") } else { counted(count, what) };
            said += &format!(", {what}");
        }
    }
    said
}
