//! One gate run: what it tries, how far it is, and how each host stands.

use axum::response::Response;
use maud::{Markup, html};
use proto::{
    Finished,
    gate::{Doubt, GateRun, HostResult, HostStanding, Required, Stage, Why},
    log::short_name,
};
use stand::HostStatus;

use super::{
    Look, Place, Shown, commit_path, foreign,
    gates::badge,
    host::{self, Face},
    job_path, run_link, scrolling, section, short, times,
};
use crate::{
    dashboard::{
        gates::{GateLine, asked, source, tested, trial},
        shared::Shared,
    },
    render::waits::detail,
};

/// One run, as its record has it.
pub(crate) fn page(shared: &Shared, shown: &Shown, key: &str, run: &GateRun) -> Response {
    let line = GateLine::of(key, run);
    let title = format!("Gate run of {}", run.repo);
    super::page_of(shared, shown, Place::Gates, &title, |look| {
        html! {
            h1 { "Gate run of " (run.repo) " " (foreign(&run.base)) }
            section id="run" aria-label="The run" data-live {
                p { (badge(&line)) }
                (facts(look, run, &line))
                @if let Some(why) = why(run) { p class="notice bad" { (foreign(&why)) } }
            }
            (section("hosts", "Hosts", &hosts(look, run)))
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
            @for (of, asked) in asked(run) {
                dt { "Run of " (of) } dd { (run_link(asked)) }
            }
            dt { "Round" } dd { (run.rounds) }
            @if let Some(pull) = line.pull { dt { "Pull request" } dd { (pull) } }
        }
    }
}

/// Why it was not landed, where the hosts do not say it.
fn why(run: &GateRun) -> Option<String> {
    use proto::gate::End;
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

/// One host of a run.
struct Row<'a> {
    label: &'a str,
    required: &'a Required,
    /// What the gate made of it, once it did.
    result: Option<&'a HostResult>,
    /// How its job stands until then; none: not read yet.
    status: Option<HostStatus>,
    /// It failed before, which is not believed yet.
    doubt: Option<&'a Doubt>,
}

impl<'a> Row<'a> {
    fn of(
        look: &Look<'_>,
        stage: &'a Stage,
        (label, required): (&'a String, &'a Required),
    ) -> Self {
        let result = tested(stage).and_then(|tested| tested.results.get(label));
        let doubt = match stage {
            Stage::Confirm(doubted) => doubted.doubts.get(label),
            _ => None,
        };
        let status = match result {
            Some(_) => None,
            None => look.model.status(&required.job, look.now),
        };
        Self { label, required, result, status, doubt }
    }

    fn finished(&self) -> Option<&Finished> {
        self.status.as_ref().and_then(HostStatus::finished)
    }

    fn standing(&self) -> HostStanding {
        let so_far = || self.finished().map(|finished| finished.outcome.standing().into());
        let standing = self.result.map(|result| result.standing).or_else(so_far);
        standing.unwrap_or(HostStanding::Missing)
    }

    fn build_ms(&self) -> u64 {
        let so_far = || self.finished().map(|finished| finished.build_ms);
        self.result.map(|result| result.build_ms).or_else(so_far).unwrap_or(0)
    }

    /// The derivation that failed, and what was said of it.
    fn failure(&self) -> (Option<&str>, Option<&str>) {
        if let Some(result) = self.result {
            return (result.leaf.as_deref(), result.message.as_deref());
        }
        let failure = self.finished().and_then(|finished| finished.outcome.failure());
        failure.map_or((None, None), |it| (it.drv.as_deref(), Some(it.message.as_str())))
    }
}

fn hosts(look: &Look<'_>, run: &GateRun) -> Markup {
    let Some(trial) = trial(&run.stage) else {
        return html! { p class="quiet" { "The hosts are not listed." } };
    };
    let mut rows: Vec<Row<'_>> =
        trial.required.iter().map(|host| Row::of(look, &run.stage, host)).collect();
    rows.sort_by_key(|row| match row.standing() {
        HostStanding::Failed => 0,
        HostStanding::Missing | HostStanding::Undecided => 1,
        HostStanding::Built => 2,
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
            tbody { @for row in &rows { (host_row(look, row)) } }
        }
    };
    html! {
        (scrolling("Hosts of the gate run", &table))
        @if !trial.excluded.is_empty() {
            p { "Left out by the gate's config: " (foreign(&trial.excluded.join(", "))) }
        }
    }
}

fn host_row(look: &Look<'_>, row: &Row<'_>) -> Markup {
    let (drv, message) = row.failure();
    html! {
        tr {
            th scope="row" { a href=(job_path(&row.required.job)) { (foreign(row.label)) } }
            td {
                (standing(look, row))
                @if row.required.advisory { " " span class="label" { "does not decide" } }
            }
            td class="num" { @if row.build_ms() > 0 { (times::length(row.build_ms())) } }
            td { @if let Some(drv) = drv { code { (foreign(short_name(drv))) } } }
            td class="why" { @if let Some(message) = message { (foreign(message)) } }
        }
    }
}

fn standing(look: &Look<'_>, row: &Row<'_>) -> Markup {
    let open = Face { class: "queued", sign: "○" };
    let Some(result) = row.result else {
        return html! {
            @match &row.status {
                Some(status) => { (host::badge(status, look.now)) (detail(&status.stand)) }
                None => { span class="badge queued" { (open.sign()) " not read yet" } }
            }
            @if let Some(doubt) = row.doubt {
                " " span class="label" { "failed once, on " (doubt.worker) }
            }
        };
    };
    let face = match result.standing {
        HostStanding::Built => Face { class: "built", sign: "✓" },
        HostStanding::Failed => Face { class: "failed", sign: "✗" },
        HostStanding::Undecided => Face { class: "infra", sign: "!" },
        HostStanding::Missing => open,
    };
    html! {
        span class={ "badge " (face.class) } { (face.sign()) " " (foreign(&result.outcome)) }
        @if result.pre_existing { " " span class="label" { "fails at the base too" } }
        @if result.flaky { " " span class="label" { "flaky" } }
    }
}
