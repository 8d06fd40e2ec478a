//! A job: how it stands and why, its attempts, its phases, its log.

use axum::response::Response;
use maud::{Markup, html};
use options::short as length;
use proto::{
    ClosureDiff, Epoch, Failure, Finished, JobKey, Outcome, Phase, Timestamp, log::short_name,
    time::millis,
};
use stand::{Stand, done};

use super::{
    Look, Place, Shown, commit_path, counted, foreign,
    host::{badge, host_path},
    job_path, log, run_link, scrolling, section, short, times,
};
use crate::{
    dashboard::{
        job::{Asked, FoundJob, Log},
        shared::Shared,
    },
    render::waits::detail,
    story::{Asking, End, Try},
};

/// Lines of a failed build that stand there at once: as many as its box is high.
const TAIL_SHOWN: usize = 15;

pub(crate) fn page(shared: &Shared, shown: &Shown, asked: &Asked, found: &FoundJob) -> Response {
    let job = &asked.job;
    let title = format!("{} of {} at {}", job.host, job.repo, job.revision.short());
    super::page_of(shared, shown, Place::Hosts, &title, |look| {
        let finished = found.finished();
        html! {
            nav aria-label="Above this page" class="above" {
                a href={ "/repo/" (job.repo) } { (job.repo) } " / "
                a href=(commit_path(&job.repo, &job.revision)) { (short(&job.revision)) }
            }
            section id="job" aria-labelledby="job-h" data-live {
                h1 id="job-h" {
                    a href=(host_path(&job.repo, &job.host)) { (job.host) }
                    " " (badge(&found.story.status, look.now)) (detail(&found.story.status.stand))
                }
                @if let Some(failure) = finished.and_then(|it| it.outcome.failure()) {
                    (failing(failure))
                }
                (facts(look, found))
            }
            (section("attempts", "Attempts", &attempts(look, asked, found)))
            (section_log(asked, found))
            @if let Some(diff) = &found.diff { (difference(diff)) }
        }
    })
}

fn failing(failure: &Failure) -> Markup {
    html! {
        div class="failing" role="region" aria-label="What failed" {
            @if let Some(drv) = &failure.drv {
                p { "In " strong { (foreign(short_name(drv))) } }
                p { code class="wrap" { (foreign(drv)) } }
            }
            p class="message" { (foreign(&failure.message)) }
            @if !failure.log_tail.is_empty() { (tail(&failure.log_tail)) }
        }
    }
}

/// The error is at the end: what comes before it must not push it out of sight.
fn tail(lines: &[String]) -> Markup {
    let (before, last) = lines.split_at(lines.len().saturating_sub(TAIL_SHOWN));
    html! {
        @if !before.is_empty() {
            details {
                summary { (counted(before.len(), "line")) " before" }
                div class="log" tabindex="0" role="region" aria-label="Lines before the last ones" {
                    @for line in before { div { (telemetry::plain(line)) } }
                }
            }
        }
        div class="log last" tabindex="0" role="region" aria-label="Its last lines" {
            @for line in last { div { (telemetry::plain(line)) } }
        }
    }
}

fn facts(look: &Look<'_>, found: &FoundJob) -> Markup {
    let (status, wishes) = (&found.story.status, &found.story.wishes);
    let times = found.story.times(look.now);
    let (queued, running, waits) = match &status.stand {
        Stand::Queued(_) => {
            let first = found.story.askings.last().is_none_or(|it| it.attempts.is_empty());
            (first, false, !first)
        }
        Stand::Running { .. } => (false, true, false),
        Stand::Waiting { .. } => (false, false, true),
        Stand::Finished(_) => (false, false, false),
    };
    html! {
        dl class="facts" {
            dt { "Commit" } dd { code class="wrap" { (status.job.revision) } }
            dt { "Class" } dd { (status.class) }
            @if let Some(worker) = status.worker() { dt { "Worker" } dd { (worker) } }
            @match &status.stand {
                Stand::Running { running, .. } => {
                    dt { "Phase" } dd { (running.phase.name()) }
                    @if let Some(progress) = running.progress.filter(|it| it.expected > 0) {
                        dt { "Derivations" }
                        dd {
                            progress max=(progress.expected) value=(progress.done)
                                aria-label="Derivations" {}
                            " " (progress.done) " of " (progress.expected)
                        }
                    }
                }
                Stand::Finished(finished) => { (ended(look, finished)) }
                Stand::Queued(_) | Stand::Waiting { .. } => {}
            }
            dt { "Time" }
            dd {
                (times::so_far(times.queued, queued, look.now)) " queued, "
                (times::so_far(times.building, running, look.now)) " in workers' hands"
                @if !times.between.is_zero() {
                    ", " (times::so_far(times.between, waits, look.now)) " between attempts"
                }
            }
            dt { "Wanted by" }
            dd {
                @match wishes.last_key_value() {
                    None => { "nobody now" }
                    Some((run, wish)) => {
                        (counted(wishes.len(), "run")) ", the newest " (run_link(*run))
                        " with " (wish.priority) " priority, " (times::ago(wish.at, look.now))
                    }
                }
            }
            @if let Some(newer) = found.story.superseded_by {
                dt { "Superseded by" } dd { "run " (run_link(newer)) }
            }
            @if let Some(worker) = &found.story.avoid_worker {
                dt { "Left out" } dd { (worker) ", for a second opinion" }
            }
        }
    }
}

