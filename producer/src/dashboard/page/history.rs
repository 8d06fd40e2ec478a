//! One host over the revisions that were asked for: since when it is broken, and how long it takes.

use axum::response::Response;
use maud::{Markup, html};
use proto::{JobKey, Standing};

use super::{
    Look, Place, Shown, counted, foreign, host::Face, job_path, scrolling, section, short, times,
};
use crate::{
    dashboard::shared::Shared,
    history::{Ended, History, Past, Trend},
};

/// Revisions in the table.
const SHOWN: usize = 100;

pub(crate) fn page(shared: &Shared, shown: &Shown, history: &History) -> Response {
    let title = format!("{} of {}", history.host, history.repo);
    super::page_of(shared, shown, Place::Hosts, &title, |look| {
        html! {
            nav aria-label="Above this page" class="above" {
                a href={ "/repo/" (history.repo) } { (history.repo) }
            }
            h1 { (history.host) }
            section id="standing" aria-label="How it stands" data-live { (standing(look, history)) }
            (section("history", "Revisions, the newest first", &table(look, history)))
        }
    })
}

fn standing(look: &Look<'_>, history: &History) -> Markup {
    html! {
        @match history.broken() {
            Some(broken) => {
                p class="notice bad" {
                    "It fails since " (short(&broken.first_bad.revision)) ", "
                    (times::ago(broken.first_bad.at, look.now)) ": "
                    (counted(broken.failures, "revision")) " in a row. "
                    @match broken.last_good {
                        Some(good) => { "It was built last at " (short(&good.revision)) "." }
                        None => { "No revision is known that was built." }
                    }
                }
            }
            None => { p { "It is not known to be broken." } }
        }
        @if let Some(Trend { newest_ms, median_ms, over }) = history.trend() {
            p {
                "The newest build took " (times::length(newest_ms)) ", the " (over)
                " before it took " (times::length(median_ms)) " (median)."
            }
        }
    }
}

fn table(look: &Look<'_>, history: &History) -> Markup {
    let table = html! {
        table {
            caption class="vh" { "Outcomes by revision" }
            thead {
                tr {
                    @for name in ["Commit", "When", "Outcome", "Queue", "Build", "Worker", "Why"] {
                        th scope="col" { (name) }
                    }
                }
            }
            tbody { @for past in history.past.iter().take(SHOWN) { (row(look, history, past)) } }
        }
    };
    html! {
        (scrolling("Revisions", &table))
        @if history.past.len() > SHOWN { p { "And " (history.past.len() - SHOWN) " older ones." } }
    }
}

fn row(look: &Look<'_>, history: &History, past: &Past) -> Markup {
    let (repo, host) = (history.repo.clone(), history.host.clone());
    let job = JobKey { repo, host, revision: past.revision.clone() };
    let ended = past.ended.as_ref();
    let face = match past.standing() {
        Some(Standing::Pass) => Face { class: "built", sign: "✓" },
        Some(Standing::Fail) => Face { class: "failed", sign: "✗" },
        Some(Standing::Undecided) => Face { class: "infra", sign: "!" },
        Some(Standing::Cancelled) => Face { class: "cancelled", sign: "–" },
        None => Face { class: "running", sign: "●" },
    };
    html! {
        tr {
            th scope="row" { a href=(job_path(&job)) { (short(&past.revision)) } }
            td { (times::ago(past.at, look.now)) }
            td {
                span class={ "badge " (face.class) } {
                    (face.sign()) " " (ended.map_or("goes on", |ended| ended.outcome))
                    @if ended.is_some_and(|ended| ended.reused) { " (reused)" }
                }
            }
            td class="num" { @if let Some(it) = ended { (times::length(it.queue_ms)) } }
            td class="num" { @if let Some(it) = ended { (times::length(it.build_ms)) } }
            td { @if let Some(worker) = ended.and_then(|it| it.worker.as_ref()) { (worker) } }
            td class="why" {
                @if let Some(failure) = ended.and_then(|it| it.failure.as_ref()) {
                    (foreign(&failure.message))
                }
                @if let Some(done) = ended.and_then(Ended::done) { (done) }
            }
        }
    }
}
