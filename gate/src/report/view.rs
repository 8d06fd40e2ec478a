//! What a report shows, in the order of importance: every text in it is fit to be shown, and none
//! of it is bound to a form yet.

use std::collections::BTreeMap;

use flake::hosts::flake_url;
use proto::{
    Revision,
    gate::{Candidate, End, HostResult, HostStanding, Made, Refused, Stage, Trial},
};

use super::{Detail, Facts, foreign::Foreign, markdown::shell};
use crate::{
    lock::{self, InputChange},
    policy::Policy,
};

/// Last lines of a log that are shown.
pub(crate) const LOG_LINES_MAX: usize = 100;
/// Failures that are shown with the end of their log; no report has room for more.
const LOGS_MAX: usize = 40;
/// Changed inputs, closure lines and the like that are made ready; no report has room for more.
const ITEMS_MAX: usize = 500;

/// What a report shows.
pub(crate) struct View {
    /// The required hosts: those that decide against the candidate first, built ones last.
    pub(crate) hosts: Vec<HostRow>,
    pub(crate) tally: Tally,
    pub(crate) excluded: Vec<String>,
    /// What keeps hosts from being built, once each; what decides comes first, then what breaks
    /// the most hosts.
    pub(crate) groups: Vec<Group>,
    /// Equal closure differences, those of the most hosts first.
    pub(crate) closures: Vec<ClosureGroup>,
    pub(crate) inputs: Inputs,
}

/// One host.
pub(crate) struct HostRow {
    pub(crate) label: String,
    pub(crate) standing: HostStanding,
    /// It keeps the candidate from landing.
    pub(crate) against: bool,
    pub(crate) outcome: String,
    pub(crate) attempts: u32,
    pub(crate) build_ms: u64,
    pub(crate) marks: Vec<&'static str>,
    pub(crate) workers: String,
}

/// Hosts that count, by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Hosts that decide.
    pub(crate) required: usize,
    pub(crate) built: usize,
    pub(crate) failed: usize,
    /// Failed, and that decides by the policy.
    pub(crate) against: usize,
    /// Failed, at the base too.
    pub(crate) pre_existing: usize,
    /// Without an answer.
    pub(crate) open: usize,
    /// Built at the second try.
    pub(crate) flaky: usize,
    /// Advisory hosts that are not built.
    pub(crate) advisory: usize,
}

/// One cause, and the hosts that are not built for it.
pub(crate) struct Group {
    pub(crate) outcome: String,
    /// The derivation that failed.
    pub(crate) leaf: Option<String>,
    pub(crate) message: String,
    pub(crate) hosts: Vec<String>,
    pub(crate) marks: Vec<&'static str>,
    /// The end of the log of one of them.
    pub(crate) log: Vec<String>,
    /// Names of attached logs.
    pub(crate) attachments: Vec<String>,
    /// What shows the failure on another machine.
    pub(crate) command: Option<String>,
}

/// Hosts whose closures differ from their last ones in the same way.
pub(crate) struct ClosureGroup {
    pub(crate) hosts: Vec<String>,
    pub(crate) bytes: i64,
    pub(crate) lines: Vec<String>,
    /// How many there are beside those.
    pub(crate) more: usize,
}

/// What became of the flake's inputs.
#[derive(Default)]
pub(crate) struct Inputs {
    pub(crate) changes: Vec<InputChange>,
    /// How many changed beside those.
    pub(crate) more: usize,
    /// Why the changes cannot be told.
    pub(crate) unreadable: Option<String>,
    /// Inputs that were left as they are, and why.
    pub(crate) kept: Vec<(String, String)>,
}

/// The parts of a run that a report is about, wherever the run stands.
#[derive(Clone, Copy, Default)]
pub(crate) struct Subject<'a> {
    pub(crate) candidate: Option<&'a Candidate>,
    pub(crate) trial: Option<&'a Trial>,
    pub(crate) results: Option<&'a BTreeMap<String, HostResult>>,
}

impl<'a> Subject<'a> {
    pub(crate) fn of(stage: &'a Stage) -> Self {
        let trial = |trial: &'a Trial| Self {
            candidate: Some(&trial.candidate),
            trial: Some(trial),
            results: None,
        };
        match stage {
            Stage::Test(it) => trial(it),
            Stage::Confirm(doubted) => trial(&doubted.trial),
            Stage::Compare(tested) | Stage::Land(tested) | Stage::Tell(tested) => {
                Self { results: Some(&tested.results), ..trial(&tested.trial) }
            }
            Stage::Explain(refused) => Self::of_refused(refused),
            Stage::Clear(end) | Stage::Ended(end) => match &**end {
                End::Landed(tested) => {
                    Self { results: Some(&tested.results), ..trial(&tested.trial) }
                }
                End::Refused { refused, .. } => Self::of_refused(refused),
                end => Self { candidate: end.candidate(), ..Self::default() },
            },
            stage => Self { candidate: stage.candidate(), ..Self::default() },
        }
    }

    pub(crate) fn of_refused(refused: &'a Refused) -> Self {
        let tested = refused.why.tested();
        Self {
            candidate: Some(&refused.candidate),
            trial: tested.map(|it| &it.trial),
            results: tested.map(|it| &it.results),
        }
    }
}

