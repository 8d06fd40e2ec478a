//! The verdict over all expected hosts. Pure: it gets what was read, and reads nothing.

use std::collections::BTreeMap;

use proto::{ExitCode, Host, Record, Request, Standing};

/// What is known of one expected host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// It was built from exactly this commit.
    Built,
    /// The flake is broken for it; the outcome's name.
    Failed(&'static str),
    /// It ended, and that says nothing about the flake; the outcome's name.
    Undecided(&'static str),
    /// It ended, and nobody who is trusted vouches for it; why not.
    Unproven(&'static str),
    /// It has not ended: never asked for, queued, running, waiting, or asked for anew.
    Missing,
}

/// The gate's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Pass,
    Fail,
    Undecided,
}

impl Finding {
    /// Judges one host by its record, and by whether somebody asked for it again since.
    pub(crate) fn of(record: Option<&Record>, request: Option<&Request>) -> Self {
        let Some((record, outcome)) = record.and_then(|it| Some((it, it.outcome()?))) else {
            return Self::Missing;
        };
        let newer = request
            .is_some_and(|request| request.incarnation != record.incarnation && request.wanted());
        match outcome.standing() {
            // A newer asking under way does not unmake it: the path was built from this commit.
            Standing::Pass => Self::Built,
            // A failure is in doubt while somebody has it built again.
            Standing::Fail if newer => Self::Missing,
            Standing::Fail => Self::Failed(outcome.name()),
            Standing::Undecided | Standing::Cancelled if newer => Self::Missing,
            Standing::Undecided | Standing::Cancelled => Self::Undecided(outcome.name()),
        }
    }

    /// The outcome's name, or `missing`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Built => "built",
            Self::Failed(name) | Self::Undecided(name) => name,
            // To whoever counts nothing else, there is no result.
            Self::Unproven(_) | Self::Missing => "missing",
        }
    }

    /// What its name does not say, if anything.
    pub(crate) fn reason(self) -> Option<&'static str> {
        match self {
            Self::Unproven(why) => Some(why),
            Self::Built | Self::Failed(_) | Self::Undecided(_) | Self::Missing => None,
        }
    }
}

impl Verdict {
    /// Pass needs a host, and every host built. One failure is a fail, whatever else is open.
    pub(crate) fn over(findings: &BTreeMap<Host, Finding>) -> Self {
        let all = |what: fn(&Finding) -> bool| findings.values().all(what);
        if !all(|finding| !matches!(finding, Finding::Failed(_))) {
            Self::Fail
        } else if !findings.is_empty() && all(|finding| *finding == Finding::Built) {
            Self::Pass
        } else {
            Self::Undecided
        }
    }

    /// The name in output.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Undecided => "undecided",
        }
    }

    /// The exit code of `gate check`.
    pub(crate) fn exit_code(self) -> ExitCode {
        match self {
            Self::Pass => ExitCode::Done,
            Self::Fail => ExitCode::Failed,
            Self::Undecided => ExitCode::Undecided,
        }
    }
}

#[cfg(test)]
mod tests {
    use proto::{
        Attempt, AttemptEnd, Built, Epoch, Failure, FailureKind, Finished, Identity, Incarnation,
        InfraKind, Instance, Outcome, Phase, Priority, RunId, Running, State, Timestamp, V1,
        Waiting, Wish,
    };
    use uuid::Uuid;

    use super::*;

    fn record(incarnation: u128, state: State) -> Record {
        let attempts: Vec<Attempt> = Vec::new();
        let incarnation = Incarnation(Uuid::from_u128(incarnation));
        Record { v: V1, epoch: Epoch(1), incarnation, attempts, state }
    }

    fn ended(outcome: Outcome) -> State {
        let (at, phases, worker, signature) = (Timestamp(0), Vec::new(), None, None);
        let (queue_ms, build_ms) = (0, 0);
        let overrides = proto::Overrides::default();
        State::Finished(Finished {
            outcome,
            at,
            worker,
            queue_ms,
            build_ms,
            phases,
            overrides,
            signature,
        })
    }

    fn built() -> State {
        let path = String::new;
        let (out_path, drv_path) = (path(), path());
        ended(Outcome::Built(Built {
            out_path,
            drv_path,
            closure_bytes: 0,
            reused: false,
            work: None,
            diff: None,
        }))
    }

    fn failed(kind: FailureKind) -> State {
        ended(Outcome::Failed { kind, failure: Failure::default() })
    }

