//! `producer queue`, for people and for programs. Pure.

use std::collections::BTreeMap;

use bus::{LaneState, UNTIL_RESUMED};
use options::{Cell, Page, Tone, head, short};
use proto::{Class, JobKey, Priority, Repo, Timestamp, WorkerName, time::millis};
use serde::Serialize;
use telemetry::plain;

use super::json;
use crate::queue::{Builder, ClassView, LaneView, QueueView, Taking};

#[derive(Serialize)]
struct Object<'a> {
    at: Timestamp,
    classes: Vec<ClassObject<'a>>,
}

#[derive(Serialize)]
struct ClassObject<'a> {
    class: &'a Class,
    queued: usize,
    building: usize,
    free_slots: usize,
    lanes: Vec<LaneObject<'a>>,
    workers: Vec<WorkerObject<'a>>,
    /// Queued jobs of repos that no worker of the class has.
    unserved: &'a BTreeMap<Repo, usize>,
}

#[derive(Serialize)]
struct LaneObject<'a> {
    priority: Priority,
    state: &'static str,
    paused_ms: Option<u64>,
    queued: usize,
    building: usize,
    oldest: Option<Oldest<'a>>,
}

#[derive(Serialize)]
struct Oldest<'a> {
    job: &'a JobKey,
    asked_at: Timestamp,
}

#[derive(Serialize)]
struct WorkerObject<'a> {
    worker: &'a WorkerName,
    slots: usize,
    busy: usize,
    free: usize,
    state: &'static str,
    reason: Option<&'a str>,
}

/// The queue as one object, on one line.
pub(crate) fn json(view: &QueueView, at: Timestamp) -> String {
    let classes = view.classes.iter().map(|it| ClassObject {
        class: &it.class,
        queued: it.queued(),
        building: it.building(),
        free_slots: it.free(),
        lanes: it.lanes.iter().map(lane).collect(),
        workers: it.builders.iter().map(worker).collect(),
        unserved: &it.nobody_has,
    });
    json::line(&Object { at, classes: classes.collect() })
}

fn lane(lane: &LaneView) -> LaneObject<'_> {
    let (state, paused_ms) = match lane.state {
        LaneState::Open => ("open", None),
        LaneState::Paused(left) => ("paused", Some(millis(left))),
        LaneState::Missing => ("missing", None),
    };
    let oldest = lane.oldest.as_ref().map(|(job, at)| Oldest { job, asked_at: *at });
    let LaneView { priority, queued, building, .. } = *lane;
    LaneObject { priority, state, paused_ms, queued, building, oldest }
}

fn worker(builder: &Builder) -> WorkerObject<'_> {
    let (state, reason) = match &builder.taking {
        Taking::Jobs => ("ready", None),
        Taking::Paused(why) => ("paused", Some(why.as_str())),
        Taking::Draining => ("draining", None),
    };
    let Builder { worker, slots, busy, .. } = builder;
    WorkerObject { worker, slots: *slots, busy: *busy, free: builder.free(), state, reason }
}

/// A line for each class and priority that has something, and who could build it below.
pub(crate) fn text(view: &QueueView, page: &Page) -> String {
    let mut rows = vec![head(["CLASS", "PRIORITY", "QUEUED", "BUILDING", "OLDEST", "STATE"])];
    for class in &view.classes {
        let shown = class.lanes.iter().filter(|it| it.queued + it.building > 0);
        let before = rows.len();
        rows.extend(shown.map(|lane| row(&class.class, lane, page)));
        if rows.len() == before {
            rows.push(empty(class));
        }
    }
    let mut text = page.table(&rows, &["BUILDING", "OLDEST", "STATE"]);
    for class in &view.classes {
        text.push_str(&format!("\n{}", builders(class, page)));
    }
    text
}

fn row(class: &Class, lane: &LaneView, page: &Page) -> [Cell; 6] {
    let oldest = lane.oldest.as_ref().map(|(job, at)| format!("{} ({})", page.ago(*at), job.host));
    [
        class.as_str().into(),
        lane.priority.as_str().into(),
        lane.queued.to_string().into(),
        lane.building.to_string().into(),
        Cell::or_dash(oldest),
        state(lane.state),
    ]
}

/// Of a class without jobs, whatever its lanes agree on.
fn empty(class: &ClassView) -> [Cell; 6] {
    let told = class.lanes.iter().map(|lane| lane.state).find(|it| *it != LaneState::Open);
    let none = || Cell::or_dash(None::<String>);
    let state = state(told.unwrap_or(LaneState::Open));
    [class.class.as_str().into(), none(), "0".into(), "0".into(), none(), state]
}

fn state(state: LaneState) -> Cell {
    match state {
        LaneState::Open => "open".into(),
        // Ten years less some days are no date that anybody set.
        LaneState::Paused(left) if left > UNTIL_RESUMED / 2 => {
            Cell::toned("paused until resumed", Tone::Odd)
        }
        LaneState::Paused(left) => Cell::toned(format!("paused for {}", short(left)), Tone::Odd),
        LaneState::Missing => Cell::toned("not set up", Tone::Bad),
    }
}

