//! Every event in every stage of a job: what the machine does about it, as one table.
//!
//! `table.txt` holds a line for each pair that does anything. A pair that has no line must do
//! nothing: no effect, and no other stage. Whoever changes a rule sees here what else it changed;
//! `NBP_WRITE=1 cargo test -p worker every_event_in_every_stage` writes the table anew.

use std::{fmt::Write as _, time::Duration};

use bus::Entry;
use proto::{Failure, FailureKind, InfraKind, Outcome, Phase, Record, Request};

use super::{
    at, built, claimed, delivered, entry, finished, incarnation, request, settings, subject,
};
use crate::{
    build::{BuildEnd, Ended, Notice},
    machine::{
        Machine,
        io::{Answer, DeliveryId, Effect, Event, Written},
        job::Stage,
    },
};

const ID: DeliveryId = DeliveryId(1);

/// A machine with one job, and the second it is at.
struct Course {
    machine: Machine,
    second: u64,
    effects: Vec<Effect>,
}

impl Course {
    /// The job is delivered; a drain, if any, had begun before its record is read.
    fn new() -> Self {
        let machine = Machine::new(settings());
        let mut course = Self { machine, second: 0, effects: Vec::new() };
        course.on(Event::Tick);
        course.on(Event::Pulled(vec![delivered(ID.0, "web")]));
        course
    }

    fn on(&mut self, event: Event) {
        self.effects = self.machine.step(at(self.second), event);
    }

    fn then(mut self, events: impl IntoIterator<Item = Event>) -> Self {
        for event in events {
            self.on(event);
        }
        self
    }

    fn at(mut self, second: u64) -> Self {
        self.second = second;
        self
    }

    /// The stage of the job, in words; `-` when it is settled.
    fn stage(&self) -> String {
        match self.machine.jobs.get(&ID).map(|job| &job.stage) {
            None | Some(Stage::Settled) => "-".into(),
            Some(Stage::ReadingRecord) => "reading record".into(),
            Some(Stage::ReadingRequest(_)) => "reading request".into(),
            Some(Stage::Claiming(_)) => "claiming".into(),
            Some(Stage::Unsure { next: Some(_), .. }) => "unsure, pausing".into(),
            Some(Stage::Unsure { next: None, .. }) => "unsure, reading".into(),
            Some(Stage::Closing { .. }) => "closing".into(),
            Some(Stage::Held(held)) => format!("held: {}", held.in_words()),
            Some(Stage::Burying { next, .. }) => format!("burying{}", pausing(*next)),
            Some(Stage::Acking { next, .. }) => format!("acking{}", pausing(*next)),
        }
    }
}

fn pausing(next: Option<Duration>) -> &'static str {
    if next.is_some() { ", pausing" } else { "" }
}

fn mine() -> Record {
    claimed(None, incarnation(1), 1)
}

fn record(record: Record) -> Event {
    Event::RecordRead(ID, Answer::Is(entry(record, 7, 0)))
}

fn asked(request: Request) -> Event {
    Event::RequestRead(ID, Answer::Is(entry(request, 3, 0)))
}

fn end(end: BuildEnd) -> Event {
    Event::Ended(ID, Ended { end, phases: Vec::new() })
}

fn infra() -> BuildEnd {
    BuildEnd::Infra { kind: InfraKind::DiskFull, failure: Failure::message("full") }
}

