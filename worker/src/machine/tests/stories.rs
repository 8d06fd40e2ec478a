//! The life of one job, told event by event.

mod overrides;

use std::{collections::BTreeSet, time::Duration};

use bus::Entry;
use proto::{
    Failure, FailureKind, InfraKind, Outcome, Phase, Record, State, event::What, record::AttemptEnd,
};

use super::{LEASE, at, built, claimed, delivered, entry, incarnation, request, settings, subject};
use crate::{
    build::{BuildEnd, Ended, Notice},
    machine::{
        Machine, Settings,
        io::{Answer, DeliveryId, Effect, Event, Written},
    },
};

const ID: DeliveryId = DeliveryId(1);

/// A machine, the revision of the only record, and what it last wanted written.
struct Story {
    machine: Machine,
    written: Option<Record>,
    effects: Vec<Effect>,
}

impl Story {
    /// A machine that has pulled the job of host `web`.
    fn begin() -> Self {
        let machine = Machine::new(settings());
        let mut story = Self { machine, written: None, effects: Vec::new() };
        story.on(0, Event::Tick);
        story.on(0, Event::Pulled(vec![delivered(1, "web")]));
        assert!(story.did(|effect| matches!(effect, Effect::ReadRecord(ID, _))));
        story
    }

    /// … that holds the job's lease since second 0 and builds.
    fn held() -> Self {
        let mut story = Self::begin();
        story.on(0, Event::RecordRead(ID, Answer::Is(Entry::none())));
        assert!(story.did(|effect| matches!(effect, Effect::ReadRequest(ID, _))));
        story.reads_request(0, 1);
        story.on(0, Event::RecordWritten(ID, Written::Done(5)));
        assert!(story.did(|effect| matches!(effect, Effect::Build { .. })));
        story.reads_request(0, 1);
        story
    }

    fn on(&mut self, seconds: u64, event: Event) {
        self.effects = self.machine.step(at(seconds), event);
        for effect in &self.effects {
            if let Effect::WriteRecord { record, .. } = effect {
                self.written = Some((**record).clone());
            }
        }
    }

    fn did(&self, what: impl Fn(&Effect) -> bool) -> bool {
        self.effects.iter().any(what)
    }

    fn reads_request(&mut self, seconds: u64, wishes: usize) {
        let read = Answer::Is(entry(request(incarnation(1), wishes), 1, 0));
        self.on(seconds, Event::RequestRead(ID, read));
    }

    fn ends(&mut self, seconds: u64, end: BuildEnd) {
        self.on(seconds, Event::Ended(ID, Ended { end, phases: Vec::new() }));
    }

    #[track_caller]
    fn write(&self) -> &Record {
        assert!(self.did(|effect| matches!(effect, Effect::WriteRecord { .. })), "no write");
        self.written.as_ref().expect("a write")
    }

    fn settled(&self) -> Option<&Effect> {
        let settles = |effect: &&Effect| {
            matches!(effect, Effect::Nak(..) | Effect::Abandon(_) | Effect::Ack(_))
        };
        self.effects.iter().find(settles)
    }

    fn told(&self, kind: &str) -> bool {
        self.did(|effect| matches!(effect, Effect::Tell { what, .. } if what.kind() == kind))
    }
}

fn infra() -> BuildEnd {
    let failure = Failure::message("no space left on device");
    BuildEnd::Infra { kind: InfraKind::DiskFull, failure }
}

#[test]
fn a_build_is_acked_only_after_its_finish_stands() {
    let mut story = Story::held();
    story.ends(9, BuildEnd::Built(built()));
    assert_eq!(story.write().outcome(), Some(&Outcome::Built(built())));
    assert!(story.settled().is_none());
    let noted = |effect: &Effect| matches!(effect, Effect::NoteGood(..));
    assert!(!story.did(noted), "it is not the last good one before it is a fact");
    story.on(9, Event::RecordWritten(ID, Written::Done(6)));
    assert!(matches!(story.settled(), Some(Effect::Ack(ID))));
    assert!(story.did(noted));
    assert!(story.told("finished"));
    story.on(9, Event::Acked(ID, true));
    assert!(story.machine.jobs().is_empty());
}

#[test]
fn a_failed_build_is_an_outcome_and_is_not_retried() {
    let mut story = Story::held();
    let failure = Failure::message("builder failed");
    story.ends(9, BuildEnd::Failed { kind: FailureKind::BuildFailed, failure });
    assert_eq!(story.write().outcome().map(Outcome::name), Some("build-failed"));
    story.on(9, Event::RecordWritten(ID, Written::Done(6)));
    assert!(!story.did(|effect| matches!(effect, Effect::NoteGood(..))));
}

