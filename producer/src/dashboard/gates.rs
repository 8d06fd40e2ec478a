//! A gate run in one line, and what it says of each host. Pure.

use proto::{
    GateId, JobKey, Repo, Revision, Timestamp,
    gate::{End, GateRun, HostStanding, Source, Stage, Tested, Trial},
};

/// A gate run without its lock files, which make most of its record.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct GateLine {
    pub(crate) key: String,
    pub(crate) id: GateId,
    pub(crate) repo: Repo,
    /// The branch to land on. Foreign text.
    pub(crate) base: String,
    pub(crate) at: Timestamp,
    pub(crate) stage: &'static str,
    pub(crate) end: Option<&'static str>,
    pub(crate) verdict: Verdict,
    /// The candidate and its branch, which is foreign text.
    pub(crate) candidate: Option<(Revision, String)>,
    pub(crate) required: usize,
    pub(crate) failed: usize,
    /// What is being built for it: its jobs, which tell how far it is.
    pub(crate) building: Vec<JobKey>,
    pub(crate) pull: Option<u64>,
}

/// What a gate run came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It goes on.
    Open,
    /// It landed.
    Pass,
    /// Hosts fail, or the flake does.
    Fail,
    /// Nothing was decided.
    Undecided,
    /// There was nothing to decide.
    Nothing,
}

impl Verdict {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Open => "running",
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Undecided => "undecided",
            Self::Nothing => "nothing to do",
        }
    }

    fn of(end: Option<&End>) -> Self {
        match end {
            None => Self::Open,
            Some(End::Landed(_)) => Self::Pass,
            Some(End::Unchanged { .. }) => Self::Nothing,
            Some(End::SameFailure { .. } | End::BrokenInputs { .. }) => Self::Fail,
            Some(End::Refused { refused, .. }) => match refused.why {
                proto::gate::Why::Failed(_) | proto::gate::Why::NoHosts { .. } => Self::Fail,
                proto::gate::Why::Denied { .. } | proto::gate::Why::BaseMoved { .. } => {
                    Self::Undecided
                }
            },
            Some(_) => Self::Undecided,
        }
    }
}

impl GateLine {
    pub(crate) fn of(key: &str, run: &GateRun) -> Self {
        let end = run.stage.ended();
        let candidate = run.stage.candidate();
        let results = tested(&run.stage).map(|tested| tested.results.values());
        let fails = |it: &&proto::gate::HostResult| it.standing == HostStanding::Failed;
        Self {
            key: key.to_owned(),
            id: run.id,
            repo: run.repo.clone(),
            base: run.base.clone(),
            at: run.at,
            stage: run.stage.name(),
            end: end.map(End::name),
            verdict: Verdict::of(end),
            candidate: candidate.map(|it| (it.revision.clone(), it.branch.clone())),
            required: trial(&run.stage).map_or(0, |trial| trial.required.len()),
            failed: results.map_or(0, |results| results.filter(fails).count()),
            building: building(&run.stage),
            pull: match end {
                Some(End::Refused { pull, .. }) => Some(*pull),
                _ => None,
            },
        }
    }
}

fn building(stage: &Stage) -> Vec<JobKey> {
    let trial = match stage {
        Stage::Test(trial) => trial,
        Stage::Confirm(doubted) => &doubted.trial,
        _ => return Vec::new(),
    };
    trial.required.values().map(|required| required.job.clone()).collect()
}

/// What is to be built, once that is known.
pub(crate) fn trial(stage: &Stage) -> Option<&Trial> {
    match stage {
        Stage::Test(trial) => Some(trial),
        Stage::Confirm(doubted) => Some(&doubted.trial),
        _ => tested(stage).map(|tested| &tested.trial),
    }
}

/// What became of it, once that is known.
pub(crate) fn tested(stage: &Stage) -> Option<&Tested> {
    match stage {
        Stage::Compare(tested) | Stage::Land(tested) | Stage::Tell(tested) => Some(tested),
        Stage::Explain(refused) => refused.why.tested(),
        Stage::Clear(end) | Stage::Ended(end) => match &**end {
            End::Landed(tested) => Some(tested),
            End::Refused { refused, .. } => refused.why.tested(),
            _ => None,
        },
        _ => None,
    }
}

/// What it tries to land, in words; holds foreign text.
pub(crate) fn source(source: &Source) -> String {
    match source {
        Source::Update => "an update of flake.lock".into(),
        Source::Branch { name } => format!("branch {name}"),
    }
}
