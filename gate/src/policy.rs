//! The verdict over the results of a trial, by the policy of the config. Pure.

use std::collections::BTreeMap;

use proto::gate::{HostResult, HostStanding};
use serde::Deserialize;

use crate::verdict::Verdict;

/// Which failures keep a candidate from landing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Policy {
    /// Every one.
    #[default]
    All,
    /// Those that the base does not have as well.
    NoRegression,
}

impl Verdict {
    /// Pass needs a host that counts and is built, and no host that counts otherwise. One failure
    /// is a fail, whatever else is open.
    pub(crate) fn of_results(results: &BTreeMap<String, HostResult>, policy: Policy) -> Self {
        let known = |it: &HostResult| policy == Policy::NoRegression && it.pre_existing;
        let counting: Vec<&HostResult> = results
            .values()
            .filter(|it| !it.advisory)
            .filter(|it| !(it.standing == HostStanding::Failed && known(it)))
            .collect();
        let any = |standing| counting.iter().any(|it| it.standing == standing);
        if any(HostStanding::Failed) {
            Self::Fail
        } else if any(HostStanding::Undecided) || any(HostStanding::Missing) {
            Self::Undecided
        } else if any(HostStanding::Built) {
            Self::Pass
        } else {
            Self::Undecided
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A host that ended so.
    pub(crate) fn result(standing: HostStanding, outcome: &str) -> HostResult {
        let path =
            |what: &str| (standing == HostStanding::Built).then(|| format!("/nix/store/{what}"));
        HostResult {
            standing,
            outcome: outcome.to_owned(),
            drv_path: path("x.drv"),
            out_path: path("x"),
            leaf: None,
            message: None,
            attempts: 1,
            build_ms: 1,
            reused: false,
            flaky: false,
            pre_existing: false,
            advisory: false,
        }
    }

    fn built() -> HostResult {
        result(HostStanding::Built, "built")
    }

    fn failed() -> HostResult {
        result(HostStanding::Failed, "build-failed")
    }

    fn old() -> HostResult {
        HostResult { pre_existing: true, ..failed() }
    }

    fn advisory(result: HostResult) -> HostResult {
        HostResult { advisory: true, ..result }
    }

    #[track_caller]
    fn check(results: &[HostResult], all: Verdict, no_regression: Verdict) {
        let results: BTreeMap<String, HostResult> =
            results.iter().enumerate().map(|(n, it)| (format!("h{n}"), it.clone())).collect();
        assert_eq!(Verdict::of_results(&results, Policy::All), all, "all");
        assert_eq!(
            Verdict::of_results(&results, Policy::NoRegression),
            no_regression,
            "regression"
        );
    }

    #[test]
    fn a_candidate_passes_only_when_every_host_that_counts_is_built() {
        use Verdict::{Fail, Pass, Undecided};
        let missing = || result(HostStanding::Missing, "missing");
        let infra = || result(HostStanding::Undecided, "infra-failed");
        check(&[], Undecided, Undecided);
        check(&[built()], Pass, Pass);
        check(&[built(), missing()], Undecided, Undecided);
        check(&[built(), infra()], Undecided, Undecided);
        check(&[built(), infra(), failed()], Fail, Fail);
        check(&[built(), old()], Fail, Pass);
        check(&[old()], Fail, Undecided);
        check(&[built(), old(), missing()], Fail, Undecided);
        check(&[built(), old(), failed()], Fail, Fail);
        check(&[built(), advisory(failed()), advisory(missing())], Pass, Pass);
        check(&[advisory(built())], Undecided, Undecided);
    }
}