impl View {
    pub(crate) fn of(facts: &Facts<'_>, subject: Subject<'_>) -> Self {
        let foreign = Foreign { scrub: &facts.site.scrub };
        let empty = BTreeMap::new();
        let results = subject.results.unwrap_or(&empty);
        let excluded = subject.trial.map_or(&[][..], |trial| &trial.excluded);
        Self {
            hosts: hosts(facts, results, foreign),
            tally: Tally::of(results, facts.site.policy),
            excluded: excluded.iter().map(|label| foreign.name(label)).collect(),
            groups: groups(facts, subject, results, foreign),
            closures: closures(facts.details, foreign),
            inputs: subject.candidate.map(|it| inputs(it, foreign)).unwrap_or_default(),
        }
    }
}

impl Tally {
    pub(crate) fn of(results: &BTreeMap<String, HostResult>, policy: Policy) -> Self {
        let mut tally = Self::default();
        for result in results.values() {
            if result.advisory {
                tally.advisory += usize::from(result.standing != HostStanding::Built);
                continue;
            }
            tally.required += 1;
            tally.flaky += usize::from(result.flaky);
            match result.standing {
                HostStanding::Built => tally.built += 1,
                HostStanding::Failed => {
                    tally.failed += 1;
                    tally.against += usize::from(against(result, policy));
                    tally.pre_existing += usize::from(result.pre_existing);
                }
                HostStanding::Undecided | HostStanding::Missing => tally.open += 1,
            }
        }
        tally
    }
}

/// It failed, and that keeps the candidate from landing.
pub(crate) fn against(result: &HostResult, policy: Policy) -> bool {
    let known = result.pre_existing && policy == Policy::NoRegression;
    result.standing == HostStanding::Failed && !result.advisory && !known
}

/// What is to be known beside the outcome.
fn marks(result: &HostResult) -> Vec<&'static str> {
    let marks = [
        (result.pre_existing, "pre-existing"),
        (result.flaky, "flaky"),
        (result.advisory, "advisory"),
        (result.reused, "reused"),
    ];
    marks.into_iter().filter(|(is, _)| *is).map(|(_, mark)| mark).collect()
}

/// Where a host belongs in a list that begins with what matters most.
fn rank(result: &HostResult) -> (bool, u8, bool) {
    let standing = match result.standing {
        HostStanding::Failed => 0,
        HostStanding::Undecided => 1,
        HostStanding::Missing => 2,
        HostStanding::Built => 3,
    };
    let built = standing == 3;
    (built || result.advisory, standing, result.pre_existing)
}

fn hosts(
    facts: &Facts<'_>,
    results: &BTreeMap<String, HostResult>,
    foreign: Foreign<'_>,
) -> Vec<HostRow> {
    let mut ranked: Vec<_> = results.iter().collect();
    ranked.sort_by_key(|(_, result)| rank(result));
    let row = |(label, result): (&String, &HostResult)| {
        let workers = facts.details.get(label).map_or(&[][..], |detail| &detail.workers);
        let workers: Vec<&str> = workers.iter().map(|worker| worker.as_str()).collect();
        HostRow {
            label: foreign.name(label),
            standing: result.standing,
            against: against(result, facts.site.policy),
            outcome: foreign.name(&result.outcome),
            attempts: result.attempts,
            build_ms: result.build_ms,
            marks: marks(result),
            workers: workers.join(", "),
        }
    };
    ranked.into_iter().map(row).collect()
}

/// Hosts fail for one cause when the same derivation fails, or, where none does, when the same is
/// said of them.
fn groups(
    facts: &Facts<'_>,
    subject: Subject<'_>,
    results: &BTreeMap<String, HostResult>,
    foreign: Foreign<'_>,
) -> Vec<Group> {
    let mut causes: BTreeMap<_, Vec<&String>> = BTreeMap::new();
    for (label, result) in results {
        if result.standing != HostStanding::Built {
            let failure = facts.details.get(label).and_then(|detail| detail.failure.as_ref());
            let leaf = result.leaf.as_deref().or(failure.and_then(|it| it.drv.as_deref()));
            let said = result.message.as_deref().or(failure.map(|it| it.message.as_str()));
            let cause = (result.outcome.as_str(), leaf, if leaf.is_some() { None } else { said });
            causes.entry((cause, rank(result).1)).or_default().push(label);
        }
    }
    let mut causes: Vec<_> = causes.into_iter().collect();
    // The best rank of its hosts, then how many they are.
    causes.sort_by_key(|(_, labels)| {
        let best = labels.iter().map(|label| rank(&results[*label])).min();
        (best, std::cmp::Reverse(labels.len()))
    });
    let group = |(index, labels): (usize, Vec<&String>)| {
        group(facts, subject, results, foreign, (index < LOGS_MAX, &labels))
    };
    causes.into_iter().map(|(_, labels)| labels).enumerate().filter_map(group).collect()
}

