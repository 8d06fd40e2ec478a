//! Gate runs: what was tried, how far it is, and the verdict over every host.

use axum::response::Response;
use maud::{Markup, html};
use proto::gate::{GateRun, HostResult, HostStanding, Required, Why};

use super::{
    Look, Place, commit_path, counted, foreign, host::Face, job_path, scrolling, section, short,
    times,
};
use crate::dashboard::{
    gates::{GateLine, Verdict, source, tested, trial},
    shared::Shared,
};

/// Runs on the first page.
const NEWEST: usize = 5;

pub(crate) fn page(shared: &Shared) -> Response {
    super::page(shared, Place::Gates, "Gate runs", |look| {
        let lines: Vec<&GateLine> = look.model.gates().collect();
        html! { h1 { "Gate runs" } (section("gates", "Newest first", &table(look, &lines))) }
    })
}

/// The newest few.
pub(crate) fn newest(look: &Look<'_>) -> Markup {
    let lines: Vec<&GateLine> = look.model.gates().take(NEWEST).collect();
    table(look, &lines)
}

fn table(look: &Look<'_>, lines: &[&GateLine]) -> Markup {
    if lines.is_empty() {
        return html! { p class="quiet" { "No gate has run." } };
    }
    let table = html! {
        table {
            caption class="vh" { "Gate runs, the newest first" }
            thead {
                tr {
                    @for name in ["Began", "Branch", "Verdict", "Candidate", "Hosts"] {
                        th scope="col" { (name) }
                    }
                }
            }
            tbody { @for line in lines { (row(look, line)) } }
        }
    };
    scrolling("Gate runs", &table)
}

fn row(look: &Look<'_>, line: &GateLine) -> Markup {
    html! {
        tr {
            th scope="row" { a href={ "/gate/" (line.key) } { (times::ago(line.at, look.now)) } }
            td { (line.repo) " " (foreign(&line.base)) }
            td { (badge(line)) }
            td {
                @if let Some((revision, branch)) = &line.candidate {
                    a href=(commit_path(&line.repo, revision)) { (short(revision)) }
                    " " span class="sub" { (foreign(branch)) }
                }
            }
            td {
                @if line.required > 0 {
                    (counted(line.required, "host"))
                    @if line.failed > 0 { ", " strong { (line.failed) " failed" } }
                }
                @if let Some(pull) = line.pull { ", pull request " (pull) }
            }
        }
    }
}

fn badge(line: &GateLine) -> Markup {
    let face = match line.verdict {
        Verdict::Open => Face { class: "running", sign: "●" },
        Verdict::Pass => Face { class: "built", sign: "✓" },
        Verdict::Fail => Face { class: "failed", sign: "✗" },
        Verdict::Undecided => Face { class: "infra", sign: "!" },
        Verdict::Nothing => Face { class: "cancelled", sign: "–" },
    };
    html! {
        span class={ "badge " (face.class) } {
            (face.sign()) " " (line.verdict.name())
            ": " (line.end.unwrap_or(line.stage))
        }
    }
}

/// One run, as its record has it.
pub(crate) fn run(shared: &Shared, key: &str, run: &GateRun) -> Response {
    let line = GateLine::of(key, run);
    let title = format!("Gate run of {}", run.repo);
    super::page(shared, Place::Gates, &title, |look| {
        html! {
            h1 { "Gate run of " (run.repo) " " (foreign(&run.base)) }
            section id="run" aria-label="The run" data-live {
                p { (badge(&line)) }
                (facts(look, run, &line))
                @if let Some(why) = why(run) { p class="notice bad" { (foreign(&why)) } }
            }
            (section("hosts", "Hosts", &hosts(run)))
        }
    })
}

fn facts(look: &Look<'_>, run: &GateRun, line: &GateLine) -> Markup {
    html! {
        dl class="facts" {
            dt { "Lands" } dd { (foreign(&source(&run.source))) }
            dt { "Began" } dd { (times::ago(run.at, look.now)) " by " code class="wrap" { (run.by) } }
            @if let Some(candidate) = run.stage.candidate() {
                dt { "Candidate" }
                dd {
                    a href=(commit_path(&run.repo, &candidate.revision)) { (short(&candidate.revision)) }
                    " on " (foreign(&candidate.branch))
                }
                dt { "Base" } dd { (short(&candidate.base)) }
            }
            dt { "Round" } dd { (run.rounds) }
            @if let Some(pull) = line.pull { dt { "Pull request" } dd { (pull) } }
        }
    }
}

