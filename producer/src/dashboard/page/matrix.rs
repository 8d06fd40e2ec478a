//! Hosts against commits: what builds, and since when not.

use std::collections::BTreeSet;

use maud::{Markup, html};
use proto::{Host, JobKey, Repo};

use super::{
    Look, commit_path, foreign,
    host::{Face, UNKNOWN, host_path, words},
    job_path, scrolling, short, times,
};
use crate::dashboard::model::Column;

/// All hosts of the commits that are kept, by name.
pub(crate) fn hosts<'a>(columns: &[&'a Column]) -> BTreeSet<&'a Host> {
    columns.iter().flat_map(|column| column.hosts.keys()).collect()
}

/// Whether the newest answer about a host is anything but "it builds".
pub(crate) fn needs_a_look(look: &Look<'_>, columns: &[&Column], host: &Host) -> bool {
    let newest = columns.iter().find(|column| column.hosts.contains_key(host));
    let status = newest.and_then(|column| look.model.status(&job(column, host), look.now));
    status.is_none_or(|status| !matches!(Face::of(&status).class, "built" | "reused"))
}

fn job(column: &Column, host: &Host) -> JobKey {
    JobKey { repo: column.repo.clone(), revision: column.revision.clone(), host: host.clone() }
}

/// The table. Commits run from new to old, as one reads.
pub(crate) fn table(look: &Look<'_>, repo: &Repo, columns: &[&Column], hosts: &[&Host]) -> Markup {
    let table = html! {
        table class="matrix" {
            caption class="vh" { "Hosts of " (repo) " by commit, the newest first" }
            thead {
                tr {
                    th scope="col" { "Host" }
                    @for column in columns { (head(look, column)) }
                }
            }
            tbody {
                @for host in hosts {
                    tr {
                        th scope="row" { a href=(host_path(repo, host)) title=(host) { (host) } }
                        @for column in columns { (cell(look, column, host)) }
                    }
                }
            }
        }
    };
    scrolling(&format!("Hosts of {repo} by commit"), &table)
}

fn head(look: &Look<'_>, column: &Column) -> Markup {
    html! {
        th scope="col" {
            a href=(commit_path(&column.repo, &column.revision)) { (short(&column.revision)) }
            span class="sub" { (times::ago(column.at, look.now)) }
            @if let Some(git_ref) = &column.git_ref {
                span class="sub ref" { (foreign(branch(git_ref))) }
            }
        }
    }
}

/// A ref as people call it.
pub(crate) fn branch(git_ref: &str) -> &str {
    git_ref.strip_prefix("refs/heads/").unwrap_or(git_ref)
}

fn cell(look: &Look<'_>, column: &Column, host: &Host) -> Markup {
    if !column.hosts.contains_key(host) {
        return html! { td { span class="vh" { "not asked for" } } };
    }
    let job = job(column, host);
    let status = look.model.status(&job, look.now);
    let face = status.as_ref().map_or(UNKNOWN, Face::of);
    let words = status.as_ref().map_or_else(|| "not read yet".to_owned(), words);
    html! {
        td class=(face.class) {
            a href=(job_path(&job)) title={ (host) ": " (words) } {
                (face.sign()) span class="vh" { (words) }
            }
        }
    }
}

/// What the signs mean.
pub(crate) fn legend() -> Markup {
    let signs = [
        ("built", "✓", "built"),
        ("failed", "✗", "the flake fails"),
        ("infra", "!", "undecided"),
        ("cancelled", "–", "cancelled"),
        ("running", "●", "running"),
        ("waiting", "↻", "tried again"),
        ("queued", "○", "queued"),
    ];
    html! {
        p class="legend" {
            @for (class, sign, what) in signs {
                span { (Face { class, sign }.sign()) " " (what) } " "
            }
        }
    }
}
