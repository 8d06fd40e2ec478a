//! A gate run in one line, and what it says of each host. Pure.

use proto::{
    GateId, JobKey, Repo, Revision, RunId, Timestamp,
    gate::{End, GateRun, HostStanding, Required, Source, Stage, Tested, Trial},
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

/// The runs in the pool that it has asked for, and what each of them is of.
pub(crate) fn asked(run: &GateRun) -> Vec<(String, RunId)> {
    let Some(trial) = trial(&run.stage) else { return Vec::new() };
    let ours = |(_, required): &(&String, &Required)| required.job.repo == run.repo;
    let mut asked = Vec::new();
    if trial.required.iter().any(|it| ours(&it)) {
        asked.push(("the candidate".to_owned(), trial.run));
    }
    asked.extend(trial.external.iter().map(|it| (it.repo.to_string(), it.run)));
    // What fails is built at the base as well.
    let results = tested(&run.stage).map(|tested| &tested.results);
    let fails = |label: &String| {
        let result = results.and_then(|results| results.get(label));
        result.is_some_and(|result| result.standing == HostStanding::Failed)
    };
    if trial.required.iter().filter(ours).any(|(label, _)| fails(label)) {
        asked.push(("the base".to_owned(), trial.base_run));
    }
    asked
}

/// What it tries to land, in words; holds foreign text.
pub(crate) fn source(source: &Source) -> String {
    match source {
        Source::Update => "an update of flake.lock".into(),
        Source::Branch { name } => format!("branch {name}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const CANDIDATE: &str = "cccccccccccccccccccccccccccccccccccccccc";
    const BASE: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
    const RUNS: [&str; 3] = [
        "01900000-0000-7000-8000-00000000000a",
        "01900000-0000-7000-8000-00000000000b",
        "01900000-0000-7000-8000-00000000000c",
    ];

    /// What a gate run that compares has asked for, with hosts as their jobs and how they stand.
    #[track_caller]
    fn check(hosts: &[(&str, &str, &str)], expected: &[(&str, &str)]) {
        let required = hosts.iter().map(|(label, job, _)| {
            ((*label).to_owned(), json!({ "job": job, "class": "x86_64-linux" }))
        });
        let results = hosts.iter().map(|(label, _, standing)| {
            ((*label).to_owned(), json!({ "standing": standing, "outcome": "x" }))
        });
        let (required, results): (serde_json::Map<_, _>, serde_json::Map<_, _>) =
            (required.collect(), results.collect());
        let external = json!({
            "repo": "ws", "revision": BASE, "ref": "refs/heads/master", "run": RUNS[1],
            "overrides": {},
        });
        let candidate = json!({
            "base": BASE, "revision": CANDIDATE, "branch": "b", "made": { "by": "others" },
        });
        let trial = json!({
            "candidate": candidate, "required": required, "external": [external],
            "run": RUNS[0], "base_run": RUNS[2],
        });
        let run = json!({
            "v": 1, "id": RUNS[0], "repo": "r", "base": "master", "source": { "of": "update" },
            "by": "local", "at": 1, "rounds": 1,
            "stage": { "is": "compare", "trial": trial, "results": results },
        });
        let run: GateRun = serde_json::from_value(run).expect("a gate run");
        let asked: Vec<_> = asked(&run).into_iter().map(|(of, id)| (of, id.to_string())).collect();
        let expected: Vec<_> =
            expected.iter().map(|(of, id)| ((*of).to_owned(), (*id).to_owned())).collect();
        assert_eq!(asked, expected, "{hosts:?}");
    }

    #[test]
    fn a_gate_run_names_the_runs_that_it_asked_for_and_no_others() {
        let [ours, theirs, base] = RUNS;
        let web = format!("r.{CANDIDATE}.web");
        let other = format!("ws.{BASE}.gunter");
        let candidate = ("the candidate", ours);
        check(&[("web", &web, "built")], &[candidate, ("ws", theirs)]);
        check(&[("web", &web, "failed")], &[candidate, ("ws", theirs), ("the base", base)]);
        // Hosts of other repositories have no base here.
        check(
            &[("web", &web, "built"), ("ws/gunter", &other, "failed")],
            &[candidate, ("ws", theirs)],
        );
    }
}
