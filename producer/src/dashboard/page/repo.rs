//! All hosts of one repository, a page at a time.

use axum::response::Response;
use maud::{Markup, html};
use proto::{Host, Repo};
use telemetry::plain;

use super::{Place, counted, matrix, section};
use crate::dashboard::{model::Column, shared::Shared};

/// Hosts on one page.
const HOSTS_SHOWN: usize = 100;

/// `None` when nothing is known of it.
pub(crate) fn page(shared: &Shared, repo: &Repo, find: &str, from: usize) -> Option<Response> {
    let known = shared.read(|model| model.columns_of(repo).next().is_some());
    known.then(|| {
        super::page(shared, Place::Hosts, repo.as_str(), |look| {
            let columns: Vec<&Column> = look.model.columns_of(repo).collect();
            let mut hosts: Vec<&Host> = matrix::hosts(&columns).into_iter().collect();
            hosts.retain(|host| host.as_str().to_lowercase().contains(&find.to_lowercase()));
            let all = hosts.len();
            let from = from.min(all.saturating_sub(1) / HOSTS_SHOWN * HOSTS_SHOWN);
            let shown: Vec<&Host> = hosts.into_iter().skip(from).take(HOSTS_SHOWN).collect();
            let content = html! {
                p {
                    @if shown.is_empty() {
                        "No host's name holds " q { (plain(find)) } ". "
                        a href={ "/repo/" (repo) } { "All hosts of " (repo) }
                    } @else {
                        (counted(all, "host"))
                        @if shown.len() < all {
                            ", shown " (from + 1) " to " (from + shown.len())
                        }
                    }
                }
                @if !shown.is_empty() { (matrix::table(look, repo, &columns, &shown)) }
                (pages(repo, find, from, all))
                (matrix::legend())
            };
            html! {
                h1 { (repo) }
                form class="find" role="search" action={ "/repo/" (repo) } {
                    label for="host" { "Hosts whose name holds" }
                    input id="host" name="host" type="search" value=(plain(find));
                    button { "Show" }
                }
                (section("hosts", "Hosts by commit", &content))
            }
        })
    })
}

fn pages(repo: &Repo, find: &str, from: usize, all: usize) -> Markup {
    // What stands in a name needs no escape in an address; whatever else finds nothing anyway.
    let find: String =
        find.chars().filter(|c| c.is_ascii_alphanumeric() || "-_".contains(*c)).collect();
    let link = |from: usize| format!("/repo/{repo}?host={find}&from={from}");
    html! {
        nav class="pages" aria-label="Further hosts" {
            @if from > 0 {
                a rel="prev" href=(link(from.saturating_sub(HOSTS_SHOWN))) { "← Hosts before" }
            }
            @if from + HOSTS_SHOWN < all {
                a rel="next" href=(link(from + HOSTS_SHOWN)) { "Hosts after →" }
            }
        }
    }
}
