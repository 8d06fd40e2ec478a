//! All hosts of one commit, with why they stand as they do.

use axum::response::Response;
use maud::{Markup, html};
use proto::{Host, JobKey, Repo, Revision, Tally};

use super::{
    Look, Place, foreign,
    host::{UNKNOWN, badge},
    job_path, matrix, scrolling, section, times,
};
use crate::{
    dashboard::{model::Column, shared::Shared},
    render::text::totals,
    view::HostStatus,
};

/// Hosts in the table, those that need a look first.
const HOSTS_SHOWN: usize = 500;

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
    let mut hosts: Vec<_> = column.hosts.keys().map(status).collect();
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
    hosts.truncate(HOSTS_SHOWN);
    html! {
        p {
            code class="wrap" { (column.revision) }
            @if let Some(git_ref) = &column.git_ref { " on " (foreign(matrix::branch(git_ref))) }
            ", asked for " (times::ago(column.at, look.now)) "."
        }
        (section("hosts", totals(&tally).as_str(), &table(&hosts)))
        @if more > 0 { p { "And " (more) " more." } }
    }
}

fn table(hosts: &[(Option<HostStatus>, JobKey)]) -> Markup {
    let table = html! {
        table {
            caption class="vh" { "Hosts of the commit, those that need a look first" }
            thead {
                tr {
                    @for name in ["Host", "State", "Queue", "Build", "Worker", "Why"] {
                        th scope="col" { (name) }
                    }
                }
            }
            tbody {
                @for (status, job) in hosts {
                    tr {
                        th scope="row" { a href=(job_path(job)) { (job.host) } }
                        @match status {
                            Some(status) => { (row(status)) }
                            None => { td colspan="5" { (UNKNOWN.sign()) " not read yet" } }
                        }
                    }
                }
            }
        }
    };
    scrolling("Hosts of the commit", &table)
}

fn row(status: &HostStatus) -> Markup {
    let finished = status.finished();
    let failure = finished.and_then(|finished| finished.outcome.failure());
    html! {
        td { (badge(status)) }
        td class="num" { @if let Some(it) = finished { (times::length(it.queue_ms)) } }
        td class="num" { @if let Some(it) = finished { (times::length(it.build_ms)) } }
        td { @if let Some(worker) = status.worker() { (worker) } }
        td class="why" { @if let Some(failure) = failure { (foreign(&failure.message)) } }
    }
}
