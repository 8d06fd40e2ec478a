//! Gate runs: what was tried, how far it is, and the verdict.

use axum::response::Response;
use maud::{Markup, html};
use proto::{JobKey, Tally};

use super::{
    Look, Place, commit_path, counted, foreign, host::Face, scrolling, section, short, times,
};
use crate::dashboard::{
    gates::{GateLine, Verdict},
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
                @if !line.building.is_empty() {
                    (so_far(look, &line.building))
                } @else if line.required > 0 {
                    (counted(line.required, "host"))
                    @if line.failed > 0 { ", " strong { (line.failed) " failed" } }
                }
                @if let Some(pull) = line.pull { ", pull request " (pull) }
            }
        }
    }
}

/// How far one is that goes on.
fn so_far(look: &Look<'_>, jobs: &[JobKey]) -> Markup {
    let known: Vec<_> = jobs.iter().map(|job| look.model.status(job, look.now)).collect();
    let tally = Tally::of(known.iter().map(|status| status.as_ref()?.outcome()));
    html! {
        (tally.built) " of " (tally.expected) " built"
        @if tally.failed > 0 { ", " strong { (tally.failed) " failed" } }
    }
}

/// The verdict, or how far it is.
pub(super) fn badge(line: &GateLine) -> Markup {
    let face = match line.verdict {
        Verdict::Open => Face { class: "running", sign: "●" },
        Verdict::Pass => Face { class: "built", sign: "✓" },
        Verdict::Fail => Face { class: "failed", sign: "✗" },
        Verdict::Undecided => Face { class: "infra", sign: "!" },
        Verdict::Nothing => Face { class: "cancelled", sign: "–" },
    };
    let detail = line.end.unwrap_or(line.stage);
    let says_the_same = detail.starts_with(line.verdict.name());
    html! {
        span class={ "badge " (face.class) } {
            (face.sign()) " " (line.verdict.name())
            @if !says_the_same { ": " (detail) }
        }
    }
}
