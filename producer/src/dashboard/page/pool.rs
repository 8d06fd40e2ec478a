//! What runs, what waits and why, and who is alive.

use axum::response::Response;
use bus::LaneState;
use maud::{Markup, html};
use proto::Presence;
use stand::{Around, HostStatus, Stand};

use super::{Look, Place, Shown, foreign, host::badge, job_path, scrolling, section, short, times};
use crate::{
    dashboard::{
        model::InHand,
        shared::{Shared, Shows},
    },
    queue::{ClassView, LaneView, QueueView},
    render::{waits::detail, workers::room},
};

/// Jobs listed; the counts are of all.
const LISTED: usize = 200;

pub(crate) fn page(shared: &Shared) -> Response {
    let shown = Shown::now(shared, Shows::Lines);
    super::page_of(shared, &shown, Place::Pool, "Queue and workers", |look| {
        let around = look.model.around_now(look.now);
        html! {
            h1 { "Queue and workers" }
            (section("running", "Running", &running(look)))
            (section("queue", "Queue", &queue(look, &around)))
            (section("waiting", "Waiting", &waiting(look)))
            (section("workers", "Workers", &workers(look, &around)))
        }
    })
}

/// The builds in workers' hands, each with what it said last.
pub(crate) fn running(look: &Look<'_>) -> Markup {
    let running = look.model.running(look.now);
    if running.is_empty() {
        return html! { p class="quiet" { "Nothing is being built." } };
    }
    let table = html! {
        table class="running" {
            caption class="vh" { "Builds in workers' hands, the oldest first" }
            thead {
                tr {
                    @for name in ["Host", "Commit", "Phase", "Since", "Worker", "Last line"] {
                        th scope="col" { (name) }
                    }
                }
            }
            tbody { @for it in running.iter().take(LISTED) { (in_hand(look, it)) } }
        }
    };
    html! {
        (scrolling("Running builds", &table))
        @if running.len() > LISTED { p { "And " (running.len() - LISTED) " more." } }
    }
}

fn in_hand(look: &Look<'_>, it: &InHand) -> Markup {
    let job = &it.status.job;
    let Stand::Running { running, silent, unwanted } = &it.status.stand else { return html! {} };
    html! {
        tr {
            th scope="row" { a href=(job_path(job)) { (job.host) } }
            td { (job.repo) " " (short(&job.revision)) }
            td {
                (running.phase.name())
                @if let Some(progress) = running.progress.filter(|it| it.expected > 0) {
                    " "
                    progress max=(progress.expected) value=(progress.done)
                        aria-label={ "Derivations of " (job.host) } {}
                    " " span class="num" { (progress.done) "/" (progress.expected) }
                }
            }
            td class="num" { @if let Some(began) = it.began { (times::since(began, look.now)) } }
            td {
                (running.worker)
                @if silent.is_some() { " " strong { "is silent" } }
                @else if *unwanted { ", being cancelled" }
            }
            td class="line" {
                @if let Some(line) = look.model.last_line(job) { code { (foreign(line)) } }
            }
        }
    }
}

/// How much waits for which kind of worker, and since when.
fn queue(look: &Look<'_>, around: &Around) -> Markup {
    let view = QueueView::of(around);
    if view.classes.is_empty() {
        return html! { p class="quiet" { "No class is queued, and no worker serves one." } };
    }
    let table = html! {
        table {
            caption class="vh" { "Queued jobs by class and priority" }
            thead {
                tr {
                    @for name in ["Class", "Priority", "Queued", "Building", "Oldest", "State"] {
                        th scope="col" { (name) }
                    }
                    th scope="col" { "Free slots" }
                }
            }
            tbody {
                @for class in &view.classes { (lanes(look, class)) }
            }
        }
    };
    scrolling("Queue", &table)
}

/// The priorities that have something, or one line that says that none has.
fn lanes(look: &Look<'_>, class: &ClassView) -> Markup {
    let busy = |lane: &&LaneView| lane.queued + lane.building > 0 || lane.state != LaneState::Open;
    let busy: Vec<&LaneView> = class.lanes.iter().filter(busy).collect();
    html! {
        @for lane in &busy { (lane_row(look, class, lane)) }
        @if busy.is_empty() {
            tr {
                th scope="row" { (class.class) }
                td {}
                td class="num" { "0" }
                td class="num" { "0" }
                td {}
                td { @if !class.builders.is_empty() { "handed out" } }
                td class="num" { (class.free()) }
            }
        }
    }
}

