use std::time::Duration;

use bus::Lane;
use proto::{Incarnation, Phase, worker::PresentJob};
use stand::examples::{class, job, presence};
use uuid::Uuid;

use super::*;

/// The `n`th asking, made `n` seconds after the epoch.
fn asking(n: u64) -> Incarnation {
    Incarnation(Uuid::from_u128((u128::from(n * 1000) << 80) | (0x7 << 76) | (0b10 << 62)))
}

fn queued(host: &str, priority: Priority, n: u64) -> JobSubject {
    JobSubject { class: class("x86_64-linux"), priority, job: job(host), incarnation: asking(n) }
}

fn lane(priority: Priority, state: LaneState) -> Lane {
    Lane { class: class("x86_64-linux"), priority, state }
}

fn has(presence: Presence, host: &str) -> Presence {
    let it = PresentJob { job: job(host), phase: Phase::Build, since: None, progress: None };
    Presence { jobs: vec![it], ..presence }
}

#[test]
fn the_view_counts_what_waits_and_who_could_take_it() {
    let other = JobSubject {
        job: JobKey { repo: "other".parse().expect("a repo"), ..job("x") },
        ..queued("x", Priority::Normal, 3)
    };
    let waiting = vec![
        queued("a", Priority::Normal, 5),
        queued("b", Priority::Normal, 4),
        queued("c", Priority::Normal, 1),
        queued("d", Priority::High, 6),
        other,
    ];
    let named = |name: &str| Presence {
        worker: name.parse().expect("a worker"),
        ..presence("x86_64-linux")
    };
    let workers = vec![
        has(named("w1"), "c"),
        Presence { paused: Some("disk".into()), ..named("w2") },
        Presence { draining: true, ..named("w3") },
        Presence { classes: vec![class("aarch64-linux")], ..named("w4") },
    ];
    let held = LaneState::Paused(Duration::from_secs(60));
    let lanes = vec![
        lane(Priority::High, LaneState::Open),
        lane(Priority::Normal, held),
        lane(Priority::Low, LaneState::Open),
    ];
    let view = QueueView::of(&Around::of(workers, waiting, lanes));
    let [only] = &view.classes[..] else { panic!("one class: {view:#?}") };
    assert_eq!((only.queued(), only.building(), only.free()), (4, 1, 1));
    let [high, normal, low] = &only.lanes[..] else { panic!("three lanes: {only:#?}") };
    assert_eq!((high.queued, normal.queued, normal.building, low.queued), (1, 3, 1, 0));
    assert_eq!((normal.state, &low.oldest), (held, &None));
    let oldest = normal.oldest.as_ref().map(|(job, at)| (job.host.as_str(), at.0));
    assert_eq!(oldest, Some(("x", 3000)), "what is built waits no more");
    let taking: Vec<_> = only.builders.iter().map(|it| (it.worker.as_str(), it.free())).collect();
    assert_eq!(taking, [("w1", 1), ("w2", 0), ("w3", 0)]);
    let nobody: Vec<_> = only.nobody_has.iter().map(|(repo, n)| (repo.as_str(), *n)).collect();
    assert_eq!(nobody, [("other", 1)]);
}

#[test]
fn an_asking_of_somebody_elses_making_waits_since_nobody_knows_when() {
    let forged = JobSubject {
        incarnation: Incarnation(Uuid::from_u128(7)),
        ..queued("a", Priority::Normal, 1)
    };
    let lanes = vec![lane(Priority::Normal, LaneState::Open)];
    let view = QueueView::of(&Around::of(Vec::new(), vec![forged], lanes));
    let normal = &view.classes[0].lanes[1];
    assert_eq!((normal.queued, &normal.oldest), (1, &None));
}