#[test]
fn a_heartbeat_renews_the_lease_and_then_asks_whether_the_job_is_wanted() {
    let mut story = Story::held();
    assert_eq!(story.machine.deadline(), Some(LEASE / 4));
    story.on(15, Event::Tick);
    assert!(story.did(|effect| matches!(effect, Effect::Progress(ID))));
    assert!(matches!(story.write().state, State::Running(_)));
    story.on(15, Event::RecordWritten(ID, Written::Done(6)));
    assert!(story.did(|effect| matches!(effect, Effect::ReadRequest(ID, _))));
    story.reads_request(15, 1);
    assert!(story.effects.is_empty());
}

#[test]
fn a_phase_is_written_at_once_and_carries_the_claim() {
    let mut story = Story::held();
    story.on(1, Event::Noticed(ID, Notice::Phase(Phase::Evaluate)));
    let running = super::running(story.write()).clone();
    assert_eq!((running.phase, super::epoch(story.write()).0), (Phase::Evaluate, 1));
    // One write at a time: the next phase waits for the answer.
    story.on(2, Event::Noticed(ID, Notice::Phase(Phase::Build)));
    assert!(!story.did(|effect| matches!(effect, Effect::WriteRecord { .. })));
    story.on(3, Event::RecordWritten(ID, Written::Done(7)));
    assert_eq!(super::running(story.write()).phase, Phase::Build);
}

#[test]
fn a_withdrawn_wish_kills_the_build_and_only_then_reads_cancelled() {
    let mut story = Story::held();
    story.on(1, Event::CancelPoked(subject("web", incarnation(1)).job));
    assert!(story.did(|effect| matches!(effect, Effect::ReadRequest(ID, _))));
    story.reads_request(1, 0);
    assert!(story.did(|effect| matches!(effect, Effect::Kill(ID))));
    assert!(!story.did(|effect| matches!(effect, Effect::WriteRecord { .. })));
    // A cancel is tested before how the killed build looks.
    let failure = Failure::message("killed by signal 15");
    story.ends(3, BuildEnd::Failed { kind: FailureKind::BuildFailed, failure });
    assert_eq!(story.write().outcome(), Some(&Outcome::Cancelled));
}

#[test]
fn a_wish_that_went_before_the_claim_stood_cancels_the_fastest_build() {
    let mut story = Story::begin();
    story.on(0, Event::RecordRead(ID, Answer::Is(Entry::none())));
    story.reads_request(0, 1);
    story.on(0, Event::RecordWritten(ID, Written::Done(5)));
    assert!(story.did(|effect| matches!(effect, Effect::ReadRequest(ID, _))));
    story.ends(0, BuildEnd::Built(built()));
    assert!(!story.did(|effect| matches!(effect, Effect::WriteRecord { .. })), "not unseen");
    story.reads_request(0, 0);
    assert_eq!(story.write().outcome(), Some(&Outcome::Cancelled));
}

#[test]
fn an_end_is_not_held_up_by_a_request_that_nobody_can_read() {
    let mut story = Story::begin();
    story.on(0, Event::RecordRead(ID, Answer::Is(Entry::none())));
    story.reads_request(0, 1);
    story.on(0, Event::RecordWritten(ID, Written::Done(5)));
    story.ends(0, BuildEnd::Built(built()));
    story.on(0, Event::RequestRead(ID, Answer::None));
    assert_eq!(story.write().outcome(), Some(&Outcome::Built(built())));
}

#[test]
fn a_frozen_worker_that_wakes_finds_another_epoch_and_writes_nothing() {
    let mut story = Story::held();
    story.on(100, Event::Tick);
    assert!(!story.did(|effect| matches!(effect, Effect::Progress(_))), "not its message any more");
    story.on(100, Event::RecordWritten(ID, Written::Conflict));
    let first = claimed(None, incarnation(1), 1);
    let taken = claimed(Some(&first), incarnation(1), 2);
    story.on(100, Event::RecordRead(ID, Answer::Is(entry(taken, 9, 70))));
    assert!(matches!(story.settled(), Some(Effect::Abandon(ID))));
    assert!(story.did(|effect| matches!(effect, Effect::Kill(ID))));
    assert!(story.told("fenced"));
    story.ends(101, BuildEnd::Built(built()));
    let silent = |effect: &Effect| matches!(effect, Effect::Pull(..) | Effect::Tell { .. });
    assert!(story.effects.iter().all(silent), "{:?}", story.effects);
    assert!(story.machine.jobs().is_empty());
}

