use proto::{InfraKind, Outcome, V1};
use stand::{
    Around,
    examples::{built, class, entry, finished, job, record, request, running, worker},
};
use uuid::Uuid;

use super::*;

fn asking(n: u128) -> Incarnation {
    Incarnation(Uuid::from_u128(n))
}

fn event(of: u128, epoch: u64, at: u64, what: What) -> JobEvent {
    let (job, worker, incarnation) = (job("web"), worker(), asking(of));
    JobEvent { v: V1, at: Timestamp(at), job, incarnation, epoch: Epoch(epoch), worker, what }
}

pub(crate) fn story(
    request: Option<proto::Request>,
    record: Option<Record>,
    events: &[JobEvent],
) -> Story {
    let seen = Seen { request: entry(request), record: entry(record) };
    let (job, class) = (job("web"), class("x86_64-linux"));
    let look = Look { around: &Around::of(Vec::new(), Vec::new(), Vec::new()), now: Timestamp(0) };
    let status = HostStatus::of(job, &class, &seen, look);
    Story::of(status, seen, events)
}

/// Built at the second try, and asked for again.
pub(crate) fn disk_full_then_built() -> Story {
    let disk = What::Retrying {
        reason: InfraKind::DiskFull,
        message: "no space".into(),
        delay_ms: 10_000,
    };
    let events = [
        event(1, 1, 960_000, What::Claimed),
        event(1, 1, 965_000, What::Phase { phase: Phase::Fetch }),
        event(1, 1, 970_000, disk),
        event(1, 2, 980_000, What::Claimed),
        event(1, 2, 1_000_000, What::Finished { outcome: "built".into() }),
    ];
    story(Some(request(2, 1)), None, &events)
}

fn ends(asking: &Asking) -> Vec<(u64, &str)> {
    asking.attempts.iter().map(|it| (it.epoch.0, it.end.name())).collect()
}

#[test]
fn every_attempt_is_told_with_its_end_and_older_askings_come_first() {
    let disk = What::Retrying {
        reason: InfraKind::DiskFull,
        message: "no space".into(),
        delay_ms: 10_000,
    };
    let outcome = || "built".to_owned();
    let events = [
        event(1, 1, 100, What::Claimed),
        event(1, 1, 200, What::Phase { phase: Phase::Fetch }),
        event(1, 1, 300, disk),
        event(1, 2, 400, What::Claimed),
        event(1, 2, 500, What::HandedBack),
        event(1, 3, 600, What::Claimed),
        event(1, 3, 900, What::Finished { outcome: outcome() }),
        event(1, 3, 950, What::Late { outcome: outcome() }),
        event(2, 4, 1100, What::Claimed),
    ];
    let story = story(Some(request(2, 1)), None, &events);
    let [old, new] = &story.askings[..] else { panic!("two askings: {story:#?}") };
    assert_eq!(ends(old), [(1, "disk-full"), (2, "handed-back"), (3, "built")]);
    assert_eq!(old.end, Some((outcome(), Timestamp(900))));
    let first = &old.attempts[0];
    assert_eq!(
        (first.ended, &first.phases[..]),
        (Some(Timestamp(300)), &[(Phase::Fetch, Timestamp(200))][..])
    );
    assert!(matches!(&first.end, End::Infra { message, .. } if message == "no space"));
    assert_eq!((ends(new), &new.end), (vec![(4, "unknown")], &None));
    assert_eq!(story.wishes.len(), 1);
}

#[test]
fn the_record_counts_where_events_say_less_or_something_else() {
    // The record's attempts are epoch 1, lost, and epoch 2, which goes on or has finished.
    let events = [event(1, 1, 100, What::Claimed)];
    let now = story(Some(request(1, 1)), Some(record(1, running())), &events);
    assert_eq!(ends(&now.askings[0]), [(1, "worker-lost"), (2, "running")]);
    let state = State::Finished(finished(built(false)));
    let done = story(None, Some(record(1, state)), &[]);
    assert_eq!(ends(&done.askings[0]), [(1, "worker-lost"), (2, "built")]);
    assert_eq!(done.askings[0].end.as_ref().map(|(name, _)| name.as_str()), Some("built"));
    let state = State::Finished(finished(Outcome::Cancelled));
    let Record { attempts, .. } = record(1, running());
    let ended = Record { epoch: Epoch(3), attempts, ..record(1, state) };
    let closed = story(None, Some(ended), &[]);
    assert_eq!(ends(&closed.askings[0]), [(1, "worker-lost"), (2, "unknown")]);
    assert_eq!(closed.askings[0].end.as_ref().map(|(name, _)| name.as_str()), Some("cancelled"));
}

#[test]
fn no_attempt_lasts_into_the_next_one() {
    let events = [
        // Killed: nobody told its end.
        event(1, 1, 1_000, What::Claimed),
        // Frozen: it told so long after another had taken over.
        event(1, 2, 5_000, What::Claimed),
        event(1, 3, 9_000, What::Claimed),
        event(1, 2, 20_000, What::Fenced),
        event(1, 3, 30_000, What::Finished { outcome: "built".into() }),
    ];
    let mut story = story(Some(request(1, 1)), None, &events);
    story.askings[0].asked = Some(Timestamp(500));
    let ended = story.askings[0].attempts.iter().map(|it| it.ended.map(|at| at.0));
    assert_eq!(ended.collect::<Vec<_>>(), [None, Some(9_000), Some(30_000)]);
    let ms = Duration::from_millis;
    let expected = Times { queued: ms(500), building: ms(25_000), between: ms(4_000) };
    assert_eq!(story.times(Timestamp(99_000)), expected);
}

#[test]
fn time_is_told_as_queue_building_and_in_between() {
    let ms = Duration::from_millis;
    let lost = What::HandedBack;
    let events = [
        event(1, 1, 1_000, What::Claimed),
        event(1, 1, 3_000, lost),
        event(1, 2, 7_000, What::Claimed),
        event(1, 2, 8_000, What::Finished { outcome: "built".into() }),
    ];
    let mut story = story(Some(request(1, 1)), None, &events);
    story.askings[0].asked = Some(Timestamp(400));
    let expected = Times { queued: ms(600), building: ms(3_000), between: ms(4_000) };
    assert_eq!(story.times(Timestamp(99_000)), expected, "after the end no time goes by");
    let mut waiting = story.askings[0].clone();
    (waiting.attempts, waiting.end) = (Vec::new(), None);
    let expected = Times { queued: ms(5_000), ..Times::default() };
    assert_eq!(waiting.times(Timestamp(5_400)), expected);
    // A worker whose clock is behind the asker's.
    waiting.asked = Some(Timestamp(9_000));
    assert_eq!(waiting.times(Timestamp(5_400)), Times::default());
}
