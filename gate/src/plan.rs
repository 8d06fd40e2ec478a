//! What a gate run does next. Pure: from the stage that is on record and what its effect came to,
//! one function makes the stage that goes on record.
//!
//! Every stage's effect can be carried out again, so a run goes on from its record wherever its
//! process died. Nothing here reads a repository, the broker or a clock.

use std::collections::BTreeMap;

use proto::{
    GateId, Incarnation, Revision, WorkerName,
    gate::{
        BranchAt, BrokenInput, Candidate, Doubt, Doubted, End, GateRun, HostResult, HostStanding,
        Made, Refused, Source, Stage, Tested, Trial, Why,
    },
};

use crate::{policy::Policy, verdict::Verdict};

/// What the config decides.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// Which failures keep a candidate from landing.
    pub(crate) policy: Policy,
}

/// Candidates of one run: the first, and those that follow a base that moved on. A base that moves
/// faster than the fleet builds would otherwise be followed for ever (bors and gitea-mq stop at
/// three as well).
pub(crate) const ROUNDS_MAX: u32 = 3;

/// What the effect of a stage came to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Event {
    /// The base is at this commit.
    Pinned { base: Revision },
    /// A branch is not there.
    Gone { branch: String },
    /// The update changes nothing.
    Unchanged { base: Revision },
    /// There is a candidate.
    Prepared(Candidate),
    /// Inputs could not be updated.
    Broken { inputs: Vec<BrokenInput> },
    /// The same update of the same base failed in that run.
    Repeats { of: GateId },
    /// The branch to land does not contain the base.
    Behind { branch: String, base: Revision },
    /// The candidate is its branch's head.
    Published,
    /// Somebody else has the branch: this name is free.
    Taken { free: String },
    /// This must be built.
    Listed(Trial),
    /// No hosts can be told.
    NoHosts { message: String },
    /// The hosts that were waited for have ended, by label.
    Ended(BTreeMap<String, Look>),
    /// The candidate is on the base branch.
    Landed,
    /// The base moved on. `remade` is the candidate on top of it; none where the move itself
    /// touches the lock, so that the update has to be made again.
    Moved { to: Revision, remade: Option<Candidate> },
    /// The base is at a commit that does not contain the one it was at.
    Rewound { to: Revision },
    /// The server does not let the gate move the base.
    Denied { message: String },
    /// It was told.
    Told,
    /// The pull request says all.
    Explained { pull: u64 },
    /// Nothing is left over.
    Cleared,
}

/// One host as it ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Look {
    pub(crate) result: HostResult,
    /// The asking that ended, and the worker that ended it; none when nothing was built.
    pub(crate) by: Option<(Incarnation, WorkerName)>,
    /// Another worker could try it.
    pub(crate) elsewhere: bool,
}

/// The run with the stage that follows.
///
/// An event that its stage cannot come to leaves the run as it is: the stage is done again.
pub(crate) fn advance(run: GateRun, event: Event, rules: Rules) -> GateRun {
    let rounds = match event {
        Event::Prepared(_) | Event::Moved { remade: Some(_), .. } => run.rounds + 1,
        _ => run.rounds,
    };
    let at = At { round: run.rounds, source: &run.source };
    match next(run.stage.clone(), event, at, rules) {
        Some(stage) => GateRun { rounds, stage, ..run },
        None => run,
    }
}

/// The run as it is ended when it was unfinished for too long.
pub(crate) fn given_up(run: GateRun) -> GateRun {
    let stage = run.stage.name().to_owned();
    let candidate = run.stage.candidate().cloned().map(Box::new);
    GateRun { stage: Stage::Clear(Box::new(End::GivenUp { stage, candidate })), ..run }
}

#[derive(Clone, Copy)]
struct At<'a> {
    round: u32,
    source: &'a Source,
}

fn next(stage: Stage, event: Event, at: At<'_>, rules: Rules) -> Option<Stage> {
    let ended = |end: End| Some(Stage::Ended(Box::new(end)));
    match (stage, event) {
        (Stage::Pin, Event::Pinned { base }) => Some(Stage::Prepare { base, over: None }),
        (Stage::Pin | Stage::Prepare { .. }, Event::Gone { branch }) => {
            ended(End::BranchGone { branch, candidate: None })
        }
        (Stage::Prepare { over, .. }, Event::Unchanged { base }) => {
            // Over an earlier candidate: the base got this very update some other way.
            let end = Box::new(End::Unchanged { base, over: over.clone() });
            Some(if over.is_some() { Stage::Clear(end) } else { Stage::Ended(end) })
        }
        (Stage::Prepare { .. }, Event::Prepared(candidate)) => Some(Stage::Publish(candidate)),
        (Stage::Prepare { .. }, Event::Broken { inputs }) => ended(End::BrokenInputs { inputs }),
        (Stage::Prepare { .. }, Event::Repeats { of }) => ended(End::SameFailure { of }),
        (Stage::Prepare { .. }, Event::Behind { branch, base }) => {
            ended(End::Behind { branch, base })
        }
        (Stage::Publish(candidate), Event::Published) => Some(Stage::List(candidate)),
        (Stage::Publish(candidate), Event::Taken { free }) => {
            Some(Stage::Publish(Candidate { branch: free, replaces: None, ..candidate }))
        }
        (Stage::List(_), Event::Listed(trial)) => Some(Stage::Test(trial)),
        (Stage::List(candidate), Event::NoHosts { message }) => {
            let why = Why::NoHosts { message };
            Some(Stage::Explain(Box::new(Refused { candidate, why })))
        }
        (Stage::Test(trial), Event::Ended(looks)) => after_test(trial, looks, rules),
        (Stage::Confirm(doubted), Event::Ended(looks)) => after_confirm(doubted, looks, rules),
        (Stage::Compare(tested), Event::Ended(looks)) => {
            Some(judged(compared(tested, &looks), rules))
        }
        (Stage::Land(tested), event) => after_land(tested, event, at),
        (Stage::Tell(tested), Event::Told) => {
            Some(Stage::Clear(Box::new(End::Landed(Box::new(tested)))))
        }
        (Stage::Explain(refused), Event::Explained { pull }) => {
            Some(Stage::Clear(Box::new(End::Refused { refused, pull })))
        }
        (Stage::Clear(end), Event::Cleared) => Some(Stage::Ended(end)),
        _ => None,
    }
}

