//! What the page keeps, in which order, and what it lets go.

use bus::{Lane, LaneState};
use proto::{Failure, FailureKind, Identity, Incarnation, Priority, RunId, V1};
use stand::examples::{class, entry, finished, job, presence, record, request, running};
use uuid::Uuid;

use super::*;
use crate::queue::QueueView;

const NOW: Timestamp = Timestamp(1_000_500);

fn revision(n: u64) -> Revision {
    format!("{n:040x}").parse().expect("a revision")
}

fn run(repo: &str, n: u64, at: u64, hosts: &[&str]) -> RunRecord {
    let host = |name: &&str| (name.parse().expect("a host"), class("x86_64-linux"));
    RunRecord {
        v: V1,
        run: RunId(Uuid::from_u128(u128::from(at))),
        by: Identity::local(),
        at: Timestamp(at),
        repo: repo.parse().expect("a repo"),
        revision: revision(n),
        git_ref: Some(format!("refs/heads/b{at}")),
        overrides: proto::Overrides::default(),
        hosts: hosts.iter().map(host).collect(),
        excluded: Vec::new(),
        priority: Priority::Normal,
        force: false,
        trace: None,
    }
}

fn shown(model: &Model, repo: &str) -> Vec<(u64, usize)> {
    let repo = repo.parse().expect("a repo");
    let number = |it: &Column| u64::from_str_radix(it.revision.as_str(), 16).expect("a number");
    model.columns_of(&repo).map(|it| (number(it), it.hosts.len())).collect()
}

#[test]
fn commits_stand_by_when_they_were_asked_for_last_and_hold_all_hosts_asked_for() {
    let mut model = Model::default();
    for run in [run("a", 1, 10, &["x"]), run("a", 2, 20, &["x", "y"]), run("b", 3, 5, &["z"])] {
        assert!(model.take_run(&run));
    }
    assert_eq!(shown(&model, "a"), [(2, 2), (1, 1)]);

    // The older commit is asked for again, for another host: it is the newest one now.
    assert!(model.take_run(&run("a", 1, 30, &["y"])));
    assert_eq!(shown(&model, "a"), [(1, 2), (2, 2)]);
    let newest = model.columns_of(&"a".parse().expect("a repo")).next().cloned();
    assert_eq!(newest.and_then(|it| it.git_ref).as_deref(), Some("refs/heads/b30"));
    // A run that is read again changes nothing, and an older one takes no ref away.
    assert!(!model.take_run(&run("a", 1, 30, &["y"])));
    assert!(!model.take_run(&run("a", 1, 10, &["x"])));
    assert_eq!(shown(&model, "b"), [(3, 1)]);
}

#[test]
fn no_repository_takes_the_room_of_another_and_there_is_an_end_to_it() {
    let mut model = Model::default();
    for n in 0..100 {
        model.take_run(&run("busy", n, 1_000 + n, &["x"]));
    }
    model.take_run(&run("quiet", 1, 1, &["x"]));
    assert_eq!(shown(&model, "busy").len(), COLUMNS_KEPT);
    assert_eq!(shown(&model, "busy")[0], (99, 1));
    assert_eq!(shown(&model, "quiet"), [(1, 1)]);

    let names: Vec<String> = (0..JOBS_KEPT).map(|n| format!("h{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    model.take_run(&run("huge", 1, 10_000, &names));
    model.take_run(&run("huge", 2, 20_000, &names));
    assert_eq!(shown(&model, "huge"), [(2, JOBS_KEPT)]);
    assert_eq!(model.unread().len(), JOBS_KEPT);
}

fn queued(host: &str, incarnation: u128) -> Around {
    let (class, priority) = (class("aarch64-linux"), Priority::Normal);
    let incarnation = Incarnation(Uuid::from_u128(incarnation));
    let lane = Lane { class: class.clone(), priority, state: LaneState::Open };
    let subject = JobSubject { class, priority, job: job(host), incarnation };
    Around::of(vec![presence("aarch64-linux")], vec![subject], vec![lane])
}

#[test]
fn what_is_queued_is_read_and_forgotten_when_nobody_has_an_interest_any_more() {
    let mut model = Model::default();
    assert!(model.take_pool(queued("web", 7)));
    assert!(!model.take_pool(queued("web", 7)), "nothing is new");
    let unread: Vec<JobKey> = model.unread().into_iter().map(|(job, _)| job).collect();
    assert_eq!(unread, [job("web")]);
    let seen = Seen { request: entry(Some(request(7, 1))), record: entry(None) };
    model.take_job(job("web"), class("aarch64-linux"), seen);
    assert!(model.unread().is_empty());
    assert_eq!(model.waiting(NOW).len(), 1);

    // A worker has it: it runs, whatever the queue said last.
    let taken = Entry { revision: 2, ..entry(Some(record(7, running()))) };
    assert!(model.take_record(&job("web"), taken.clone()));
    assert!(!model.take_record(&job("web"), taken.clone()), "it was read already");
    let older = Entry { revision: 1, ..taken.clone() };
    assert!(!model.take_record(&job("web"), older), "what is older changes nothing");
    assert_eq!((model.waiting(NOW).len(), model.running(NOW).len()), (0, 1));
    assert_eq!(model.running(NOW)[0].epoch, Epoch(2));
    // Its presence does not say so yet.
    assert!(model.around().workers[0].jobs.is_empty());
    let held: Vec<PresentJob> = model.around_now(NOW).workers.remove(0).jobs;
    assert_eq!(held.iter().map(|it| &it.job).collect::<Vec<_>>(), [&job("web")]);
    let view = QueueView::of(&model.around_now(NOW));
    assert_eq!((view.classes[0].queued(), view.classes[0].building()), (0, 1));

    assert!(!model.take_record(&job("other"), taken), "nobody asked for that one");
    model.take_pool(Around::default());
    assert!(model.status(&job("web"), NOW).is_none());
}

#[test]
fn what_only_a_job_s_own_page_shows_is_not_kept() {
    let failure = Failure {
        message: "é".repeat(10_000),
        drv: Some("/nix/store/x-leaf.drv".into()),
        log_tail: vec!["line".into(); 100],
    };
    let finished = finished(Outcome::Failed { kind: FailureKind::BuildFailed, failure });
    let mut model = Model::default();
    model.take_pool(queued("web", 7));
    let record = entry(Some(record(7, State::Finished(finished))));
    let seen = Seen { request: entry(Some(request(7, 1))), record };
    model.take_job(job("web"), class("aarch64-linux"), seen);

    let status = model.status(&job("web"), NOW).expect("it is kept");
    let failure = status.outcome().and_then(Outcome::failure).expect("a failure");
    assert!(failure.log_tail.is_empty());
    assert!(failure.message.len() <= MESSAGE_BYTES_KEPT + '…'.len_utf8());
    assert!(failure.message.ends_with("é…"));
}