/// Each event that can come to one job, by name. Deadlines are far past where one is due.
fn events() -> Vec<(&'static str, u64, Event)> {
    let other = || claimed(Some(&mine()), incarnation(1), 2);
    let failure = || Failure::message("m");
    let failed = || BuildEnd::Failed { kind: FailureKind::BuildFailed, failure: failure() };
    let none = || Event::RecordRead(ID, Answer::Is(Entry::none()));
    let done = |of: Record| record(finished(&of, Outcome::Built(built())));
    vec![
        ("record: none", 0, none()),
        ("record: mine", 0, record(mine())),
        ("record: another's", 0, record(other())),
        ("record: finished by me", 0, done(mine())),
        ("record: finished by another", 0, done(other())),
        ("record: no answer", 0, Event::RecordRead(ID, Answer::None)),
        ("record: unreadable", 0, Event::RecordRead(ID, Answer::Unreadable("x".into()))),
        ("request: wanted", 0, asked(request(incarnation(1), 1))),
        ("request: wanted by nobody", 0, asked(request(incarnation(1), 0))),
        ("request: another asking", 0, asked(request(incarnation(2), 1))),
        ("request: none", 0, Event::RequestRead(ID, Answer::Is(Entry::none()))),
        ("request: no answer", 0, Event::RequestRead(ID, Answer::None)),
        ("request: unreadable", 0, Event::RequestRead(ID, Answer::Unreadable("x".into()))),
        ("written", 0, Event::RecordWritten(ID, Written::Done(9))),
        ("written: conflict", 0, Event::RecordWritten(ID, Written::Conflict)),
        ("written: no answer", 0, Event::RecordWritten(ID, Written::NoAnswer)),
        ("written: refused", 0, Event::RecordWritten(ID, Written::Refused)),
        ("acked", 0, Event::Acked(ID, true)),
        ("acked: unconfirmed", 0, Event::Acked(ID, false)),
        ("acked: unconfirmed, too long", 2000, Event::Acked(ID, false)),
        ("buried", 0, Event::Buried(ID, true)),
        ("buried: not stored", 0, Event::Buried(ID, false)),
        ("buried: not stored, too long", 2000, Event::Buried(ID, false)),
        ("noticed: phase", 0, Event::Noticed(ID, Notice::Phase(Phase::Build))),
        ("noticed: idle", 0, Event::Noticed(ID, Notice::Idle(true))),
        ("ended: built", 0, end(BuildEnd::Built(built()))),
        ("ended: failed", 0, end(failed())),
        ("ended: infrastructure", 0, end(infra())),
        ("ended: stopped", 0, end(BuildEnd::Stopped)),
        ("cancel poke", 0, Event::CancelPoked(subject("web", incarnation(1)).job)),
        ("paused", 0, Event::Paused(Some("no room".into()))),
        ("pull failed", 0, Event::PullFailed),
        ("drain", 0, Event::Drain),
        ("tick: nothing due", 0, Event::Tick),
        ("tick: a beat", 20, Event::Tick),
        ("tick: a drain's time is up", 310, Event::Tick),
        ("tick: the grace is over", 2000, Event::Tick),
    ]
}

/// A way to each stage, by events that are shown to lead there.
fn stages() -> Vec<fn() -> Course> {
    fn reading_request() -> Course {
        Course::new().then([Event::RecordRead(ID, Answer::Is(Entry::none()))])
    }
    fn claiming() -> Course {
        reading_request().then([asked(request(incarnation(1), 1))])
    }
    fn unsure() -> Course {
        claiming().then([Event::RecordWritten(ID, Written::NoAnswer)])
    }
    fn unseen() -> Course {
        claiming().then([Event::RecordWritten(ID, Written::Done(5))])
    }
    fn held() -> Course {
        unseen().then([asked(request(incarnation(1), 1))])
    }
    fn renewing() -> Course {
        held().then([Event::Noticed(ID, Notice::Phase(Phase::Evaluate))])
    }
    fn asking() -> Course {
        held().then([Event::CancelPoked(subject("web", incarnation(1)).job)])
    }
    fn rereading() -> Course {
        renewing().then([Event::RecordWritten(ID, Written::Conflict)])
    }
    fn ending() -> Course {
        held().then([end(BuildEnd::Built(built()))])
    }
    fn waiting() -> Course {
        held().then([end(infra())])
    }
    fn cancelled() -> Course {
        asking().then([asked(request(incarnation(1), 0))])
    }
    fn burying() -> Course {
        let lost = claimed(Some(&claimed(Some(&mine()), incarnation(1), 2)), incarnation(1), 2);
        let lost = Event::RecordRead(ID, Answer::Is(entry(lost, 7, 0)));
        let course = Course::new().at(100).then([lost, asked(request(incarnation(1), 1))]);
        course.then([Event::RecordWritten(ID, Written::Done(8))])
    }
    fn acking() -> Course {
        reading_request().then([asked(request(incarnation(2), 1))])
    }
    vec![
        Course::new,
        reading_request,
        claiming,
        unsure,
        || unsure().at(2).then([Event::Tick]),
        || reading_request().then([asked(request(incarnation(1), 0))]),
        held,
        renewing,
        asking,
        || renewing().then([Event::RecordWritten(ID, Written::NoAnswer)]),
        rereading,
        || unseen().then([end(BuildEnd::Built(built()))]),
        ending,
        || ending().then([Event::RecordWritten(ID, Written::NoAnswer)]),
        || ending().then([Event::RecordWritten(ID, Written::Conflict)]),
        waiting,
        || waiting().then([Event::RecordWritten(ID, Written::Conflict)]),
        cancelled,
        || held().then([Event::Drain]).at(310).then([Event::Tick]),
        || rereading().then([record(claimed(Some(&mine()), incarnation(1), 2))]),
        burying,
        || burying().then([Event::Buried(ID, false)]),
        acking,
        || acking().then([Event::Acked(ID, false)]),
    ]
}