fn builders(class: &ClassView, page: &Page) -> String {
    let name = &class.class;
    if class.builders.is_empty() {
        let waiting = class.queued() > 0;
        let tone = if waiting { Tone::Bad } else { Tone::Faint };
        return format!("{name}: {}\n", page.paint("no worker", tone));
    }
    let (n, free) = (class.builders.len(), class.free());
    let plural = |n: usize| if n == 1 { "" } else { "s" };
    let mut text = format!("{name}: {n} worker{}, {free} free slot{}\n", plural(n), plural(free));
    for it in &class.builders {
        let taking = match &it.taking {
            Taking::Jobs => String::new(),
            Taking::Paused(why) => format!(", takes nothing now: {}", plain(why)),
            Taking::Draining => ", draining".into(),
        };
        let line = format!("  {}: {} of {} slots busy{taking}", it.worker, it.busy, it.slots);
        text.push_str(&(page.cut(&line) + "\n"));
    }
    for (repo, n) in &class.nobody_has {
        let wait = if *n == 1 { "waits" } else { "wait" };
        let line = format!("  no worker has repo {repo}: {n} job{} {wait}", plural(*n));
        text.push_str(&(page.paint(&line, Tone::Bad) + "\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};
    use stand::examples::{REV, class, job, worker};

    use super::*;
    use crate::render::tests::{fits, page};

    fn lane(priority: Priority, state: LaneState) -> LaneView {
        LaneView { priority, state, queued: 0, building: 0, oldest: None }
    }

    fn view() -> QueueView {
        let oldest = Some((job("web"), Timestamp(850_000)));
        let normal = lane(Priority::Normal, LaneState::Paused(Duration::from_secs(300)));
        let normal = LaneView { queued: 12, building: 1, oldest, ..normal };
        let paused = Taking::Paused("disk\u{1b}[2J is full".into());
        let builder = |taking, name: &str| Builder {
            worker: name.parse().expect("a worker"),
            slots: 2,
            busy: 1,
            taking,
        };
        let served = ClassView {
            class: class("x86_64-linux"),
            lanes: vec![lane(Priority::High, LaneState::Open), normal],
            builders: vec![builder(Taking::Jobs, "w1"), builder(paused, "w2")],
            nobody_has: [("other".parse().expect("a repo"), 3)].into(),
        };
        let lanes = vec![lane(Priority::Normal, LaneState::Paused(UNTIL_RESUMED))];
        let (builders, nobody_has) = (Vec::new(), BTreeMap::new());
        let unserved = ClassView { class: class("aarch64-linux"), lanes, builders, nobody_has };
        QueueView { classes: vec![unserved, served] }
    }

    #[test]
    fn what_waits_and_who_could_build_it_is_told_for_each_class() {
        let expected = "\
CLASS          PRIORITY  QUEUED  BUILDING  OLDEST           STATE
aarch64-linux  -         0       0         -                paused until resumed
x86_64-linux   normal    12      1         3 min ago (web)  paused for 5m 0s

aarch64-linux: no worker

x86_64-linux: 2 workers, 1 free slot
  w1: 1 of 2 slots busy
  w2: 1 of 2 slots busy, takes nothing now: disk is full
  no worker has repo other: 3 jobs wait
";
        assert_eq!(text(&view(), &page(None)), expected);
        fits("CLASS", |page| text(&view(), page));
    }

    #[test]
    fn the_object_has_the_shape_that_scripts_rely_on() {
        let shown = super::json(&view(), Timestamp(7));
        let mut shown: Value = serde_json::from_str(&shown).expect("one object");
        let classes = shown["classes"].as_array_mut().expect("a list");
        let (served, unserved) = (classes.pop().expect("two"), classes.pop().expect("two"));
        assert_eq!((&shown["at"], &unserved["class"]), (&json!(7), &json!("aarch64-linux")));
        let expected = json!({
            "class": "x86_64-linux", "queued": 12, "building": 1, "free_slots": 1,
            "lanes": [
                {"priority": "high", "state": "open", "paused_ms": null, "queued": 0,
                 "building": 0, "oldest": null},
                {"priority": "normal", "state": "paused", "paused_ms": 300_000, "queued": 12,
                 "building": 1, "oldest": {"job": format!("nixos-servers.{REV}.web"),
                                           "asked_at": 850_000}},
            ],
            "workers": [
                {"worker": worker(), "slots": 2, "busy": 1, "free": 1, "state": "ready",
                 "reason": null},
                {"worker": "w2", "slots": 2, "busy": 1, "free": 0, "state": "paused",
                 "reason": "disk\u{1b}[2J is full"},
            ],
            "unserved": {"other": 3},
        });
        assert_eq!(served, expected);
        let mut served = served;
        served["unserved"] = Value::Null;
        options::check_documented("queue", &served);
    }
}