    fn infra() -> State {
        let kind = InfraKind::DiskFull;
        ended(Outcome::InfraFailed { kind, failure: Failure::default() })
    }

    fn running() -> State {
        State::Running(Running {
            instance: Instance(Uuid::nil()),
            claim: 1,
            worker: "w1".parse().expect("a worker"),
            lease_ms: 1,
            phase: Phase::Build,
            progress: None,
        })
    }

    fn request(incarnation: u128, wanted: bool) -> Request {
        let (priority, by) = (Priority::Low, Identity::local());
        let wish = Wish { priority, by, at: Timestamp(0) };
        Request {
            v: V1,
            class: "x86_64-linux".parse().expect("a class"),
            incarnation: Incarnation(Uuid::from_u128(incarnation)),
            wanted_by: wanted.then(|| (RunId(Uuid::nil()), wish)).into_iter().collect(),
            force: false,
            avoid_worker: None,
            overrides: proto::Overrides::default(),
            superseded_by: None,
            trace: None,
        }
    }

    #[track_caller]
    fn found(state: Option<State>, request: Option<Request>, name: &str, verdict: Verdict) {
        let record = state.map(|state| record(1, state));
        let finding = Finding::of(record.as_ref(), request.as_ref());
        assert_eq!(finding.name(), name);
        let host = "web".parse().expect("a host");
        assert_eq!(Verdict::over(&BTreeMap::from([(host, finding)])), verdict);
    }

    #[test]
    fn what_each_record_says_of_its_host() {
        use Verdict::{Fail, Pass, Undecided};
        let same = || Some(request(1, true));
        found(None, None, "missing", Undecided);
        found(None, same(), "missing", Undecided);
        found(Some(running()), same(), "missing", Undecided);
        let waiting = Waiting { delay_ms: 1, reason: AttemptEnd::WorkerLost };
        found(Some(State::Waiting(waiting)), same(), "missing", Undecided);
        found(Some(built()), same(), "built", Pass);
        found(Some(built()), None, "built", Pass);
        found(Some(failed(FailureKind::BuildFailed)), same(), "build-failed", Fail);
        found(Some(failed(FailureKind::TimedOut)), None, "timed-out", Fail);
        found(Some(infra()), same(), "infra-failed", Undecided);
        found(Some(ended(Outcome::Cancelled)), same(), "cancelled", Undecided);
        found(Some(ended(Outcome::Superseded)), same(), "superseded", Undecided);
    }

    #[test]
    fn a_newer_asking_under_way_puts_all_but_built_in_doubt() {
        use Verdict::{Fail, Pass, Undecided};
        let newer = || Some(request(2, true));
        found(Some(built()), newer(), "built", Pass);
        found(Some(failed(FailureKind::BuildFailed)), newer(), "missing", Undecided);
        found(Some(infra()), newer(), "missing", Undecided);
        found(Some(running()), newer(), "missing", Undecided);
        // Nobody waits for the newer one any more: the failure stands.
        let withdrawn = Some(request(2, false));
        found(Some(failed(FailureKind::BuildFailed)), withdrawn, "build-failed", Fail);
    }

    #[track_caller]
    fn over(findings: &[Finding], verdict: Verdict, code: u8) {
        let host = |n: usize| format!("h{n}").parse().expect("a host");
        let findings = findings.iter().enumerate().map(|(n, it)| (host(n), *it)).collect();
        let reached = Verdict::over(&findings);
        assert_eq!((reached, reached.exit_code().code()), (verdict, code));
    }

    #[test]
    fn pass_needs_every_host_of_a_set_that_is_not_empty() {
        use Finding::{Built, Failed, Missing, Undecided, Unproven};
        over(&[], Verdict::Undecided, 3);
        over(&[Built], Verdict::Pass, 0);
        over(&[Built, Built, Built], Verdict::Pass, 0);
        over(&[Built, Missing], Verdict::Undecided, 3);
        over(&[Built, Undecided("infra-failed")], Verdict::Undecided, 3);
        over(&[Built, Undecided("cancelled")], Verdict::Undecided, 3);
        over(&[Built, Failed("eval-failed")], Verdict::Fail, 1);
        over(&[Missing, Undecided("infra-failed"), Failed("eval-failed"), Built], Verdict::Fail, 1);
        over(&[Missing], Verdict::Undecided, 3);
        over(&[Unproven("not signed")], Verdict::Undecided, 3);
        over(&[Built, Unproven("not signed")], Verdict::Undecided, 3);
    }
}
