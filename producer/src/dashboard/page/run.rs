//! A run: what was asked for, by whom, and how each of its hosts stands now.

use axum::response::Response;
use maud::{Markup, html};
use proto::RunRecord;

use super::{
    Look, Place, Shown,
    commit::{self, Known},
    commit_path, counted, foreign, matrix, short, times,
};
use crate::dashboard::{run::FoundRun, shared::Shared};

pub(crate) fn page(shared: &Shared, shown: &Shown, found: &FoundRun) -> Response {
    let run = &found.run;
    let title = format!("Run of {} at {}", run.repo, run.revision.short());
    super::page_of(shared, shown, Place::Hosts, &title, |look| {
        let around = stand::Look { around: look.model.around(), now: look.now };
        let looked_at = run.jobs().filter(|(job, _)| found.looks_at(job, look.model));
        let known = |(job, _)| (found.status(&job, look.model, around), job);
        let hosts: Vec<Known> = looked_at.map(known).collect();
        let others = run.hosts.len() - hosts.len();
        html! {
            nav aria-label="Above this page" class="above" {
                a href={ "/repo/" (run.repo) } { (run.repo) } " / "
                a href=(commit_path(&run.repo, &run.revision)) { (short(&run.revision)) }
            }
            section id="run" aria-labelledby="run-h" data-live {
                h1 id="run-h" { "Run of " (run.repo) " at " (short(&run.revision)) }
                (facts(look, run))
                @if others > 0 {
                    p {
                        "Not looked at here: " (counted(others, "more host")) " of this run. "
                        code { "producer status " (run.run) } " shows all."
                    }
                }
            }
            (commit::hosts(look, "run", hosts))
        }
    })
}

fn facts(look: &Look<'_>, run: &RunRecord) -> Markup {
    html! {
        dl class="facts" {
            dt { "Run" } dd { code class="wrap" { (run.run) } }
            dt { "Asked" } dd { (times::ago(run.at, look.now)) " by " code class="wrap" { (run.by) } }
            dt { "Commit" }
            dd {
                code class="wrap" { (run.revision) }
                @if let Some(git_ref) = &run.git_ref { " on " (foreign(matrix::branch(git_ref))) }
            }
            @for (input, by) in run.overrides.iter() {
                dt { "Input " (input) }
                dd { "replaced by " (by.repo) " at " code class="wrap" { (by.revision) } }
            }
            dt { "Priority" } dd { (run.priority) }
            @if run.force { dt { "Forced" } dd { "built again, whatever was known" } }
            @if !run.excluded.is_empty() {
                dt { "Left out" }
                dd {
                    @for (at, host) in run.excluded.iter().enumerate() {
                        @if at > 0 { ", " }
                        (host)
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proto::{Identity, Overrides, Priority, RunId, Timestamp, V1};
    use stand::examples::job;

    use super::*;
    use crate::dashboard::model::Model;

    #[test]
    fn it_says_who_asked_for_what_and_foreign_text_does_nothing() {
        let web = job("web");
        let by = r#"{ "nixpkgs": { "repo": "other", "revision": "0123456789abcdef0123456789abcdef01234567" } }"#;
        let overrides: Overrides = serde_json::from_str(by).expect("overrides");
        let run = RunRecord {
            v: V1,
            run: RunId(uuid::Uuid::nil()),
            by: Identity::local(),
            at: Timestamp(0),
            repo: web.repo.clone(),
            revision: web.revision.with(&overrides),
            git_ref: Some("refs/heads/</dd><script>x</script>\u{202e}".into()),
            overrides,
            hosts: [].into(),
            excluded: vec!["pi1".parse().expect("a host"), "pi2".parse().expect("a host")],
            priority: Priority::High,
            force: true,
            trace: None,
        };
        let model = Model::default();
        let shown = facts(&Look { model: &model, now: Timestamp(60_000) }, &run).into_string();
        for part in [
            "1 min ago</time> by <code class=\"wrap\">local</code>",
            &format!("{}</code> on ", run.revision),
            "<bdi>&lt;/dd&gt;&lt;script&gt;x&lt;/script&gt;</bdi>",
            "<dt>Input nixpkgs</dt><dd>replaced by other at ",
            "<dt>Priority</dt><dd>high</dd>",
            "<dt>Forced</dt>",
            "<dt>Left out</dt><dd>pi1, pi2</dd>",
        ] {
            assert!(shown.contains(part), "{part} is not in {shown}");
        }
    }
}
