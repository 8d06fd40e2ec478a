//! The labels of a pull request: what a person is to look for in it.

use proto::gate::{HostResult, HostStanding, Refused, Why};

use super::view::against;
use crate::policy::Policy;

/// A label as the forge keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Label {
    pub(crate) name: &'static str,
    /// `#rrggbb`.
    pub(crate) color: &'static str,
    pub(crate) description: &'static str,
}

const NEEDS_REVIEW: Label = Label {
    name: "needs-review",
    color: "#fbca04",
    description: "A person has to decide how this goes on",
};
const BUILD_FAILURE: Label = Label {
    name: "build-failure",
    color: "#d73a4a",
    description: "Hosts cannot be built at this commit",
};
const TIMEOUT: Label = Label {
    name: "timeout",
    color: "#e99695",
    description: "Hosts were not built within their time",
};
const INFRA: Label = Label {
    name: "infra",
    color: "#c5def5",
    description: "Builders or network failed, which says nothing about the change",
};
const PRE_EXISTING: Label = Label {
    name: "pre-existing",
    color: "#d4c5f9",
    description: "Hosts fail in the same place without the change",
};
const FLAKY: Label = Label {
    name: "flaky",
    color: "#bfdadc",
    description: "Hosts were built at the second try only",
};

/// The labels of a candidate that is not landed. Advisory hosts give none.
///
/// Only failures that decide give `build-failure` or, where time ran out, `timeout`: trouble of the
/// infrastructure is never called a broken update. What passed and is not landed gives
/// `needs-review` alone.
pub(crate) fn labels(refused: &Refused, policy: Policy) -> Vec<Label> {
    let tested = match &refused.why {
        Why::Failed(tested) => tested,
        Why::NoHosts { .. } => return vec![NEEDS_REVIEW, BUILD_FAILURE],
        Why::Denied { .. } | Why::BaseMoved { .. } => return vec![NEEDS_REVIEW],
    };
    let any = |is: &dyn Fn(&HostResult) -> bool| {
        tested.results.values().any(|result| !result.advisory && is(result))
    };
    let late = |it: &HostResult| matches!(it.outcome.as_str(), "timed-out" | "silent");
    let open =
        |it: &HostResult| matches!(it.standing, HostStanding::Undecided | HostStanding::Missing);
    let labels = [
        (true, NEEDS_REVIEW),
        (any(&|it| against(it, policy) && !late(it)), BUILD_FAILURE),
        (any(&|it| against(it, policy) && late(it)), TIMEOUT),
        (any(&open), INFRA),
        (any(&|it| it.pre_existing), PRE_EXISTING),
        (any(&|it| it.flaky), FLAKY),
    ];
    labels.into_iter().filter(|(wanted, _)| *wanted).map(|(_, label)| label).collect()
}
