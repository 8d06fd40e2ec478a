//! Any order of events settles each delivery exactly once.
//!
//! The world here is hostile: answers are arbitrary, contradict each other and come in any order.
//! Then faults stop, every question is answered truthfully, and all must come to rest.

use std::collections::{BTreeMap, BTreeSet};

use bus::Entry;
use proptest::prelude::*;
use proto::{Before, Failure, FailureKind, InfraKind, Outcome, Phase, Record};

use super::{at, built, claimed, delivered, entry, finished, incarnation, request, settings};
use crate::{
    build::{BuildEnd, Ended, Notice},
    machine::{
        Machine,
        io::{Answer, DeliveryId, Effect, Event, Written},
    },
};

/// A question that the machine has asked and that is not answered yet.
#[derive(Debug)]
enum Open {
    Record(DeliveryId),
    Request(DeliveryId),
    Write(DeliveryId),
    Ack(DeliveryId),
    Bury(DeliveryId),
    Build(DeliveryId),
    Pull,
}

struct World {
    machine: Machine,
    open: Vec<Open>,
    delivered: u64,
    seconds: u64,
    settled: BTreeMap<DeliveryId, u32>,
    building: BTreeMap<DeliveryId, u32>,
    /// By a worker that was cut off while their ack was under way.
    left: BTreeSet<DeliveryId>,
    exited: u32,
}

impl World {
    fn new() -> Self {
        let machine = Machine::new(settings());
        let (open, settled, building) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        let left = BTreeSet::new();
        Self { machine, open, delivered: 0, seconds: 0, settled, building, left, exited: 0 }
    }

    fn on(&mut self, event: Event) {
        for effect in self.machine.step(at(self.seconds), event) {
            self.perform(&effect);
        }
    }

    fn perform(&mut self, effect: &Effect) {
        match effect {
            Effect::Pull(consumers, most) => {
                assert_eq!((consumers.len(), *most), (3, 1));
                self.open.push(Open::Pull);
            }
            Effect::ReadRecord(id, _) => self.ask(*id, Open::Record(*id)),
            Effect::ReadRequest(id, _) => self.ask(*id, Open::Request(*id)),
            Effect::WriteRecord { id, .. } => self.ask(*id, Open::Write(*id)),
            Effect::Progress(id) => assert!(!self.settled.contains_key(id), "progress after all"),
            Effect::Ack(id) => self.ask(*id, Open::Ack(*id)),
            Effect::Nak(id, _) => self.settle(*id),
            // The hands have given it to an ack that is under way; its answer settles it, or nobody.
            Effect::Abandon(id) if self.acking(*id) => drop(self.left.insert(*id)),
            Effect::Abandon(id) => self.settle(*id),
            Effect::Build { id, .. } => {
                self.ask(*id, Open::Build(*id));
                *self.building.entry(*id).or_default() += 1;
                assert_eq!(self.building[id], 1, "{id:?} is built twice");
            }
            Effect::Kill(id) => assert!(self.building.contains_key(id), "killed what is not built"),
            Effect::Exit => self.exited += 1,
            Effect::Bury { id, .. } => self.ask(*id, Open::Bury(*id)),
            Effect::StopPull | Effect::Tell { .. } | Effect::NoteGood(..) => {}
        }
    }

    fn ask(&mut self, id: DeliveryId, open: Open) {
        assert!(!self.settled.contains_key(&id), "{open:?} after {id:?} was settled");
        self.open.push(open);
    }

    fn acking(&self, id: DeliveryId) -> bool {
        self.open.iter().any(|open| matches!(open, Open::Ack(of) if *of == id))
    }

    fn settle(&mut self, id: DeliveryId) {
        *self.settled.entry(id).or_default() += 1;
        assert_eq!(self.settled[&id], 1, "{id:?} is settled twice");
    }

    /// Answers one open question, or lets something happen by itself. `choice` and `flavour` are
    /// arbitrary.
    fn happen(&mut self, choice: u8, flavour: u8) {
        let asked = self.open.len();
        match usize::from(choice) % (asked + 5) {
            n if n < asked => {
                let open = self.open.swap_remove(n);
                self.answer(open, flavour);
            }
            n if n == asked => {
                self.seconds += u64::from(flavour) * 3;
                self.on(Event::Tick);
            }
            n if n == asked + 1 => {
                let host = format!("h{}", flavour % 4);
                self.on(Event::CancelPoked(super::subject(&host, incarnation(1)).job));
            }
            // Rarely, so that most courses run long before they drain.
            n if n == asked + 3 && flavour < 16 => self.on(Event::Drain),
            n if n == asked + 2 => {
                self.on(Event::Paused(flavour.is_multiple_of(2).then(|| "why not".into())));
            }
            _ => self.notice(flavour),
        }
    }

    fn notice(&mut self, flavour: u8) {
        let Some(id) = self.building.keys().nth(usize::from(flavour) % 3).copied() else { return };
        let notice = match flavour % 4 {
            0 => Notice::Phase(Phase::Build),
            1 => Notice::Idle(flavour % 8 == 1),
            2 => Notice::Anew,
            _ => Notice::Phase(Phase::Root),
        };
        self.on(Event::Noticed(id, notice));
    }

