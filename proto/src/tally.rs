//! Counting outcomes over a set of expected hosts.

use serde::{Deserialize, Serialize};

use crate::{
    exit_code::ExitCode,
    outcome::{Outcome, Standing},
};

/// How many of the expected hosts ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Hosts in the set.
    pub expected: usize,
    /// Of these, ended in any way.
    pub finished: usize,
    /// Ended as built.
    pub built: usize,
    /// Ended as a failure of the flake.
    pub failed: usize,
    /// Ended otherwise, cancelled ones included.
    pub undecided: usize,
    /// Of the undecided, cancelled or superseded.
    #[serde(skip)]
    pub cancelled: usize,
}

impl Tally {
    /// Counts one entry per expected host; `None` for a host that has not ended.
    pub fn of<'a>(outcomes: impl IntoIterator<Item = Option<&'a Outcome>>) -> Self {
        let mut tally = Self::default();
        for outcome in outcomes {
            tally.expected += 1;
            let Some(outcome) = outcome else { continue };
            tally.finished += 1;
            match outcome.standing() {
                Standing::Pass => tally.built += 1,
                Standing::Fail => tally.failed += 1,
                Standing::Undecided => tally.undecided += 1,
                Standing::Cancelled => {
                    tally.undecided += 1;
                    tally.cancelled += 1;
                }
            }
        }
        tally
    }

    /// Every expected host has ended.
    pub fn complete(&self) -> bool {
        self.finished == self.expected
    }

    /// The exit code of a command that waited for this set: any fail 1, else any cancelled (and
    /// nothing worse) 4, else anything missing or undecided 3. An empty set proves nothing.
    pub fn exit_code(&self) -> ExitCode {
        let open = self.expected - self.finished;
        let infra = self.undecided - self.cancelled;
        if self.failed > 0 {
            ExitCode::Failed
        } else if self.expected == 0 || open > 0 || infra > 0 {
            ExitCode::Undecided
        } else if self.cancelled > 0 {
            ExitCode::Cancelled
        } else {
            ExitCode::Done
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{Built, Failure, FailureKind, InfraKind};

    #[track_caller]
    fn check(outcomes: &[Option<Outcome>], expected: ExitCode) {
        assert_eq!(Tally::of(outcomes.iter().map(Option::as_ref)).exit_code(), expected);
    }

    #[test]
    fn the_worst_outcome_decides_the_exit_code() {
        let built = || {
            let path = String::new;
            let built = Built {
                out_path: path(),
                drv_path: path(),
                closure_bytes: 0,
                reused: false,
                work: None,
                diff: None,
            };
            Some(Outcome::Built(built))
        };
        let failure = Failure::default();
        let failed = Outcome::Failed { kind: FailureKind::Silent, failure: failure.clone() };
        let infra = Outcome::InfraFailed { kind: InfraKind::DiskFull, failure };
        check(&[], ExitCode::Undecided);
        check(&[built()], ExitCode::Done);
        check(&[built(), None], ExitCode::Undecided);
        check(&[built(), Some(infra.clone())], ExitCode::Undecided);
        check(&[built(), Some(Outcome::Cancelled)], ExitCode::Cancelled);
        check(&[Some(Outcome::Superseded), Some(infra.clone())], ExitCode::Undecided);
        check(&[Some(failed), None, Some(infra), built()], ExitCode::Failed);
    }
}
