//! A run as one object. `gate run --json` prints one at its end, `gate resume --json` and `gate status
//! --json` an array of them. `docs/json.md` says what each key means.

use std::collections::BTreeMap;

use proto::{
    GateId, Repo, Revision, WorkerName,
    gate::{End, HostResult, HostStanding, Source, Stage},
};
use serde::Serialize;

use super::{
    Facts,
    foreign::Foreign,
    labels::labels,
    terminal,
    view::{Subject, View},
};
use crate::{
    lock::{Change, InputChange, Locked},
    verdict::Verdict,
};

#[derive(Serialize)]
struct Object<'a> {
    run: GateId,
    repo: &'a Repo,
    base: String,
    source: Source,
    rounds: u32,
    stage: &'static str,
    end: Option<&'static str>,
    message: String,
    verdict: Option<&'static str>,
    candidate: Option<Candidate<'a>>,
    pull: Option<u64>,
    labels: Vec<&'static str>,
    hosts: BTreeMap<String, Host<'a>>,
    excluded: Vec<String>,
    external: Vec<External<'a>>,
    inputs: Vec<Input>,
    kept: Vec<Kept>,
}

#[derive(Serialize)]
struct Candidate<'a> {
    revision: &'a Revision,
    base: &'a Revision,
    branch: String,
}

#[derive(Serialize)]
struct Host<'a> {
    standing: HostStanding,
    outcome: String,
    attempts: u32,
    build_ms: u64,
    flaky: bool,
    pre_existing: bool,
    advisory: bool,
    reused: bool,
    drv_path: Option<String>,
    out_path: Option<String>,
    leaf: Option<String>,
    message: Option<String>,
    workers: &'a [WorkerName],
}

#[derive(Serialize)]
struct External<'a> {
    repo: &'a Repo,
    input: String,
    revision: &'a Revision,
}

#[derive(Serialize)]
struct Input {
    path: String,
    old: Option<Lock>,
    new: Option<Lock>,
    compare: Option<String>,
}

#[derive(Serialize)]
struct Lock {
    rev: Option<String>,
    modified: Option<u64>,
}

#[derive(Serialize)]
struct Kept {
    input: String,
    message: String,
}

/// One object on one line.
pub(crate) fn json(facts: &Facts<'_>) -> String {
    let foreign = Foreign { scrub: &facts.site.scrub };
    let (run, policy) = (facts.run, facts.site.policy);
    let subject = Subject::of(&run.stage);
    let view = View::of(facts, subject);
    let end = match &run.stage {
        Stage::Ended(end) | Stage::Clear(end) => Some(&**end),
        _ => None,
    };
    let (refused, pull) = match (end, &run.stage) {
        (Some(End::Refused { refused, pull }), _) => (Some(refused), Some(*pull)),
        (_, Stage::Explain(refused)) => (Some(refused), None),
        _ => (None, None),
    };
    let external = subject.trial.map_or(&[][..], |trial| &trial.external);
    let hosts = subject.results.into_iter().flatten();
    let object = Object {
        run: run.id,
        repo: &run.repo,
        base: foreign.name(&run.base),
        source: match &run.source {
            Source::Update => Source::Update,
            Source::Branch { name } => Source::Branch { name: foreign.name(name) },
        },
        rounds: run.rounds,
        stage: run.stage.name(),
        end: end.map(End::name),
        message: terminal::headline(facts, &view),
        verdict: subject.results.map(|results| Verdict::of_results(results, policy).name()),
        candidate: subject.candidate.map(|it| Candidate {
            revision: &it.revision,
            base: &it.base,
            branch: foreign.name(&it.branch),
        }),
        pull,
        labels: refused.into_iter().flat_map(|it| labels(it, policy)).map(|it| it.name).collect(),
        hosts: hosts.map(|(label, it)| (foreign.name(label), host(facts, label, it))).collect(),
        external: external
            .iter()
            .map(|it| External {
                repo: &it.repo,
                input: foreign.name(it.input()),
                revision: &it.revision,
            })
            .collect(),
        excluded: view.excluded,
        inputs: view.inputs.changes.iter().map(input).collect(),
        kept: view
            .inputs
            .kept
            .into_iter()
            .map(|(input, message)| Kept { input, message })
            .collect(),
    };
    let json = serde_json::to_string(&object).expect("text and numbers always serialize");
    json + "\n"
}

fn host<'a>(facts: &Facts<'a>, label: &str, result: &HostResult) -> Host<'a> {
    let foreign = Foreign { scrub: &facts.site.scrub };
    let name = |text: &Option<String>| text.as_deref().map(|text| foreign.name(text));
    Host {
        standing: result.standing,
        outcome: foreign.name(&result.outcome),
        attempts: result.attempts,
        build_ms: result.build_ms,
        flaky: result.flaky,
        pre_existing: result.pre_existing,
        advisory: result.advisory,
        reused: result.reused,
        drv_path: name(&result.drv_path),
        out_path: name(&result.out_path),
        leaf: name(&result.leaf),
        message: result.message.as_deref().map(|text| foreign.message(text)),
        workers: facts.details.get(label).map_or(&[], |detail| &detail.workers),
    }
}

fn input(input: &InputChange) -> Input {
    let lock = |it: &Locked| Some(Lock { rev: it.rev.clone(), modified: it.modified });
    let path = input.path.clone();
    match &input.change {
        Change::Updated { old, new, link } => {
            Input { path, old: lock(old), new: lock(new), compare: link.clone() }
        }
        Change::Added(new) => Input { path, old: None, new: lock(new), compare: None },
        Change::Removed(old) => Input { path, old: lock(old), new: None, compare: None },
    }
}
