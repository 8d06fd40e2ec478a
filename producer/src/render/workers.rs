//! `producer workers`, for people and for programs. Pure.

use std::collections::BTreeMap;

use options::{Cell, Page, Tone, head, short};
use proto::{
    Class, Instance, Repo, Timestamp, WorkerName,
    worker::{PlaceRoom, PresentJob, Room},
};
use serde::Serialize;
use telemetry::plain;

use super::json;
use crate::{queue::Taking, workers::WorkerView};

#[derive(Serialize)]
struct Object<'a> {
    at: Timestamp,
    workers: Vec<WorkerObject<'a>>,
}

#[derive(Serialize)]
struct WorkerObject<'a> {
    worker: &'a WorkerName,
    instance: &'a Instance,
    version: &'a str,
    state: &'static str,
    reason: Option<&'a str>,
    classes: &'a [Class],
    repos: &'a [Repo],
    labels: &'a BTreeMap<String, String>,
    slots: usize,
    jobs: &'a [PresentJob],
    room: Option<&'a Room>,
    started_at: Timestamp,
    seen_at: Timestamp,
}

/// All workers as one object, on one line.
pub(crate) fn json(workers: &[WorkerView], at: Timestamp) -> String {
    json::line(&Object { at, workers: workers.iter().map(worker).collect() })
}

fn worker(view: &WorkerView) -> WorkerObject<'_> {
    let it = &view.presence;
    WorkerObject {
        worker: &it.worker,
        instance: &it.instance,
        version: &it.version,
        state: view.state(),
        reason: it.paused.as_deref(),
        classes: &it.classes,
        repos: &it.repos,
        labels: &it.labels,
        slots: it.slots,
        jobs: &it.jobs,
        room: it.room.as_ref(),
        started_at: it.since,
        seen_at: view.seen,
    }
}

/// A line a worker, and what it has in its slots and how much room below.
pub(crate) fn text(workers: &[WorkerView], page: &Page) -> String {
    if workers.is_empty() {
        return "no worker is there\n".into();
    }
    let names = ["WORKER", "STATE", "BUSY", "SLOTS", "CLASSES", "VERSION", "UP", "SEEN"];
    let mut rows = vec![head(names)];
    rows.extend(workers.iter().map(|view| row(view, page)));
    let mut text = page.table(&rows, &["VERSION", "UP", "CLASSES", "SEEN"]);
    for view in workers {
        let lines = details(view, page);
        if !lines.is_empty() {
            text.push_str(&format!("\n{}\n", view.presence.worker));
            let lines = lines.iter().map(|line| page.cut(&format!("  {line}")) + "\n");
            text.extend(lines);
        }
    }
    text
}

fn row(view: &WorkerView, page: &Page) -> [Cell; 8] {
    let it = &view.presence;
    let tone = match view.taking() {
        Taking::Jobs => Tone::Good,
        Taking::Paused(_) | Taking::Draining => Tone::Odd,
    };
    let classes: Vec<&str> = it.classes.iter().map(Class::as_str).collect();
    [
        it.worker.as_str().into(),
        Cell::toned(view.state(), tone),
        it.jobs.len().to_string().into(),
        it.slots.to_string().into(),
        classes.join(" ").into(),
        plain(&it.version).as_ref().into(),
        short(page.now.since(it.since)).into(),
        page.ago(view.seen).into(),
    ]
}

fn details(view: &WorkerView, page: &Page) -> Vec<String> {
    let it = &view.presence;
    let paused = it.paused.as_ref().map(|why| format!("takes nothing now: {}", plain(why)));
    let mut lines: Vec<String> = paused.into_iter().collect();
    lines.extend(it.jobs.iter().map(|job| present(job, page)));
    lines.extend(it.room.iter().flat_map(room));
    lines.extend(words("repos", it.repos.iter().map(Repo::to_string)));
    let labels = it.labels.iter().map(|(key, value)| format!("{}={}", plain(key), plain(value)));
    lines.extend(words("labels", labels));
    lines
}

/// `web01 of homelab at 0123456789ab: build 3/40 for 2m 3s`
fn present(it: &PresentJob, page: &Page) -> String {
    let PresentJob { job, phase, since, progress } = it;
    let (host, repo, rev) = (&job.host, &job.repo, job.revision.short());
    let progress = progress.map(|it| format!(" {}/{}", it.done, it.expected)).unwrap_or_default();
    let since = since.map(|at| format!(" for {}", short(page.now.since(at)))).unwrap_or_default();
    format!("{host} of {repo} at {rev}: {}{progress}{since}", phase.name())
}