#[test]
fn a_finish_without_answer_is_resolved_by_reading_again() {
    let mut story = Story::held();
    story.ends(9, BuildEnd::Built(built()));
    let finished = story.write().clone();
    story.on(14, Event::RecordWritten(ID, Written::NoAnswer));
    assert_eq!(story.machine.deadline(), Some(Duration::from_secs(15)));
    story.on(15, Event::Tick);
    assert!(story.did(|effect| matches!(effect, Effect::ReadRecord(ID, _))));
    // It had landed: it is mine, and nothing is written twice.
    story.on(15, Event::RecordRead(ID, Answer::Is(entry(finished, 6, 9))));
    assert!(matches!(story.settled(), Some(Effect::Ack(ID))));

    // It had not: it is written again over the revision that was read.
    let mut story = Story::held();
    story.ends(9, BuildEnd::Built(built()));
    story.on(14, Event::RecordWritten(ID, Written::NoAnswer));
    story.on(15, Event::Tick);
    let mine = claimed(None, incarnation(1), 1);
    story.on(15, Event::RecordRead(ID, Answer::Is(entry(mine, 5, 0))));
    assert!(story.did(|effect| matches!(effect, Effect::WriteRecord { expected: 5, .. })));
}

#[test]
fn an_orphaned_build_goes_on_for_its_grace_and_is_leased_again() {
    let mut story = Story::held();
    story.on(15, Event::Tick);
    story.on(20, Event::RecordWritten(ID, Written::NoAnswer));
    for second in [21, 27, 33, 200, 500] {
        story.on(second, Event::Tick);
        assert!(!story.did(|effect| matches!(effect, Effect::Kill(_))));
        story.on(second, Event::RecordRead(ID, Answer::None));
    }
    story.on(600, Event::Tick);
    let mine = claimed(None, incarnation(1), 1);
    story.on(600, Event::RecordRead(ID, Answer::Is(entry(mine, 5, 0))));
    assert!(matches!(story.write().state, State::Running(_)));
}

#[test]
fn an_orphaned_build_is_given_up_after_its_grace() {
    let mut story = Story::held();
    story.on(15, Event::Tick);
    story.on(20, Event::RecordWritten(ID, Written::NoAnswer));
    story.on(60 + 901, Event::Tick);
    assert!(matches!(story.settled(), Some(Effect::Abandon(ID))));
    assert!(story.did(|effect| matches!(effect, Effect::Kill(ID))));
}

#[test]
fn a_claim_without_answer_builds_only_when_the_record_is_mine() {
    let unsure = || {
        let mut story = Story::begin();
        story.on(0, Event::RecordRead(ID, Answer::Is(Entry::none())));
        story.reads_request(0, 1);
        story.on(5, Event::RecordWritten(ID, Written::NoAnswer));
        story.on(6, Event::Tick);
        story
    };
    let mut story = unsure();
    let mine = claimed(None, incarnation(1), 1);
    story.on(6, Event::RecordRead(ID, Answer::Is(entry(mine, 5, 0))));
    assert!(story.did(|effect| matches!(effect, Effect::Build { .. })));
    // An older one of this life, under the same epoch.
    let mut former = claimed(None, incarnation(1), 1);
    let State::Running(running) = &mut former.state else { panic!("a claim is running") };
    running.claim = 7;
    let others = claimed(None, incarnation(1), 2);
    for other in [Entry::none(), entry(others, 5, 0), entry(former, 5, 0)] {
        let mut story = unsure();
        story.on(6, Event::RecordRead(ID, Answer::Is(other)));
        assert!(matches!(story.settled(), Some(Effect::Nak(ID, _))));
        assert!(!story.did(|effect| matches!(effect, Effect::Build { .. })));
    }
}

#[test]
fn an_infrastructure_fault_waits_and_is_tried_again() {
    let mut story = Story::held();
    story.ends(9, infra());
    let State::Waiting(waiting) = story.write().state.clone() else { panic!("not waiting") };
    assert!(waiting.delay_ms <= 10_000);
    assert!(matches!(waiting.reason, AttemptEnd::Infra { kind: InfraKind::DiskFull, .. }));
    story.on(9, Event::RecordWritten(ID, Written::Done(6)));
    let delay = Duration::from_millis(waiting.delay_ms);
    assert!(matches!(story.settled(), Some(Effect::Nak(ID, after)) if *after == delay));
    assert!(story.told("retrying"));
}