fn ended(look: &Look<'_>, finished: &Finished) -> Markup {
    html! {
        dt { "Ended" } dd { (times::ago(finished.at, look.now)) }
        @if let Outcome::Built(built) = &finished.outcome {
            dt { "Closure" }
            dd { code class="wrap" { (foreign(&built.out_path)) } " " (built.closure_bytes >> 20) " MiB" }
            dt { "Derivation" } dd { code class="wrap" { (foreign(&built.drv_path)) } }
            @if let Some(work) = built.work.filter(|_| built.is_real()) {
                dt { "Done" } dd { (done(work)) }
            }
        }
    }
}

fn attempts(look: &Look<'_>, asked: &Asked, found: &FoundJob) -> Markup {
    let askings = &found.story.askings;
    if askings.iter().all(|asking| asking.attempts.is_empty()) {
        return html! { p class="quiet" { "No worker has taken it." } };
    }
    let table = html! {
        table {
            caption class="vh" { "Claims of this job by workers, the newest asking first" }
            thead {
                tr {
                    @for name in ["Attempt", "Worker", "Began", "Took", "Phases", "Ended as", "Log"] {
                        th scope="col" { (name) }
                    }
                }
            }
            tbody {
                @for asking in askings.iter().rev() {
                    @for attempt in asking.attempts.iter().rev() {
                        (row(look, asked, found, attempt))
                    }
                }
            }
        }
    };
    html! {
        (scrolling("Attempts", &table))
        @for dead in askings.iter().rev().filter_map(dead) {
            p class="notice bad" { "It went to the dead letters: " (foreign(dead)) }
        }
        (key())
    }
}

fn dead(asking: &Asking) -> Option<&str> {
    asking.dead.as_deref()
}

fn row(look: &Look<'_>, asked: &Asked, found: &FoundJob, attempt: &Try) -> Markup {
    let (path, epoch) = (job_path(&asked.job), attempt.epoch);
    html! {
        tr {
            th scope="row" { (epoch) }
            td { (attempt.worker) }
            td { (times::ago(attempt.began, look.now)) }
            td class="num" {
                @match attempt.end {
                    End::Running => { (times::since(attempt.began, look.now)) }
                    _ if attempt.ended.is_some() => { (length(attempt.lasted(look.now))) }
                    _ => { "" }
                }
            }
            td { (phases(&spans(found, attempt, look.now))) }
            td {
                (foreign(attempt.end.name()))
                @if let End::Infra { message, .. } = &attempt.end { ": " (foreign(message)) }
            }
            td {
                @if found.kept.contains(&epoch) {
                    a href={ (path) "?attempt=" (epoch) "#log" } {
                        "log" span class="vh" { " of attempt " (epoch) }
                    }
                }
            }
        }
    }
}

/// How long each phase took: of the one that finished the job as its worker measured it, of others
/// as their events tell.
fn spans(found: &FoundJob, attempt: &Try, now: Timestamp) -> Vec<(Phase, u64)> {
    if let (End::Finished(_), Some(finished)) = (&attempt.end, found.finished())
        && attempt.ended == Some(finished.at)
        && !finished.phases.is_empty()
    {
        return finished.phases.iter().map(|it| (it.phase, it.ms)).collect();
    }
    let until = match attempt.end {
        End::Running => now,
        _ => attempt.ended.unwrap_or(attempt.began),
    };
    let ends = attempt.phases.iter().skip(1).map(|(_, at)| *at).chain([until]);
    let spans = attempt.phases.iter().zip(ends);
    spans.map(|((phase, at), end)| (*phase, millis(end.since(*at)))).collect()
}