    fn answer(&mut self, open: Open, flavour: u8) {
        let event = match open {
            Open::Record(id) => Event::RecordRead(id, any_record(flavour, self.seconds)),
            Open::Request(id) => Event::RequestRead(id, any_request(flavour)),
            Open::Write(id) => Event::RecordWritten(
                id,
                [Written::Done(9), Written::Conflict, Written::NoAnswer, Written::Refused]
                    [usize::from(flavour) % 4],
            ),
            Open::Ack(id) => {
                let confirmed = flavour.is_multiple_of(2);
                if confirmed || self.left.contains(&id) {
                    self.settle(id);
                }
                Event::Acked(id, confirmed)
            }
            Open::Bury(id) => Event::Buried(id, flavour.is_multiple_of(2)),
            Open::Build(id) => {
                Event::Ended(id, Ended { end: any_end(flavour), phases: Vec::new() })
            }
            Open::Pull => self.any_pull(flavour),
        };
        self.on(event);
    }

    fn any_pull(&mut self, flavour: u8) -> Event {
        if flavour % 5 == 4 {
            return Event::PullFailed;
        }
        let mut pulled = Vec::new();
        for n in 0..u64::from(flavour % 5) {
            self.delivered += 1;
            let mut delivered = delivered(self.delivered, &format!("h{}", n % 4));
            let before = [Before::Unknown, Before::Nothing, Before::Built];
            delivered.before = before[usize::from(flavour / 8) % 3];
            delivered.poison = flavour.is_multiple_of(7).then(|| "no JSON".into());
            pulled.push(delivered);
        }
        // What other pulls had under way comes after the next round has begun.
        let late = pulled.split_off(if flavour.is_multiple_of(2) {
            pulled.len().min(1)
        } else {
            pulled.len()
        });
        self.on(Event::Pulled(pulled));
        Event::Surplus(late)
    }

    /// Faults stop, a drain begins, and whoever asks is told that the job is another's.
    fn come_to_rest(&mut self) {
        self.on(Event::Drain);
        for _ in 0..10_000 {
            if self.exited > 0 && self.open.is_empty() {
                return;
            }
            match self.open.pop() {
                Some(Open::Record(id)) => {
                    let taken = claimed(None, incarnation(1), 2);
                    let read = Answer::Is(entry(taken, 99, self.seconds));
                    self.on(Event::RecordRead(id, read));
                }
                Some(Open::Request(id)) => {
                    let read = Answer::Is(entry(request(incarnation(1), 1), 1, 0));
                    self.on(Event::RequestRead(id, read));
                }
                Some(Open::Write(id)) => self.on(Event::RecordWritten(id, Written::Done(9))),
                Some(Open::Ack(id)) => {
                    self.settle(id);
                    self.on(Event::Acked(id, true));
                }
                Some(Open::Bury(id)) => self.on(Event::Buried(id, true)),
                Some(Open::Build(id)) => {
                    let end = BuildEnd::Stopped;
                    self.on(Event::Ended(id, Ended { end, phases: Vec::new() }));
                }
                Some(Open::Pull) => self.on(Event::Pulled(Vec::new())),
                None => {
                    self.seconds += 1;
                    self.on(Event::Tick);
                }
            }
        }
        panic!("no rest: {:?} open, jobs {:?}", self.open, self.machine.jobs());
    }
}

fn any_record(flavour: u8, seconds: u64) -> Answer<Record> {
    let since = seconds.saturating_sub(u64::from(flavour) / 2);
    let mine = claimed(None, incarnation(1), 1);
    let built = Outcome::Built(built());
    let record = match flavour % 8 {
        0 => return Answer::None,
        1 => return Answer::Unreadable("garbage".into()),
        2 => return Answer::Is(Entry::none()),
        3 | 4 => mine,
        5 => claimed(Some(&mine), incarnation(1), 2),
        6 => finished(&mine, built),
        _ => finished(&claimed(None, incarnation(2), 2), built),
    };
    Answer::Is(entry(record, u64::from(flavour), since))
}

fn any_request(flavour: u8) -> Answer<proto::Request> {
    match flavour % 6 {
        0 => Answer::None,
        1 => Answer::Unreadable("garbage".into()),
        2 => Answer::Is(entry(request(incarnation(2), 1), 3, 0)),
        3 => Answer::Is(entry(request(incarnation(1), 0), 3, 0)),
        _ => Answer::Is(entry(request(incarnation(1), 1), 3, 0)),
    }
}

fn any_end(flavour: u8) -> BuildEnd {
    let failure = Failure::message("m");
    match flavour % 4 {
        0 => BuildEnd::Built(built()),
        1 => BuildEnd::Failed { kind: FailureKind::BuildFailed, failure },
        2 => BuildEnd::Infra { kind: InfraKind::DaemonLost, failure },
        _ => BuildEnd::Stopped,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(4_000) })]

    #[test]
    fn each_delivery_is_settled_exactly_once(
        happenings in prop::collection::vec(any::<(u8, u8)>(), 0..200)
    ) {
        let mut world = World::new();
        world.on(Event::Tick);
        for (choice, flavour) in happenings {
            world.happen(choice, flavour);
        }
        world.come_to_rest();
        let settled = u64::try_from(world.settled.len()).expect("few");
        prop_assert_eq!(settled, world.delivered);
        prop_assert_eq!(world.exited, 1);
    }
}