/// What is left of its computer, a line for each kind.
pub(crate) fn room(room: &Room) -> Vec<String> {
    let gib = |bytes: u64| format!("{}.{} GiB", bytes >> 30, ((bytes % (1 << 30)) * 10) >> 30);
    let place = |it: &PlaceRoom| {
        let inodes = it.inodes_free.map(|free| format!(", {free} inodes free")).unwrap_or_default();
        let (name, free, min) = (plain(&it.name), gib(it.bytes_free), gib(it.bytes_free_min));
        format!("{name}: {free} free, wanted are {min}{inodes}")
    };
    let max = room.memory_pressure_max;
    let pressure = room.memory_pressure;
    let pressure = pressure.map(|it| format!("memory pressure: {it} %, allowed are {max} %"));
    room.places.iter().map(place).chain(pressure).collect()
}

fn words(what: &str, of: impl Iterator<Item = String>) -> Option<String> {
    let of: Vec<String> = of.collect();
    (!of.is_empty()).then(|| format!("{what}: {}", of.join(", ")))
}

#[cfg(test)]
mod tests {
    use proto::{Phase, Presence};
    use serde_json::{Value, json};
    use stand::examples::{REV, STORED, job, presence};

    use super::*;
    use crate::render::tests::{fits, page};

    fn view() -> WorkerView {
        let progress = Some(proto::record::Progress { done: 3, expected: 40 });
        let building =
            PresentJob { job: job("web"), phase: Phase::Build, since: Some(STORED), progress };
        let place = PlaceRoom {
            name: "the store".into(),
            bytes_free: 3 << 29,
            bytes_free_min: 10 << 30,
            inodes_free: Some(7),
            inodes_free_min: 5,
        };
        let (memory_pressure, memory_pressure_max) = (Some(3), 60);
        let room = Some(Room { places: vec![place], memory_pressure, memory_pressure_max });
        let labels = BTreeMap::from([("ro\u{1b}[1mle".into(), "x\u{7}".into())]);
        let paused = Some("disk\u{1b}]0;x\u{7} is full".into());
        let jobs = vec![building];
        let presence = Presence { jobs, room, labels, paused, ..presence("x86_64-linux") };
        WorkerView { presence, seen: STORED }
    }

    #[test]
    fn slots_room_and_labels_are_shown_without_what_a_terminal_obeys() {
        let expected = "\
WORKER  STATE   BUSY  SLOTS  CLASSES       VERSION  UP     SEEN
w1      paused  1     2      x86_64-linux  0        30.0s  30 s ago

w1
  takes nothing now: disk is full
  web of nixos-servers at 0123456789ab: build 3/40 for 30.0s
  the store: 1.5 GiB free, wanted are 10.0 GiB, 7 inodes free
  memory pressure: 3 %, allowed are 60 %
  repos: nixos-servers
  labels: role=x
";
        assert_eq!(text(&[view()], &page(None)), expected);
        fits("WORKER", |page| text(&[view()], page));
        assert_eq!(text(&[], &page(None)), "no worker is there\n");
    }

    #[test]
    fn the_object_has_the_shape_that_scripts_rely_on() {
        let shown: Value =
            serde_json::from_str(&super::json(&[view()], STORED)).expect("one object");
        let place = json!({"name": "the store", "bytes_free": 3u64 << 29,
            "bytes_free_min": 10u64 << 30, "inodes_free": 7, "inodes_free_min": 5});
        let expected = json!({"at": STORED, "workers": [{
            "worker": "w1", "instance": "00000000-0000-0000-0000-000000000000", "version": "0",
            "state": "paused", "reason": "disk\u{1b}]0;x\u{7} is full",
            "classes": ["x86_64-linux"], "repos": ["nixos-servers"],
            "labels": {"ro\u{1b}[1mle": "x\u{7}"}, "slots": 2,
            "jobs": [{"job": format!("nixos-servers.{REV}.web"), "phase": "build",
                      "since": STORED, "progress": {"done": 3, "expected": 40}}],
            "room": {"places": [place], "memory_pressure": 3, "memory_pressure_max": 60},
            "started_at": STORED, "seen_at": STORED,
        }]});
        assert_eq!(shown, expected);
        let mut shown = shown;
        shown["workers"][0]["labels"] = Value::Null;
        options::check_documented("workers", &shown);
    }
}
