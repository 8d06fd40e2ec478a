//! A history that people can read: time, who, what.

use proto::{Incarnation, Instance, Record, Request, State};

use super::{
    checks::{Author, worker_name},
    network::{DESK, Op, Reply},
    world::World,
};
use crate::machine::io::{Answer, Effect, Event};

pub(super) fn incarnation(of: Incarnation) -> String {
    format!("i{}", of.0.as_u128())
}

fn instance(of: Instance) -> String {
    let n = of.0.as_u128();
    format!("w{}.{}", n / 1000 + 1, n % 1000)
}

fn record(it: &Record) -> String {
    let state = match &it.state {
        State::Running(running) => format!("running at {}", instance(running.instance)),
        State::Waiting(waiting) => format!("waiting {} ms, {:?}", waiting.delay_ms, waiting.reason),
        State::Finished(finished) => format!("finished {}", finished.outcome.name()),
    };
    format!("{} e{} {state}", incarnation(it.incarnation), it.epoch)
}

fn request(it: &Request) -> String {
    let runs: Vec<_> = it.wanted_by.keys().map(|run| run.0.as_u128().to_string()).collect();
    let force = if it.force { " forced" } else { "" };
    format!("{}{force} wanted by [{}]", incarnation(it.incarnation), runs.join(" "))
}

fn answer<T>(it: &Answer<T>, tell: impl Fn(&T) -> String) -> String {
    match it {
        Answer::Is(entry) => {
            let value = entry.value.as_ref().map_or("nothing".into(), tell);
            format!("rev {}: {value}", entry.revision)
        }
        Answer::None => "no answer".into(),
        Answer::Unreadable(why) => format!("unreadable: {why}"),
    }
}

/// What happens to a machine; nothing for what happens all the time.
pub(super) fn event(it: &Event) -> Option<String> {
    Some(match it {
        Event::Tick => return None,
        Event::Pulled(deliveries) | Event::Surplus(deliveries) if deliveries.is_empty() => {
            return None;
        }
        Event::Pulled(deliveries) | Event::Surplus(deliveries) => {
            let one = |it: &crate::machine::io::Delivered| {
                let (of, job) = (incarnation(it.subject.incarnation), &it.subject.job.host);
                format!("#{} {job} {of} {}", it.id.0, it.subject.priority)
            };
            format!("gets {}", deliveries.iter().map(one).collect::<Vec<_>>().join(", "))
        }
        Event::PullFailed => "cannot pull".into(),
        Event::RecordRead(id, it) => format!("#{} reads record {}", id.0, answer(it, record)),
        Event::RequestRead(id, it) => format!("#{} reads request {}", id.0, answer(it, request)),
        Event::RecordWritten(id, it) => format!("#{} write: {it:?}", id.0),
        Event::Acked(id, it) => format!("#{} ack confirmed: {it}", id.0),
        Event::Buried(id, it) => format!("#{} dead letter stored: {it}", id.0),
        Event::Noticed(id, it) => format!("#{} build: {it:?}", id.0),
        Event::Ended(id, it) => format!("#{} build ends: {:?}", id.0, it.end),
        Event::CancelPoked(job) => format!("cancel poke for {}", job.host),
        Event::Serves(class) => format!("serves class {class} too"),
        Event::Paused(why) => format!("paused: {why:?}"),
        Event::Drain => "told to stop".into(),
    })
}

/// What a machine does; nothing for what only people hear of.
pub(super) fn effect(it: &Effect) -> Option<String> {
    Some(match it {
        Effect::Pull(..) | Effect::StopPull | Effect::Tell { .. } => return None,
        Effect::NoteGood(..) => return None,
        Effect::Bury { id, .. } => format!("#{} writes a dead letter", id.0),
        Effect::ReadRecord(..) | Effect::ReadRequest(..) => return None,
        Effect::WriteRecord { id, record: it, expected, .. } => {
            format!("#{} sends {} over rev {expected}", id.0, record(it))
        }
        Effect::Progress(id) => format!("#{} progress", id.0),
        Effect::Ack(id) => format!("#{} acks", id.0),
        Effect::Nak(id, delay) => format!("#{} naks, {delay:?}", id.0),
        Effect::Abandon(id) => format!("#{} abandons", id.0),
        Effect::Build { id, plan, .. } => format!("#{} builds, {plan:?}", id.0),
        Effect::Kill(id) => format!("#{} kills its build", id.0),
        Effect::Exit => "exits".into(),
    })
}

/// What is sent to the broker.
pub(super) fn op(it: &Op) -> String {
    match it {
        Op::WriteRecord { record: it, .. } => format!("record {}", record(it)),
        Op::WriteRequest { request: it, .. } => format!("request {}", request(it)),
        Op::Publish { job, of, .. } => format!("message of job {job} {}", incarnation(*of)),
        it => format!("{it:?}"),
    }
}

pub(super) fn reply(it: Option<&Reply>) -> String {
    match it {
        None => "no answer".into(),
        Some(Reply::Record(entry)) => entry.value.as_ref().map_or("no record".into(), record),
        Some(Reply::Request(entry)) => entry.value.as_ref().map_or("no request".into(), request),
        Some(it) => format!("{it:?}"),
    }
}

impl World {
    pub(super) fn name_of(&self, link: usize) -> String {
        if link == DESK {
            return "a submitter".into();
        }
        format!("{}.{}", worker_name(link), self.workers[link].life)
    }

    pub(super) fn tell_record(&self, job: usize, by: usize, revision: u64) -> String {
        let told = self.broker.records[job].value.as_ref().map_or_else(String::new, record);
        format!("RECORD  of job {job}, rev {revision}, by {}: {told}", worker_name(by))
    }

    pub(super) fn tell_request(&self, job: usize, by: Author, revision: u64) -> String {
        let told = self.broker.requests[job].value.as_ref().map_or_else(String::new, request);
        let by = match by {
            Author::Asks(run) => format!("run {} asks", run.0.as_u128()),
            Author::Withdraws(run) => format!("run {} withdraws", run.0.as_u128()),
        };
        format!("REQUEST of job {job}, rev {revision}, {by}: {told}")
    }
}
