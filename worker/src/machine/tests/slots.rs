//! Which jobs are taken, when, and what they take up; and what the word of who published a job is
//! worth.

use std::time::Duration;

use bus::Entry;
use proto::{Before, Outcome};

use super::{at, built, claimed, delivered, entry, incarnation, request, settings};
use crate::{
    build::{Notice, Plan},
    machine::{
        Machine, REUSES_MAX, Settings,
        io::{Answer, Delivered, DeliveryId, Effect, Event, Written},
    },
};

const ID: DeliveryId = DeliveryId(1);

#[test]
fn surplus_deliveries_go_back_at_once() {
    let mut machine = Machine::new(settings());
    machine.step(at(0), Event::Tick);
    let four = (1..=4).map(|id| delivered(id, &format!("h{id}"))).collect();
    let effects = machine.step(at(0), Event::Pulled(four));
    let back = effects.iter().filter(|effect| matches!(effect, Effect::Nak(_, Duration::ZERO)));
    assert_eq!(back.count(), 2);
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Pull(..))));
}

#[test]
fn surplus_that_comes_late_leaves_the_next_round_alone() {
    let mut machine = Machine::new(Settings { slots: 4, ..settings() });
    machine.step(at(0), Event::Tick);
    let effects = machine.step(at(0), Event::Pulled(vec![delivered(1, "web")]));
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Pull(..))));

    let effects = machine.step(at(0), Event::Surplus(vec![delivered(2, "db")]));

    assert_eq!(machine.jobs().len(), 2, "there is room for it");
    let again = effects.iter().any(|effect| matches!(effect, Effect::Pull(..)));
    assert!(!again, "a round is under way: {effects:?}");
}

#[test]
fn a_round_takes_a_part_of_many_free_slots_and_one_job_of_low_when_low_is_first() {
    let mut machine = Machine::new(Settings { slots: 64, ..settings() });
    let mut effects = machine.step(at(0), Event::Tick);
    for round in 1..=8 {
        let [Effect::Pull(_, most)] = &effects[..] else { panic!("no pull: {effects:?}") };
        assert_eq!(*most, if round == 8 { 1 } else { 16 });
        effects = machine.step(at(0), Event::Pulled(Vec::new()));
    }
}

#[test]
fn a_round_takes_more_when_many_jobs_wait_than_when_few_do() {
    let most = |waiting: u64| {
        let mut machine = Machine::new(Settings { slots: 64, ..settings() });
        machine.step(at(0), Event::Tick);
        let jobs = (1..=16).map(|id| Delivered { waiting, ..delivered(id, &format!("h{id}")) });
        let effects = machine.step(at(0), Event::Pulled(jobs.collect()));
        let pull = effects.iter().find_map(|effect| match effect {
            Effect::Pull(_, most) => Some(*most),
            _ => None,
        });
        pull.expect("a pull for the free slots")
    };
    // 48 slots are free.
    assert_eq!([0, 40, 60, 100, 192, 1_000_000].map(most), [12, 12, 15, 25, 48, 48]);
}

#[test]
fn a_reuse_takes_no_slot_until_it_turns_out_to_be_a_build() {
    let mut machine = Machine::new(settings());
    let slots = machine.settings.slots;
    machine.step(at(0), Event::Tick);
    let mut pulls = 0;
    for number in 1..=10 {
        let id = DeliveryId(number);
        let before = claimed(None, incarnation(9), 1);
        let before = super::finished(&before, Outcome::Built(built()));
        machine.step(at(0), Event::Pulled(vec![delivered(number, &format!("h{number}"))]));
        machine.step(at(0), Event::RecordRead(id, Answer::Is(entry(before, 3, 0))));
        let wanted = Answer::Is(entry(request(incarnation(1), 1), 1, 0));
        let effects = machine.step(at(0), Event::RequestRead(id, wanted));
        pulls += effects.iter().filter(|it| matches!(it, Effect::Pull(..))).count();
        let effects = machine.step(at(0), Event::RecordWritten(id, Written::Done(5)));
        let plan = effects.iter().find_map(|effect| match effect {
            Effect::Build { plan, .. } => Some(plan.clone()),
            _ => None,
        });
        assert_eq!(plan, Some(Plan::Reuse(built())));
    }
    assert_eq!((machine.jobs().len(), machine.free()), (10, slots));
    assert_eq!(pulls, 0, "the pull that is open stays so");
    machine.step(at(1), Event::Noticed(ID, Notice::Anew));
    assert_eq!(machine.free(), slots - 1);
}

#[test]
fn high_comes_before_low_and_low_is_first_now_and_then() {
    let mut machine = Machine::new(settings());
    let mut effects = machine.step(at(0), Event::Tick);
    let mut first = Vec::new();
    for _ in 0..16 {
        let [Effect::Pull(consumers, _)] = &effects[..] else { panic!("no pull: {effects:?}") };
        first.push(consumers[0].clone());
        effects = machine.step(at(0), Event::Pulled(Vec::new()));
    }
    let asked_first = |end: &str| first.iter().filter(|name| name.ends_with(end)).count();
    assert_eq!((asked_first("-high"), asked_first("-low")), (14, 2));
}

#[test]
fn a_paused_worker_pulls_nothing_and_says_why() {
    let mut machine = Machine::new(settings());
    machine.step(at(0), Event::Tick);
    let effects = machine.step(at(1), Event::Paused(Some("disk".into())));
    assert!(matches!(effects[..], [Effect::StopPull]));
    let effects = machine.step(at(1), Event::Pulled(vec![delivered(1, "web")]));
    assert!(matches!(effects[..], [Effect::Nak(_, Duration::ZERO)]));
    assert_eq!(machine.paused(), Some("disk"));
    let effects = machine.step(at(2), Event::Paused(None));
    assert!(matches!(effects[..], [Effect::Pull(..)]));
}