/// One group out of the hosts that it breaks.
fn group(
    facts: &Facts<'_>,
    subject: Subject<'_>,
    results: &BTreeMap<String, HostResult>,
    foreign: Foreign<'_>,
    (with_log, labels): (bool, &[&String]),
) -> Option<Group> {
    let first = results.get(*labels.first()?)?;
    let details = || labels.iter().filter_map(|label| facts.details.get(*label));
    let failure = details().filter_map(|it| it.failure.as_ref()).max_by_key(|it| it.log_tail.len());
    let said = first.message.as_deref().or(failure.map(|it| it.message.as_str()));
    let leaf = first.leaf.as_deref().or(failure.and_then(|it| it.drv.as_deref()));
    let log = failure.filter(|_| with_log).map_or(&[][..], |failure| &failure.log_tail);
    // More lines are read than shown: a secret may begin above.
    let spare = log.len().saturating_sub(4 * LOG_LINES_MAX);
    let common = |mark: &&str| labels.iter().all(|label| marks(&results[*label]).contains(mark));
    let command = match first.standing {
        HostStanding::Undecided | HostStanding::Missing | HostStanding::Built => None,
        HostStanding::Failed => {
            labels.first().and_then(|label| command(facts, subject.trial?, label))
        }
    };
    Some(Group {
        outcome: foreign.name(&first.outcome),
        leaf: leaf.map(|leaf| foreign.name(leaf)),
        message: foreign.message(said.unwrap_or_default()),
        hosts: labels.iter().map(|label| foreign.name(label)).collect(),
        marks: marks(first).into_iter().filter(common).collect(),
        log: foreign.lines(log[spare..].iter().map(String::as_str), LOG_LINES_MAX),
        attachments: details()
            .filter_map(|it| it.attachment.as_deref())
            .map(|name| foreign.name(name))
            .collect(),
        command,
    })
}

/// The command that builds a host as a worker does. None when people do not know the repository by
/// an address.
fn command(facts: &Facts<'_>, trial: &Trial, label: &str) -> Option<String> {
    let foreign = Foreign { scrub: &facts.site.scrub };
    let job = &trial.required.get(label)?.job;
    let candidate = &trial.candidate;
    let at = |repo, git_ref: &str, revision: &Revision| {
        facts.site.urls.get(repo).map(|url| flake_url(url, git_ref, revision))
    };
    let tested =
        at(&facts.run.repo, &format!("refs/heads/{}", candidate.branch), &candidate.revision)?;
    let built = |url: &str| {
        let host = &job.host;
        shell(&format!("{url}#nixosConfigurations.\"{host}\".config.system.build.toplevel"))
    };
    if job.repo == facts.run.repo {
        return Some(format!("nix build {}", built(&tested)));
    }
    let external = trial.external.iter().find(|it| it.repo == job.repo)?;
    let url = at(&external.repo, &external.git_ref, &external.revision)?;
    let (input, tested) = (shell(&foreign.name(external.input())), shell(&tested));
    Some(format!("nix build {} --override-input {input} {tested}", built(&url)))
}

fn closures(details: &BTreeMap<String, Detail>, foreign: Foreign<'_>) -> Vec<ClosureGroup> {
    let mut equal: BTreeMap<_, Vec<&String>> = BTreeMap::new();
    for (label, detail) in details {
        if let Some(closure) = &detail.closure {
            equal.entry(closure).or_default().push(label);
        }
    }
    let mut equal: Vec<_> = equal.into_iter().collect();
    equal.sort_by_key(|(_, labels)| std::cmp::Reverse(labels.len()));
    let group = |(closure, labels): (&super::ClosureDiff, Vec<&String>)| {
        let lines = foreign.lines(closure.text.lines().take(ITEMS_MAX), ITEMS_MAX);
        let unread = closure.text.lines().skip(ITEMS_MAX).count();
        let cut = usize::try_from(closure.lines_cut).unwrap_or(usize::MAX);
        ClosureGroup {
            hosts: labels.iter().map(|label| foreign.name(label)).collect(),
            bytes: closure.bytes,
            lines,
            more: unread.saturating_add(cut),
        }
    };
    equal.into_iter().take(ITEMS_MAX).map(group).collect()
}

fn inputs(candidate: &Candidate, foreign: Foreign<'_>) -> Inputs {
    let Made::Update(update) = &candidate.made else { return Inputs::default() };
    let kept = update.kept.iter().take(ITEMS_MAX);
    let kept = kept.map(|it| (foreign.name(&it.input), foreign.message(&it.message))).collect();
    match lock::changes(&update.old_lock, &update.lock) {
        Ok(changes) => {
            let named = |it: InputChange| InputChange { path: foreign.name(&it.path), ..it };
            let more = changes.len().saturating_sub(ITEMS_MAX);
            let changes = changes.into_iter().take(ITEMS_MAX).map(named).collect();
            Inputs { changes, more, unreadable: None, kept }
        }
        Err(error) => {
            let unreadable = Some(foreign.message(&error.to_string()));
            Inputs { unreadable, kept, ..Inputs::default() }
        }
    }
}