#[test]
fn the_last_infrastructure_fault_is_a_result_and_a_dead_letter() {
    let mut story = Story::begin();
    let mut before = claimed(None, incarnation(1), 2);
    before = claimed(Some(&before), incarnation(1), 2);
    story.on(99, Event::RecordRead(ID, Answer::Is(entry(before, 4, 0))));
    story.reads_request(99, 1);
    story.on(99, Event::RecordWritten(ID, Written::Done(5)));
    story.reads_request(99, 1);
    story.ends(120, infra());
    assert_eq!(story.write().outcome().map(Outcome::name), Some("infra-failed"));
    story.on(120, Event::RecordWritten(ID, Written::Done(6)));
    assert!(story.did(|effect| matches!(effect, Effect::Bury { .. })));
    assert!(story.settled().is_none(), "the letter first");
    story.on(121, Event::Buried(ID, false));
    story.on(122, Event::Tick);
    assert!(story.did(|effect| matches!(effect, Effect::Bury { .. })), "tried again");
    story.on(123, Event::Buried(ID, true));
    assert!(matches!(story.settled(), Some(Effect::Ack(ID))));
}

#[test]
fn a_drain_lets_the_build_finish_within_its_time() {
    let mut story = Story::held();
    story.on(10, Event::Drain);
    assert!(story.did(|effect| matches!(effect, Effect::StopPull)));
    story.on(10, Event::Pulled(Vec::new()));
    story.ends(200, BuildEnd::Built(built()));
    story.on(200, Event::RecordWritten(ID, Written::Done(6)));
    story.on(200, Event::Acked(ID, true));
    assert!(story.did(|effect| matches!(effect, Effect::Exit)));
}

#[test]
fn a_drain_that_takes_too_long_hands_the_job_back_without_an_attempt() {
    let mut story = Story::held();
    story.on(10, Event::Drain);
    story.on(10, Event::Pulled(Vec::new()));
    story.on(310, Event::Tick);
    assert!(story.did(|effect| matches!(effect, Effect::Kill(ID))));
    story.on(310, Event::RecordWritten(ID, Written::Done(6)));
    story.reads_request(310, 1);
    story.ends(311, BuildEnd::Stopped);
    let State::Waiting(waiting) = &story.write().state else { panic!("not waiting") };
    assert_eq!((waiting.delay_ms, &waiting.reason), (0, &AttemptEnd::HandedBack));
    assert_eq!(story.write().attempts_used(incarnation(1)), 0);
    story.on(311, Event::RecordWritten(ID, Written::Done(7)));
    assert!(matches!(story.settled(), Some(Effect::Nak(ID, Duration::ZERO))));
    assert!(story.did(|effect| matches!(effect, Effect::Exit)));
}

#[test]
fn a_build_that_waits_for_a_lock_lends_its_slot() {
    let mut settings = settings();
    settings.slots = 1;
    let mut story = Story::held();
    story.machine.settings = settings;
    story.on(1, Event::Noticed(ID, Notice::Idle(true)));
    // The pull that is open already counts for the lent slot.
    story.on(1, Event::Pulled(vec![delivered(2, "db")]));
    assert_eq!(story.machine.jobs().len(), 2);
    assert!(!story.did(|effect| matches!(effect, Effect::Pull(..))));
}

#[test]
fn the_result_that_is_too_large_is_written_without_its_excerpt() {
    let mut story = Story::held();
    let failure = Failure { log_tail: vec!["x".into()], ..Failure::message("m") };
    story.ends(9, BuildEnd::Failed { kind: FailureKind::BuildFailed, failure });
    story.on(9, Event::RecordWritten(ID, Written::Refused));
    story.on(10, Event::Tick);
    let mine = claimed(None, incarnation(1), 1);
    story.on(10, Event::RecordRead(ID, Answer::Is(entry(mine, 5, 0))));
    let failure = story.write().outcome().and_then(Outcome::failure).expect("a failure");
    assert_eq!((failure.message.as_str(), failure.log_tail.len()), ("m", 0));
}