/// A machine that has pulled job 1 to `count`, of which their publisher says this.
fn hinted(before: Before, count: u64) -> (Machine, Vec<Effect>) {
    let mut machine = Machine::new(settings());
    machine.step(at(0), Event::Tick);
    let mut effects = Vec::new();
    for number in 1..=count {
        let job = Delivered { before, ..delivered(number, &format!("h{number}")) };
        effects.extend(machine.step(at(0), Event::Pulled(vec![job])));
    }
    (machine, effects)
}

fn wanted(id: DeliveryId) -> Event {
    Event::RequestRead(id, Answer::Is(entry(request(incarnation(1), 1), 1, 0)))
}

#[test]
fn a_job_that_has_no_record_is_claimed_after_one_read() {
    let (mut machine, effects) = hinted(Before::Nothing, 1);
    assert!(matches!(effects[..], [Effect::ReadRequest(ID, _), Effect::Pull(..)]), "{effects:?}");
    let effects = machine.step(at(0), wanted(ID));
    let [Effect::WriteRecord { expected: 0, record, .. }] = &effects[..] else {
        panic!("no claim over nothing: {effects:?}")
    };
    assert_eq!(record.epoch.0, 1);
    let effects = machine.step(at(0), Event::RecordWritten(ID, Written::Done(5)));
    assert!(effects.iter().any(|it| matches!(it, Effect::Build { .. })), "{effects:?}");
}

#[test]
fn a_job_that_has_a_record_after_all_is_decided_by_it() {
    let (mut machine, _) = hinted(Before::Nothing, 1);
    machine.step(at(0), wanted(ID));
    let effects = machine.step(at(0), Event::RecordWritten(ID, Written::Conflict));
    assert!(matches!(effects[..], [Effect::ReadRecord(ID, _)]), "{effects:?}");
    let held = claimed(None, incarnation(1), 2);
    machine.step(at(0), Event::RecordRead(ID, Answer::Is(entry(held, 3, 0))));
    let effects = machine.step(at(20), wanted(ID));
    let [Effect::Nak(ID, left)] = effects[..] else { panic!("not left alone: {effects:?}") };
    assert_eq!(left, Duration::from_secs(40));
}

#[test]
fn what_no_write_tests_is_not_decided_on_a_guess() {
    let (mut machine, _) = hinted(Before::Nothing, 1);
    let other = Answer::Is(entry(request(incarnation(2), 1), 1, 0));
    let effects = machine.step(at(0), Event::RequestRead(ID, other));
    assert!(matches!(effects[..], [Effect::ReadRecord(ID, _)]), "{effects:?}");
}

#[test]
fn what_was_built_takes_no_slot_from_the_beginning() {
    let reuses = u64::try_from(REUSES_MAX).expect("a few");
    let (machine, effects) = hinted(Before::Built, reuses + 1);
    let reads = effects.iter().filter(|it| matches!(it, Effect::ReadRecord(..))).count();
    assert_eq!(reads, REUSES_MAX + 1);
    assert_eq!(machine.free(), machine.settings.slots - 1);
}

#[test]
fn what_waits_behind_reuses_is_taken_for_reuses() {
    let mut machine = Machine::new(settings());
    machine.step(at(0), Event::Tick);
    let mut pull = |id, before| {
        let job = Delivered { before, waiting: 14, ..delivered(id, &format!("h{id}")) };
        let effects = machine.step(at(0), Event::Pulled(vec![job]));
        effects.iter().find_map(|effect| match effect {
            Effect::Pull(_, most) => Some(*most),
            _ => None,
        })
    };
    // A quarter of 2 slots and 15 reuses; then of what waits, but not more than the free slot.
    assert_eq!(pull(1, Before::Built), Some(4));
    assert_eq!(pull(2, Before::Unknown), Some(1));
}

#[test]
fn when_one_is_built_after_all_no_more_are_taken_for_reuses() {
    let mut machine = Machine::new(settings());
    machine.step(at(0), Event::Tick);
    let job = Delivered { before: Before::Built, waiting: 14, ..delivered(1, "h1") };
    machine.step(at(0), Event::Pulled(vec![job]));
    assert!(machine.reusing);
    machine.step(at(0), Event::RecordRead(ID, Answer::Is(Entry::none())));
    machine.step(at(0), wanted(ID));
    assert!(!machine.reusing);
}

#[test]
fn what_must_be_built_after_all_goes_back_when_no_slot_is_left() {
    let (mut machine, _) = hinted(Before::Built, 3);
    for number in 1..=3 {
        let id = DeliveryId(number);
        machine.step(at(0), Event::RecordRead(id, Answer::Is(Entry::none())));
        let effects = machine.step(at(0), wanted(id));
        let back = effects.iter().any(|it| matches!(it, Effect::Nak(_, Duration::ZERO)));
        assert_eq!(back, number == 3, "{effects:?}");
    }
}

#[test]
fn a_class_that_is_set_up_later_is_pulled_from_in_the_next_round() {
    let mut machine = Machine::new(settings());
    let pulls = |effects: Vec<Effect>| {
        effects.into_iter().find_map(|effect| match effect {
            Effect::Pull(consumers, _) => Some(consumers),
            _ => None,
        })
    };
    assert_eq!(pulls(machine.step(at(0), Event::Tick)).map(|it| it.len()), Some(3));
    machine.step(at(1), Event::Serves("x86_64-linux_kvm".parse().expect("a class")));
    let next = pulls(machine.step(at(2), Event::Pulled(Vec::new()))).expect("a pull");
    assert_eq!(next[..2], ["x86_64-linux-high", "x86_64-linux_kvm-high"]);
}
