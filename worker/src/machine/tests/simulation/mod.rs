//! Seeded simulation: the real machine and the real rules of asking, against a model of JetStream
//! and its buckets that behaves as measured, under every fault that it can think of.
//!
//! `shared/model/` explores the protocol's rules exhaustively but abstractly; here is the code
//! itself. One seed is one short course of events; many short ones find more than a few long ones.
//! A seed that breaks a rule prints its history and is replayed by
//! `NBP_SEED=123 cargo test -p worker simulation::replay -- --nocapture`.
//!
//! Not modelled: several classes, `max_ack_pending`, stale reads (the machine reads from the
//! leader, which was measured not to be stale), lost or rolled back writes, expiry of records,
//! events, dead letters, logs.

mod broker;
mod builds;
mod checks;
mod effects;
mod faults;
mod history;
mod mutants;
mod network;
mod schedule;
mod server;
mod submitters;
mod workers;
mod world;

use std::time::Instant;

use self::{
    checks::{Broken, Rule},
    mutants::Mutant,
    world::World,
};

/// Seeds of one run of the test suite.
const SCHEDULES: u64 = 100_000;

/// The first of these seeds that breaks a rule.
fn first_broken(
    mut seeds: impl Iterator<Item = u64>,
    mutant: Option<Mutant>,
) -> Option<(u64, Broken)> {
    seeds.find_map(|seed| Some((seed, World::new(seed, mutant, false).run().err()?)))
}

fn history(seed: u64, mutant: Option<Mutant>) -> String {
    let mut world = World::new(seed, mutant, true);
    let end = match world.run() {
        Ok(()) => "all came to rest".to_owned(),
        Err(broken) => format!("broken: {:?}, {}", broken.rule, broken.why),
    };
    let lines = world.history.unwrap_or_default().join("\n");
    format!("{lines}\nseed {seed}, rule removed: {mutant:?}; {end}")
}

fn told(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "a person tells a test which seed to replay")]
    std::env::var(name).ok()
}

fn number(name: &str) -> Option<u64> {
    told(name).map(|value| value.parse().expect("a number"))
}

#[test]
fn no_schedule_breaks_a_rule() {
    let from = number("NBP_FROM").unwrap_or(0);
    let until = from + number("NBP_SCHEDULES").unwrap_or(SCHEDULES);
    let began = Instant::now();
    let halves = std::thread::scope(|scope| {
        let half = |odd| scope.spawn(move || first_broken((from + odd..until).step_by(2), None));
        [half(0), half(1)].map(|it| it.join().expect("no panic"))
    });
    println!("{} schedules in {:?}", until - from, began.elapsed());
    if let Some((seed, _)) = halves.into_iter().flatten().min_by_key(|(seed, _)| *seed) {
        panic!("{}", history(seed, None));
    }
}

/// `NBP_MUTANT=NoLease` beside `NBP_SEED` replays what a removed rule leads to.
#[test]
fn replay() {
    let (seed, name) = (number("NBP_SEED"), told("NBP_MUTANT"));
    let mutant =
        name.and_then(|name| Mutant::ALL.into_iter().find(|mutant| format!("{mutant:?}") == name));
    let first = history(seed.unwrap_or_default(), mutant);
    if seed.is_some() {
        println!("{first}");
    }
    assert_eq!(first, history(seed.unwrap_or_default(), mutant), "a seed has one course");
}

/// Without one rule the protocol breaks, soon, and in a way that the rule stands against.
#[track_caller]
fn check(mutant: Mutant, stands_against: &[Rule]) {
    let seeds = 0..SCHEDULES / 4;
    let (seed, broken) = first_broken(seeds, Some(mutant)).expect("no seed breaks without it");
    println!("{mutant:?}: seed {seed} breaks {:?}, {}", broken.rule, broken.why);
    assert!(stands_against.contains(&broken.rule), "{}", history(seed, Some(mutant)));
}

#[test]
fn epochs_are_needed() {
    // Deliveries of one instance do not compete, so that the one left to mistake is its own past.
    let stands_against = [Rule::TwoAble, Rule::BuiltUnclaimed, Rule::FencedWrite];
    check(Mutant::NoEpoch, &stands_against);
}

#[test]
fn numbers_of_claims_are_needed() {
    check(Mutant::NoNumber, &[Rule::TwoAble, Rule::BuiltUnclaimed]);
}

#[test]
fn leases_are_needed() {
    check(Mutant::NoLease, &[Rule::LiveLeaseTaken, Rule::FencedWrite]);
}

#[test]
fn leases_of_the_own_instance_are_needed() {
    check(Mutant::NoOwnLease, &[Rule::LiveLeaseTaken, Rule::FencedWrite]);
}

#[test]
fn comparing_incarnations_is_needed() {
    check(Mutant::NoIncarnation, &[Rule::StaleBuilds]);
}

#[test]
fn reading_the_record_before_the_request_is_needed() {
    check(Mutant::RequestFirst, &[Rule::StaleBuilds]);
}

#[test]
fn asking_who_wants_it_after_the_lease_is_needed() {
    let stands_against = [Rule::FinishedTwice, Rule::DecidedReplaced, Rule::FencedWrite];
    check(Mutant::WantedFirst, &stands_against);
}

#[test]
fn finishing_before_acking_is_needed() {
    // A dead letter comes between the finish and its ack: without it, an ack is too early as well.
    check(Mutant::AckFirst, &[Rule::AckedUnfinished, Rule::AckedUnburied]);
}

#[test]
fn sweeping_is_needed() {
    check(Mutant::NoSweep, &[Rule::Stuck]);
}

#[test]
fn reading_again_after_a_silence_is_needed() {
    check(Mutant::TrustSilence, &[Rule::BuiltUnclaimed, Rule::AckedUnfinished]);
}

#[test]
fn giving_early_messages_back_is_needed() {
    check(Mutant::AckEarly, &[Rule::AckedUnfinished]);
}

#[test]
fn testing_a_guess_is_needed() {
    let stands_against =
        [Rule::TwoAble, Rule::FinishedRunsAgain, Rule::LiveLeaseTaken, Rule::FencedWrite];
    check(Mutant::BlindGuess, &stands_against);
}

#[test]
fn a_new_name_for_each_try_is_needed() {
    check(Mutant::OneName, &[Rule::OpenedTwice]);
}
