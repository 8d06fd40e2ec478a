use proto::{Phase, worker::PresentJob};
use uuid::Uuid;

use super::*;
use crate::examples::{class, job, presence};

/// The `n`th asking, made `n` seconds after the epoch.
fn asking(n: u64) -> Incarnation {
    Incarnation(Uuid::from_u128((u128::from(n * 1000) << 80) | (0x7 << 76) | (0b10 << 62)))
}

fn queued(host: &str, priority: Priority, n: u64) -> JobSubject {
    JobSubject { class: class("x86_64-linux"), priority, job: job(host), incarnation: asking(n) }
}

fn has(presence: Presence, host: &str) -> Presence {
    let it = PresentJob { job: job(host), phase: Phase::Build, since: None, progress: None };
    Presence { jobs: vec![it], ..presence }
}

#[test]
fn a_job_has_a_place_by_urgency_and_age_and_what_is_built_has_none() {
    let waiting = vec![
        queued("old", Priority::Normal, 1),
        queued("new", Priority::Normal, 9),
        queued("urgent", Priority::High, 8),
        queued("late", Priority::Low, 0),
        queued("built", Priority::High, 2),
        // Asked for at a higher priority since: it does not wait twice.
        queued("late", Priority::High, 0),
    ];
    let around = Around::of(vec![has(presence("x86_64-linux"), "built")], waiting, Vec::new());
    let place = |host: &str, n| around.place(&job(host), asking(n)).map(|it| it.position);
    assert_eq!(place("late", 0), Some(1));
    assert_eq!(place("urgent", 8), Some(2));
    assert_eq!(place("old", 1), Some(3));
    assert_eq!(place("new", 9), Some(4));
    assert_eq!(place("built", 2), None);
    assert_eq!(place("old", 9), None, "an older asking is not this one");

    // What nobody can take is not waited for.
    let job_of_other = JobKey { repo: "other".parse().expect("a repo"), ..job("x") };
    let other = JobSubject { job: job_of_other.clone(), ..queued("x", Priority::High, 1) };
    let mine = Presence { repos: vec![job("old").repo], ..presence("x86_64-linux") };
    let both = Around::of(vec![mine], vec![other, queued("old", Priority::Low, 5)], Vec::new());
    assert_eq!(both.place(&job("old"), asking(5)), Some(Place { position: 1, of: 1 }));
    assert_eq!(both.place(&job_of_other, asking(1)), None);

    // Its record says that it is taken; no worker has told so far.
    let around = around.without(&[&job("late")].into());
    let place = |host: &str, n| around.place(&job(host), asking(n));
    assert_eq!(place("late", 0), None);
    assert_eq!(place("urgent", 8), Some(Place { position: 1, of: 3 }));
    assert_eq!(place("new", 9), Some(Place { position: 3, of: 3 }));
}