/// A bar whose parts are as long as the phases, and the same in words.
fn phases(spans: &[(Phase, u64)]) -> Markup {
    if spans.is_empty() {
        return html! {};
    }
    let all = spans.iter().map(|(_, ms)| ms).sum::<u64>().max(1);
    let mut from = 0;
    let parts = spans.iter().map(|(phase, ms)| {
        let at = from;
        from += ms;
        (phase.name(), at * 1000 / all, ms * 1000 / all)
    });
    let parts: Vec<_> = parts.collect();
    let words = spans.iter().map(|(phase, ms)| format!("{} {}", phase.name(), times::length(*ms)));
    let words = words.collect::<Vec<_>>().join(", ");
    html! {
        svg class="phases" viewBox="0 0 1000 24" preserveAspectRatio="none" aria-hidden="true" {
            @for (name, at, width) in &parts {
                rect class={ "phase " (name) } x=(at) y="0" width=(width) height="24" {}
            }
        }
        span class="sub" { (words) }
    }
}

/// Which colour is which phase.
fn key() -> Markup {
    let all =
        [Phase::Claimed, Phase::Fetch, Phase::Evaluate, Phase::Build, Phase::Push, Phase::Root];
    html! {
        p class="legend" {
            @for phase in all {
                span { span class={ "swatch " (phase.name()) } aria-hidden="true" {} (phase.name()) } " "
            }
        }
    }
}

fn section_log(asked: &Asked, found: &FoundJob) -> Markup {
    let path = job_path(&asked.job);
    let Some((epoch, shown)) = &found.log else {
        return section("log", "Log", &html! { p class="quiet" { "No log is kept." } });
    };
    let whole = format!("{path}/log.txt?attempt={epoch}");
    let (from, follows) = match shown {
        Log::End(end) => (format!("{}.{}", end.from.0, end.from.1), !end.ended),
        Log::Found(_) => (String::new(), false),
    };
    html! {
        section id="log" aria-labelledby="log-h" data-epoch=(epoch) data-from=(from)
            data-job=[follows.then(|| asked.job.to_string())] {
            h2 id="log-h" { "Log of attempt " (epoch) }
            form class="find" role="search" action={ (path) "#log" } {
                input type="hidden" name="attempt" value=(epoch);
                label for="find" { "Lines that hold" }
                input id="find" name="find" type="search" value=(telemetry::plain(&asked.find));
                button { "Find" }
                @if !asked.find.is_empty() { a href={ (path) "?attempt=" (epoch) "#log" } { "Show the end" } }
            }
            @match shown {
                Log::End(end) => { (log::end(end, &whole)) }
                Log::Found(lines) => {
                    (log::found(lines, &asked.find, &whole, &command(&asked.job, &found.kept, *epoch)))
                }
            }
            @if follows {
                p class="follow" hidden {
                    label { input type="checkbox" id="follow" checked; " Keep the newest line in sight" }
                }
            }
        }
    }
}

/// What prints the whole log of an attempt in a terminal, where attempts are counted among those
/// that have one.
fn command(job: &JobKey, kept: &[Epoch], epoch: Epoch) -> String {
    match kept.iter().position(|it| *it == epoch) {
        Some(at) if at + 1 < kept.len() => format!("producer logs {job} --attempt {}", at + 1),
        _ => format!("producer logs {job}"),
    }
}

fn difference(diff: &ClosureDiff) -> Markup {
    let mib = diff.bytes / (1 << 20);
    html! {
        section aria-labelledby="diff-h" {
            h2 id="diff-h" { "What changed since the last good build" }
            p {
                "Against " (short(&diff.from)) ": "
                @if mib > 0 { "+" } (mib) " MiB in all."
            }
            div class="log" tabindex="0" role="region" aria-label="Packages that differ" {
                @for line in &diff.lines { div { (telemetry::plain(line)) } }
            }
            @if diff.lines_cut > 0 { p { "And " (diff.lines_cut) " lines more." } }
        }
    }
}

#[cfg(test)]
mod tests {
    use stand::examples::job;

    use super::*;

    #[test]
    fn the_command_prints_the_log_that_is_shown() {
        let check = |kept: &[u64], epoch, attempt: &str| {
            let kept: Vec<Epoch> = kept.iter().copied().map(Epoch).collect();
            let expected = format!("producer logs {}{attempt}", job("web"));
            assert_eq!(command(&job("web"), &kept, Epoch(epoch)), expected);
        };
        check(&[2], 2, "");
        check(&[2, 5, 7], 7, "");
        check(&[2, 5, 7], 5, " --attempt 2");
        // It runs, and has said nothing yet.
        check(&[2], 3, "");
    }
}
