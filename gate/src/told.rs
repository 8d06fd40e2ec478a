//! Gate runs on the terminal and as JSON. Pure.

use std::collections::BTreeMap;

use proto::{
    GateId, Repo, Revision, RunId, Timestamp,
    gate::{End, GateRun, Holder, HostResult, HostStanding, Source, Stage, Tested, Trial},
};
use serde::Serialize;

/// A run and who is at it.
#[derive(Debug)]
pub(crate) struct Standing {
    pub(crate) run: GateRun,
    pub(crate) holder: Option<Holder>,
}

/// One run in JSON output.
#[derive(Serialize)]
struct Object<'a> {
    gate: GateId,
    repo: &'a Repo,
    base: &'a str,
    source: &'a Source,
    at: Timestamp,
    rounds: u32,
    /// `landed`, `unchanged`, `failed`, …; none while it has not ended.
    end: Option<&'static str>,
    stage: &'static str,
    branch: Option<&'a str>,
    revision: Option<&'a Revision>,
    base_revision: Option<&'a Revision>,
    /// The run in the pool, for `producer status` and `gate check`.
    run: Option<RunId>,
    pull: Option<u64>,
    hosts: BTreeMap<&'a str, &'a HostResult>,
    required: Vec<&'a str>,
    excluded: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    holder: Option<&'a Holder>,
}

/// One object on one line.
pub(crate) fn json(run: &GateRun) -> String {
    line(&object(run, None))
}

/// All of them as one array on one line.
pub(crate) fn standings_json(standings: &[Standing]) -> String {
    let objects = standings.iter().map(|it| object(&it.run, it.holder.as_ref()));
    line(&objects.collect::<Vec<_>>())
}

/// What became of a run, or where it stands.
pub(crate) fn text(run: &GateRun) -> String {
    let mut text = match run.stage.ended() {
        Some(end) => format!("{} of {}: {}\n", run.base, run.repo, ended(end, &run.base)),
        None => format!("{} of {}: waits at {}\n", run.base, run.repo, run.stage.name()),
    };
    if let Some(tested) = tested(&run.stage) {
        for (label, result) in &tested.results {
            if result.standing != HostStanding::Built || result.flaky {
                text.push_str(&host(label, result));
            }
        }
        for label in &tested.trial.excluded {
            text.push_str(&format!("  {label}: excluded\n"));
        }
    }
    text
}

/// What a run would do, as far as it went without changing anything.
pub(crate) fn plan(run: &GateRun) -> String {
    let (Some(candidate), Stage::Test(trial)) = (run.stage.candidate(), &run.stage) else {
        return text(run);
    };
    let mut text = format!(
        "would push {} as {}\nwould have {} hosts built:\n",
        candidate.revision,
        candidate.branch,
        trial.required.len()
    );
    for (label, required) in &trial.required {
        text.push_str(&format!("  {label} ({})\n", required.class));
    }
    for label in &trial.excluded {
        text.push_str(&format!("  {label}: excluded\n"));
    }
    text.push_str(&format!("would then move {} from {}\n", run.base, candidate.base));
    text
}

/// One line a run.
pub(crate) fn standings(standings: &[Standing]) -> String {
    if standings.is_empty() {
        return "no gate runs\n".to_owned();
    }
    let mut text = String::new();
    for Standing { run, holder } in standings {
        text.push_str(&self::text(run));
        if let Some(holder) = holder {
            text.push_str(&format!("  held by {} ({})\n", holder.place, holder.by));
        }
    }
    text
}

fn ended(end: &End, base: &str) -> String {
    match end {
        End::Landed(tested) => {
            let (hosts, rev) = (tested.results.len(), &tested.trial.candidate.revision);
            format!("landed {rev}, with {hosts} hosts built")
        }
        End::Unchanged { .. } => "nothing to do, the update changes nothing".to_owned(),
        End::Refused { refused, pull } => {
            format!(
                "not landed ({}), see pull request #{pull} of {}",
                end.name(),
                refused.candidate.branch
            )
        }
        End::SameFailure { of } => format!("the same update failed before, in gate run {of}"),
        End::BrokenInputs { inputs } => {
            let lines = inputs.iter().map(|it| format!("\n  {}: {}", it.input, it.message));
            format!("not updated, these inputs are broken:{}", lines.collect::<String>())
        }
        End::BaseRewound { candidate, to } => format!(
            "stopped: {base} was at {} and is at {to} now, which does not contain it; \
             somebody has forced it back",
            candidate.base
        ),
        End::BranchGone { branch, .. } => format!("stopped: there is no branch {branch}"),
        End::Behind { branch, base: at } => {
            format!("not tried: {branch} does not contain {at}, where {base} is; rebase it")
        }
        End::GivenUp { stage, .. } => format!("given up at {stage}, unfinished for too long"),
    }
}

fn host(label: &str, result: &HostResult) -> String {
    let mark = |is: bool, word: &str| if is { format!(" ({word})") } else { String::new() };
    let marks = mark(result.flaky, "failed once")
        + &mark(result.pre_existing, "fails at the base too")
        + &mark(result.advisory, "advisory");
    let why = result.message.as_deref().map_or_else(String::new, |why| format!(": {why}"));
    telemetry::plain(&format!("  {label}: {}{marks}{why}", result.outcome)).into_owned() + "\n"
}

fn tested(stage: &Stage) -> Option<&Tested> {
    match stage {
        Stage::Compare(tested) | Stage::Land(tested) | Stage::Tell(tested) => Some(tested),
        Stage::Explain(refused) => refused.why.tested(),
        Stage::Clear(end) | Stage::Ended(end) => match &**end {
            End::Landed(tested) => Some(tested),
            End::Refused { refused, .. } => refused.why.tested(),
            _ => None,
        },
        Stage::Pin
        | Stage::Prepare { .. }
        | Stage::Publish(_)
        | Stage::List(_)
        | Stage::Test(_)
        | Stage::Confirm(_) => None,
    }
}

fn trial(stage: &Stage) -> Option<&Trial> {
    match stage {
        Stage::Test(trial) => Some(trial),
        Stage::Confirm(doubted) => Some(&doubted.trial),
        stage => tested(stage).map(|tested| &tested.trial),
    }
}

fn object<'a>(run: &'a GateRun, holder: Option<&'a Holder>) -> Object<'a> {
    let candidate = run.stage.candidate();
    let trial = trial(&run.stage);
    let results = tested(&run.stage).map(|tested| tested.results.iter());
    Object {
        gate: run.id,
        repo: &run.repo,
        base: &run.base,
        source: &run.source,
        at: run.at,
        rounds: run.rounds,
        end: run.stage.ended().map(End::name),
        stage: run.stage.name(),
        branch: candidate.map(|it| it.branch.as_str()),
        revision: candidate.map(|it| &it.revision),
        base_revision: candidate.map(|it| &it.base),
        run: trial.map(|it| it.run),
        pull: match run.stage.ended() {
            Some(End::Refused { pull, .. }) => Some(*pull),
            _ => None,
        },
        hosts: results.into_iter().flatten().map(|(label, it)| (label.as_str(), it)).collect(),
        required: trial
            .map_or_else(Vec::new, |it| it.required.keys().map(String::as_str).collect()),
        excluded: trial.map_or(&[], |it| &it.excluded),
        holder,
    }
}

fn line(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("text and numbers always serialize") + "\n"
}