fn lane_row(look: &Look<'_>, class: &ClassView, lane: &LaneView) -> Markup {
    html! {
        tr {
            th scope="row" { (class.class) }
            td { (lane.priority) }
            td class="num" { (lane.queued) }
            td class="num" { (lane.building) }
            td {
                @if let Some((job, asked)) = &lane.oldest {
                    a href=(job_path(job)) { (job.host) } " " (times::ago(*asked, look.now))
                }
            }
            td {
                @match lane.state {
                    LaneState::Open if class.builders.is_empty() => { "waits" }
                    LaneState::Open => { "handed out" }
                    LaneState::Paused(_) => { strong { "paused" } }
                    LaneState::Missing => { strong { "not set up" } }
                }
            }
            td class="num" {
                @match class.builders.is_empty() {
                    true => { strong { "no worker" } }
                    false => { (class.free()) }
                }
            }
        }
    }
}

fn waiting(look: &Look<'_>) -> Markup {
    let waiting = look.model.waiting(look.now);
    if waiting.is_empty() {
        return html! { p class="quiet" { "Nothing waits." } };
    }
    let table = html! {
        table {
            caption class="vh" { "Jobs that no worker has, in the order of their turn" }
            thead {
                tr {
                    @for name in ["Host", "Commit", "Class", "State"] { th scope="col" { (name) } }
                }
            }
            tbody { @for status in waiting.iter().take(LISTED) { (waits(look, status)) } }
        }
    };
    html! {
        (scrolling("Waiting jobs", &table))
        @if waiting.len() > LISTED { p { "And " (waiting.len() - LISTED) " more." } }
    }
}

fn waits(look: &Look<'_>, status: &HostStatus) -> Markup {
    let job = &status.job;
    html! {
        tr {
            th scope="row" { a href=(job_path(job)) { (job.host) } }
            td { (job.repo) " " (short(&job.revision)) }
            td { (status.class) }
            td { (badge(status, look.now)) (detail(&status.stand)) }
        }
    }
}

fn workers(look: &Look<'_>, around: &Around) -> Markup {
    let workers = &around.workers;
    if workers.is_empty() {
        return html! {
            p class="quiet" { "No worker is alive. Jobs wait until one is; none is lost." }
        };
    }
    let table = html! {
        table {
            caption class="vh" { "Living workers" }
            thead {
                tr {
                    @for name in ["Worker", "State", "Slots", "Classes", "Repositories", "Builds"] {
                        th scope="col" { (name) }
                    }
                    th scope="col" { "Room" }
                    th scope="col" { "Version" }
                    th scope="col" { "Up" }
                }
            }
            tbody { @for worker in workers { (alive(look, worker)) } }
        }
    };
    scrolling("Workers", &table)
}

fn alive(look: &Look<'_>, worker: &Presence) -> Markup {
    let list = |names: Vec<&str>| names.join(", ");
    html! {
        tr {
            th scope="row" {
                (worker.worker)
                @for (name, value) in &worker.labels {
                    " " span class="label" { (foreign(name)) "=" (foreign(value)) }
                }
            }
            td {
                @match &worker.paused {
                    _ if worker.draining => { "draining: finishes what it has" }
                    Some(why) => { "takes nothing: " (foreign(why)) }
                    None => { "takes jobs" }
                }
            }
            td class="num" { (worker.jobs.len()) "/" (worker.slots) }
            td { (list(worker.classes.iter().map(proto::Class::as_str).collect())) }
            td {
                @if worker.repos.is_empty() { "all" }
                (list(worker.repos.iter().map(proto::Repo::as_str).collect()))
            }
            td {
                @for it in &worker.jobs {
                    a href=(job_path(&it.job)) { (it.job.host) } " " span class="sub" { (it.phase.name()) } " "
                }
            }
            td {
                @for line in worker.room.iter().flat_map(room) {
                    span class="sub line" { (foreign(&line)) }
                }
            }
            td { (foreign(&worker.version)) }
            td { (times::ago(worker.since, look.now)) }
        }
    }
}
