//! All hosts of one commit, with why they stand as they do.

use std::collections::BTreeMap;

use axum::response::Response;
use maud::{Markup, html};
use proto::{Failure, Host, JobKey, Outcome, Repo, Revision, Tally, log::short_name};
use stand::HostStatus;

use super::{
    Look, Place, counted, foreign,
    host::{UNKNOWN, badge},
    job_path, matrix, scrolling, section, times,
};
use crate::{
    dashboard::{model::Column, shared::Shared},
    render::text::totals,
};

/// Hosts in the table, those that need a look first.
const HOSTS_SHOWN: usize = 500;
/// Derivations that fail on more than one host, those of most hosts first.
const SHARED_SHOWN: usize = 10;
/// Hosts named of each.
const SHARED_HOSTS: usize = 5;

/// A host's job, and how it stands; none: not read yet.
pub(super) type Known = (Option<HostStatus>, JobKey);

/// `None` when it is not among the newest commits.
pub(crate) fn page(shared: &Shared, repo: &Repo, revision: &Revision) -> Option<Response> {
    let known = |column: &&Column| column.revision == *revision;
    shared.read(|model| model.columns_of(repo).any(|column| known(&column))).then(|| {
        let title = format!("{repo} at {}", revision.short());
        super::page(shared, Place::Hosts, &title, |look| {
            let column = look.model.columns_of(repo).find(known);
            html! {
                h1 { (repo) " at " code { (revision.short()) } }
                @if let Some(column) = column { (content(look, column)) }
            }
        })
    })
}

fn content(look: &Look<'_>, column: &Column) -> Markup {
    let status = |host: &Host| {
        let (repo, revision) = (column.repo.clone(), column.revision.clone());
        let job = JobKey { repo, revision, host: host.clone() };
        (look.model.status(&job, look.now), job)
    };
    html! {
        p {
            code class="wrap" { (column.revision) }
            @if let Some(git_ref) = &column.git_ref { " on " (foreign(matrix::branch(git_ref))) }
            ", asked for " (times::ago(column.at, look.now)) "."
        }
        (hosts(look, "commit", column.hosts.keys().map(status).collect()))
    }
}

/// How hosts stand, those that need a look first; `of` is what they are of.
pub(super) fn hosts(look: &Look<'_>, of: &str, mut hosts: Vec<Known>) -> Markup {
    let tally = Tally::of(hosts.iter().map(|(status, _)| status.as_ref()?.outcome()));
    hosts.sort_by_key(|(status, _)| match status.as_ref().and_then(HostStatus::outcome) {
        Some(outcome) => match outcome.standing() {
            proto::Standing::Fail => 0,
            proto::Standing::Undecided => 1,
            proto::Standing::Cancelled => 3,
            proto::Standing::Pass => 4,
        },
        None => 2,
    });
    let more = hosts.len().saturating_sub(HOSTS_SHOWN);
    html! {
        (section("hosts", totals(&tally).as_str(), &html! {
            (shared(&hosts))
            (table(look, of, hosts.get(..HOSTS_SHOWN).unwrap_or(&hosts)))
        }))
        @if more > 0 { p { "And " (more) " more." } }
    }
}

/// What went wrong, of what did not end well.
fn failure(status: &HostStatus) -> Option<&Failure> {
    status.outcome().and_then(Outcome::failure)
}

/// The name of the derivation that failed.
fn failing(status: &HostStatus) -> Option<&str> {
    failure(status)?.drv.as_deref().map(short_name)
}

/// What breaks several hosts at once: one thing to mend.
fn shared(hosts: &[Known]) -> Markup {
    let mut by_name: BTreeMap<&str, Vec<&JobKey>> = BTreeMap::new();
    for (status, job) in hosts {
        if let Some(name) = status.as_ref().and_then(failing) {
            by_name.entry(name).or_default().push(job);
        }
    }
    let mut shared: Vec<_> = by_name.into_iter().filter(|(_, jobs)| jobs.len() > 1).collect();
    shared.sort_by_key(|(_, jobs)| std::cmp::Reverse(jobs.len()));
    if shared.is_empty() {
        return html! {};
    }
    html! {
        ul class="shared" {
            @for (name, jobs) in shared.iter().take(SHARED_SHOWN) {
                li {
                    code { (foreign(name)) } " fails on " (counted(jobs.len(), "host")) ": "
                    @for (at, job) in jobs.iter().take(SHARED_HOSTS).enumerate() {
                        @if at > 0 { ", " }
                        a href=(job_path(job)) { (job.host) }
                    }
                    @if jobs.len() > SHARED_HOSTS { " …" }
                }
            }
        }
        @if shared.len() > SHARED_SHOWN {
            p { "And " (shared.len() - SHARED_SHOWN) " more that fail on several hosts." }
        }
    }
}

fn table(look: &Look<'_>, of: &str, hosts: &[Known]) -> Markup {
    let names = ["Host", "State", "Queue", "Build", "Worker", "Failing derivation", "Why"];
    let table = html! {
        table class="rows" {
            caption class="vh" { "Hosts of the " (of) ", those that need a look first" }
            thead {
                tr {
                    @for name in names { th scope="col" { (name) } }
                }
            }
            tbody {
                @for (status, job) in hosts {
                    tr {
                        th scope="row" { a href=(job_path(job)) { (job.host) } }
                        @match status {
                            Some(status) => { (row(look, status)) }
                            None => {
                                td colspan=(names.len() - 1) { (UNKNOWN.sign()) " not read yet" }
                            }
                        }
                    }
                }
            }
        }
    };
    scrolling(&format!("Hosts of the {of}"), &table)
}

fn row(look: &Look<'_>, status: &HostStatus) -> Markup {
    let finished = status.finished();
    html! {
        td class="state" { (badge(status, look.now)) }
        td class="num" data-name="Queue" {
            @if let Some(it) = finished { (times::length(it.queue_ms)) }
        }
        td class="num" data-name="Build" {
            @if let Some(it) = finished { (times::length(it.build_ms)) }
        }
        td data-name="Worker" { @if let Some(worker) = status.worker() { (worker) } }
        td data-name="Fails in" {
            @if let Some(name) = failing(status) { code { (foreign(name)) } }
        }
        td class="why" { @if let Some(failure) = failure(status) { (foreign(&failure.message)) } }
    }
}
