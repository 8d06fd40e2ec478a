//! The first page: what runs, and each repository's hosts against its newest commits.

use axum::response::Response;
use maud::{Markup, html};
use proto::{Host, Repo};

use super::{Look, Place, Shown, gates, matrix, pool, section};
use crate::dashboard::{
    model::{COLUMNS_KEPT, Column},
    shared::{Shared, Shows},
};

/// Hosts of one repository here; with more of them only those that need a look are.
const HOSTS_SHOWN: usize = 60;

pub(crate) fn page(shared: &Shared) -> Response {
    let shown = Shown::now(shared, Shows::Lines);
    super::page_of(shared, &shown, Place::Hosts, "Hosts", |look| {
        let repos = look.model.repos();
        html! {
            h1 class="vh" { "Hosts and builds" }
            (section("running", "Running", &pool::running(look)))
            @if repos.is_empty() { (nothing(look)) }
            @for repo in repos { (hosts(look, repo)) }
            (section("gates", "Newest gate runs", &gates::newest(look)))
        }
    })
}

fn nothing(look: &Look<'_>) -> Markup {
    html! {
        section id="empty" data-live {
            @if look.model.reading.done {
                h2 { "No builds yet" }
                p {
                    "Nobody has asked for a build. "
                    code { "producer submit --repo R --ref master --all" } " does."
                }
            }
        }
    }
}

fn hosts(look: &Look<'_>, repo: &Repo) -> Markup {
    let columns: Vec<&Column> = look.model.columns_of(repo).take(COLUMNS_KEPT).collect();
    let all: Vec<&Host> = matrix::hosts(&columns).into_iter().collect();
    let many = all.len() > HOSTS_SHOWN;
    let mut shown = all.clone();
    if many {
        shown.retain(|host| matrix::needs_a_look(look, &columns, host));
    }
    let needs = shown.len();
    shown.truncate(HOSTS_SHOWN);
    let content = html! {
        @if many {
            p {
                (needs) " of " (all.len()) " hosts " (if needs == 1 { "needs" } else { "need" }) " a look"
                @if needs > shown.len() { ", the first " (shown.len()) }
                @if shown.is_empty() { ". " } @else { ": " }
                a href={ "/repo/" (repo) } { "All hosts of " (repo) }
            }
        }
        @if !shown.is_empty() { (matrix::table(look, repo, &columns, &shown)) }
        (matrix::legend())
    };
    section(&format!("repo-{repo}"), repo.as_str(), &content)
}