/// Every failure that another machine might not have had is tried on one, once. While a host is
/// undecided and none failed, the trial goes on.
fn after_test(trial: Trial, looks: BTreeMap<String, Look>, rules: Rules) -> Option<Stage> {
    let doubts: BTreeMap<String, Doubt> = looks.iter().filter_map(doubt).collect();
    if !doubts.is_empty() {
        return Some(Stage::Confirm(Doubted { trial, doubts }));
    }
    let results = results_of(looks);
    after_builds(Tested { trial, results }, rules)
}

fn after_confirm(doubted: Doubted, looks: BTreeMap<String, Look>, rules: Rules) -> Option<Stage> {
    let Doubted { trial, doubts } = doubted;
    let mut results = results_of(looks);
    for (label, result) in &mut results {
        result.flaky = doubts.contains_key(label) && result.standing == HostStanding::Built;
    }
    // One that ended without an answer the second time is neither confirmed nor cleared.
    let open = doubts.keys().any(|label| {
        results.get(label).is_none_or(|result| {
            matches!(result.standing, HostStanding::Undecided | HostStanding::Missing)
        })
    });
    if open { None } else { after_builds(Tested { trial, results }, rules) }
}

/// All is built: to be landed. Something fails: to be compared with the base. Else it goes on.
fn after_builds(tested: Tested, rules: Rules) -> Option<Stage> {
    match Verdict::of_results(&tested.results, rules.policy) {
        Verdict::Pass => Some(Stage::Land(tested)),
        Verdict::Fail => Some(Stage::Compare(tested)),
        Verdict::Undecided => None,
    }
}

/// A failure is worth a second try when the machine may have had a part in it. An evaluation, a
/// missing host or a wrong hash ends in the same way everywhere.
fn doubt((label, look): (&String, &Look)) -> Option<(String, Doubt)> {
    const MACHINE_MATTERS: [&str; 4] = ["build-failed", "timed-out", "silent", "out-of-memory"];
    let failed = look.result.standing == HostStanding::Failed;
    let doubtful = failed && MACHINE_MATTERS.contains(&look.result.outcome.as_str());
    let (incarnation, worker) = look.by.clone()?;
    let outcome = look.result.outcome.clone();
    (doubtful && look.elsewhere).then(|| (label.clone(), Doubt { outcome, incarnation, worker }))
}

fn results_of(looks: BTreeMap<String, Look>) -> BTreeMap<String, HostResult> {
    looks.into_iter().map(|(label, look)| (label, look.result)).collect()
}

/// A host that fails at the base in the same place did not break by the candidate.
fn compared(mut tested: Tested, at_base: &BTreeMap<String, Look>) -> Tested {
    for (label, result) in &mut tested.results {
        let Some(base) = at_base.get(label).map(|look| &look.result) else { continue };
        let both = [&*result, base].map(|it| it.standing) == [HostStanding::Failed; 2];
        let place = |it: &HostResult| match &it.leaf {
            Some(leaf) => leaf.clone(),
            None => it.message.clone().unwrap_or_default(),
        };
        result.pre_existing =
            both && result.outcome == base.outcome && place(result) == place(base);
    }
    tested
}

fn judged(tested: Tested, rules: Rules) -> Stage {
    match Verdict::of_results(&tested.results, rules.policy) {
        Verdict::Pass => Stage::Land(tested),
        Verdict::Fail | Verdict::Undecided => {
            let candidate = tested.trial.candidate.clone();
            Stage::Explain(Box::new(Refused { candidate, why: Why::Failed(tested) }))
        }
    }
}

fn after_land(tested: Tested, event: Event, at: At<'_>) -> Option<Stage> {
    let candidate = tested.trial.candidate.clone();
    let explain =
        |why| Some(Stage::Explain(Box::new(Refused { candidate: candidate.clone(), why })));
    match event {
        Event::Landed => Some(Stage::Tell(tested)),
        Event::Denied { message } => explain(Why::Denied { tested, message }),
        Event::Moved { to, .. }
            if at.round >= ROUNDS_MAX
                || candidate.made == Made::Others
                || *at.source != Source::Update =>
        {
            explain(Why::BaseMoved { tested, to })
        }
        Event::Moved { remade: Some(remade), .. } => Some(Stage::Publish(remade)),
        Event::Moved { to, remade: None } => {
            let over = BranchAt { branch: candidate.branch, at: candidate.revision };
            Some(Stage::Prepare { base: to, over: Some(over) })
        }
        Event::Rewound { to } => {
            let candidate = Box::new(candidate);
            Some(Stage::Clear(Box::new(End::BaseRewound { candidate, to })))
        }
        Event::Gone { branch } => {
            let candidate = Some(Box::new(candidate));
            Some(Stage::Clear(Box::new(End::BranchGone { branch, candidate })))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