/// Why it was not landed, where the hosts do not say it.
fn why(run: &GateRun) -> Option<String> {
    use proto::gate::{End, Stage};
    let refused = match &run.stage {
        Stage::Explain(refused) => refused,
        Stage::Clear(end) | Stage::Ended(end) => match &**end {
            End::Refused { refused, .. } => refused,
            End::BrokenInputs { inputs } => {
                let inputs = inputs.iter().map(|it| format!("{}: {}", it.input, it.message));
                return Some(inputs.collect::<Vec<_>>().join("; "));
            }
            End::SameFailure { of } => {
                return Some(format!("The same update failed before, in run {of}."));
            }
            _ => return None,
        },
        _ => return None,
    };
    match &refused.why {
        Why::NoHosts { message } | Why::Denied { message, .. } => Some(message.clone()),
        Why::BaseMoved { to, .. } => Some(format!("The base moved on to {to} too often.")),
        Why::Failed(_) => None,
    }
}

fn hosts(run: &GateRun) -> Markup {
    let Some(trial) = trial(&run.stage) else {
        return html! { p class="quiet" { "The hosts are not listed." } };
    };
    let results = tested(&run.stage).map(|tested| &tested.results);
    let mut rows: Vec<(&String, &Required, Option<&HostResult>)> = trial
        .required
        .iter()
        .map(|(label, required)| (label, required, results.and_then(|all| all.get(label))))
        .collect();
    rows.sort_by_key(|(_, _, result)| match result.map(|result| result.standing) {
        Some(HostStanding::Failed) => 0,
        Some(HostStanding::Missing | HostStanding::Undecided) | None => 1,
        Some(HostStanding::Built) => 2,
    });
    let table = html! {
        table {
            caption class="vh" { "Hosts that must be built, failures first" }
            thead {
                tr {
                    @for name in ["Host", "Result", "Build", "Failing derivation", "Why"] {
                        th scope="col" { (name) }
                    }
                }
            }
            tbody { @for (label, required, result) in rows { (host_row(label, required, result)) } }
        }
    };
    html! {
        (scrolling("Hosts of the gate run", &table))
        @if !trial.excluded.is_empty() {
            p { "Left out by the gate's config: " (foreign(&trial.excluded.join(", "))) }
        }
    }
}

fn host_row(label: &str, required: &Required, result: Option<&HostResult>) -> Markup {
    let face = match result.map(|result| result.standing) {
        Some(HostStanding::Built) => Face { class: "built", sign: "✓" },
        Some(HostStanding::Failed) => Face { class: "failed", sign: "✗" },
        Some(HostStanding::Undecided) => Face { class: "infra", sign: "!" },
        Some(HostStanding::Missing) | None => Face { class: "queued", sign: "○" },
    };
    html! {
        tr {
            th scope="row" { a href=(job_path(&required.job)) { (foreign(label)) } }
            td {
                span class={ "badge " (face.class) } {
                    (face.sign()) " "
                    (foreign(result.map_or("open", |result| result.outcome.as_str())))
                }
                @if let Some(result) = result {
                    @if result.pre_existing { " " span class="label" { "fails at the base too" } }
                    @if result.flaky { " " span class="label" { "flaky" } }
                }
                @if required.advisory { " " span class="label" { "does not decide" } }
            }
            td class="num" {
                @if let Some(it) = result.filter(|it| it.build_ms > 0) { (times::length(it.build_ms)) }
            }
            td {
                @if let Some(leaf) = result.and_then(|result| result.leaf.as_deref()) {
                    code { (foreign(proto::log::short_name(leaf))) }
                }
            }
            td class="why" {
                @if let Some(message) = result.and_then(|result| result.message.as_deref()) {
                    (foreign(message))
                }
            }
        }
    }
}