/// An effect in words: what a reader of the protocol wants to know of it.
fn shown(effect: &Effect) -> Option<String> {
    Some(match effect {
        // The other slot pulls on, whatever happens to this job.
        Effect::Pull(..) | Effect::StopPull => return None,
        Effect::ReadRecord(..) => "read record".into(),
        Effect::ReadRequest(..) => "read request".into(),
        Effect::WriteRecord { record, expected, .. } => {
            let outcome = record.outcome().map(|it| format!(" {}", it.name())).unwrap_or_default();
            let state = match &record.state {
                proto::State::Running(running) => format!("running {}", running.phase.name()),
                proto::State::Waiting(_) => "waiting".into(),
                proto::State::Finished(_) => "finished".into(),
            };
            format!("write {state}{outcome} over {expected}")
        }
        Effect::Progress(_) => "progress".into(),
        Effect::Ack(_) => "ACK".into(),
        Effect::Nak(_, delay) if delay.is_zero() => "nak at once".into(),
        Effect::Nak(_, delay) => format!("nak {}s", delay.as_secs_f64().ceil()),
        Effect::Abandon(_) => "abandon".into(),
        Effect::Build { .. } => "build".into(),
        Effect::Kill(_) => "kill".into(),
        Effect::Tell { what, .. } => format!("tell {}", what.kind()),
        Effect::Bury { .. } => "bury".into(),
        Effect::NoteGood(..) => "note good".into(),
        Effect::Exit => "exit".into(),
    })
}

#[test]
fn every_event_in_every_stage() {
    let mut table = String::new();
    for stage in stages() {
        let from = stage().stage();
        assert_ne!(from, "-", "a way that leads nowhere:\n{table}");
        writeln!(table, "\n{from}").expect("a string");
        for (name, seconds, event) in events() {
            let mut course = stage();
            course.second += seconds;
            course.on(event);
            let effects: Vec<String> = course.effects.iter().filter_map(shown).collect();
            let to = course.stage();
            let settles = ["ACK", "nak", "abandon"];
            let settled = effects.iter().filter(|it| settles.iter().any(|by| it.starts_with(by)));
            assert!(settled.count() <= 1, "{from} × {name}: {effects:?}");
            if effects.is_empty() && to == from {
                continue;
            }
            let (did, to) = (effects.join(", "), if to == from { "same".into() } else { to });
            writeln!(table, "  {name:<30} {did} → {to}").expect("a string");
        }
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/machine/tests/table.txt");
    #[expect(clippy::disallowed_methods, reason = "a person tells a test to write its table anew")]
    if std::env::var("NBP_WRITE").is_ok() {
        std::fs::write(path, &table).expect("a writable source tree");
    }
    let committed = std::fs::read_to_string(path).expect("the table");
    for (line, (is, was)) in table.lines().zip(committed.lines()).enumerate() {
        assert_eq!(is, was, "line {} of {path}", line + 1);
    }
    assert_eq!(table.lines().count(), committed.lines().count(), "{path}");
}