#[test]
fn what_is_told_names_what_happened() {
    let mut story = Story::begin();
    story.on(0, Event::RecordRead(ID, Answer::Is(Entry::none())));
    story.reads_request(0, 1);
    story.on(0, Event::RecordWritten(ID, Written::Done(5)));
    assert!(matches!(
        story.effects.iter().find(|effect| matches!(effect, Effect::Tell { .. })),
        Some(Effect::Tell { what: What::Claimed, epoch, .. }) if epoch.0 == 1
    ));
}

#[test]
fn two_copies_in_one_worker_never_share_a_claim() {
    // The queue holds the job at two priorities, and the first claim's answer is lost: a second
    // claim of this instance would have the same epoch, and the first would take it for its own.
    let mut story = Story::begin();
    let copy = DeliveryId(2);
    story.on(0, Event::Pulled(vec![delivered(2, "web")]));
    story.on(0, Event::RecordRead(ID, Answer::Is(Entry::none())));
    story.reads_request(0, 1);
    story.on(0, Event::RecordRead(copy, Answer::Is(Entry::none())));
    story.on(5, Event::RecordWritten(ID, Written::NoAnswer));

    let wanted = Answer::Is(entry(request(incarnation(1), 1), 1, 0));
    story.on(5, Event::RequestRead(copy, wanted));

    assert!(story.did(|effect| matches!(effect, Effect::Nak(id, _) if *id == copy)));
    assert!(!story.did(|effect| matches!(effect, Effect::WriteRecord { .. })));
}

#[test]
fn a_drain_does_not_wait_for_ever_for_a_broker_that_is_away() {
    let mut story = Story::held();
    story.on(10, Event::Drain);
    story.on(10, Event::Pulled(Vec::new()));
    story.on(310, Event::Tick);
    story.on(310, Event::RecordWritten(ID, Written::NoAnswer));
    story.ends(311, BuildEnd::Stopped);
    for second in 312..340 {
        story.on(second, Event::Tick);
        story.on(second, Event::RecordRead(ID, Answer::None));
        assert!(!story.did(|effect| matches!(effect, Effect::Exit)), "at {second} s");
    }
    story.on(340, Event::Tick);
    assert!(matches!(story.settled(), Some(Effect::Abandon(ID))));
    assert!(story.did(|effect| matches!(effect, Effect::Exit)));
}

#[test]
fn what_a_lost_claim_built_is_told_and_not_written() {
    let mut story = Story::held();
    story.on(15, Event::Tick);
    story.on(15, Event::RecordWritten(ID, Written::Conflict));
    let other = claimed(Some(&claimed(None, incarnation(1), 1)), incarnation(1), 2);
    story.on(15, Event::RecordRead(ID, Answer::Is(entry(other, 9, 15))));
    assert!(story.told("fenced"));
    story.ends(16, BuildEnd::Built(built()));
    assert!(story.told("late"));
    assert!(!story.did(|effect| matches!(effect, Effect::WriteRecord { .. } | Effect::Ack(_))));
}

#[test]
fn cancel_pokes_do_not_keep_the_lease_from_being_renewed() {
    let mut story = Story::held();
    let poke = || Event::CancelPoked(subject("web", incarnation(1)).job);
    story.on(14, poke());
    story.on(15, Event::Tick);
    story.on(15, poke());
    story.reads_request(15, 1);
    assert!(story.did(|effect| matches!(effect, Effect::WriteRecord { .. })), "the lease first");
    story.on(15, poke());
    story.on(15, Event::RecordWritten(ID, Written::Done(6)));
    assert!(story.did(|effect| matches!(effect, Effect::ReadRequest(ID, _))), "then the request");
}

#[test]
fn a_job_of_a_repo_that_is_not_in_the_config_is_left_to_others() {
    let settings = Settings { repos: BTreeSet::new(), ..settings() };
    let machine = Machine::new(settings);
    let mut story = Story { machine, written: None, effects: Vec::new() };
    story.on(0, Event::Tick);
    for told in [true, false] {
        story.on(0, Event::Pulled(vec![delivered(1, "web")]));
        story.on(0, Event::RecordRead(ID, Answer::Is(Entry::none())));
        story.reads_request(0, 1);
        let refused = |effect: &&Effect| {
            matches!(effect, Effect::Tell { what: What::Refused { reason }, .. }
                if reason == "this worker's config has no [repos.nixos]")
        };
        assert_eq!(story.effects.iter().filter(refused).count(), usize::from(told), "only once");
        assert!(matches!(story.settled(), Some(Effect::Nak(ID, delay)) if !delay.is_zero()));
        assert!(story.written.is_none(), "and costs no attempt");
    }
}
