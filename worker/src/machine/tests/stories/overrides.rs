//! Jobs whose inputs are overridden.

use bus::Entry;
use proto::{InfraKind, Outcome, Overrides, Request};

use super::{
    super::{built, delivered, entry, incarnation, request, settings},
    ID, Story,
};
use crate::{
    build::BuildEnd,
    machine::{
        Machine,
        io::{Answer, Effect, Event, Written},
    },
};

/// The inputs that a request of these tests overrides, by a commit of this repository.
fn overrides(repo: &str) -> Overrides {
    let commit = "89abcdef0123456789abcdef0123456789abcdef";
    let by = format!("{{\"servers\":{{\"repo\":\"{repo}\",\"revision\":\"{commit}\"}}}}");
    serde_json::from_str(&by).expect("overrides")
}

/// What comes of a message whose revision names `named`, and a request for `wanted`.
fn asked_with(named: &Overrides, wanted: &Overrides) -> Story {
    let mut story = Story { machine: Machine::new(settings()), written: None, effects: Vec::new() };
    let mut delivered = delivered(1, "web");
    delivered.subject.job.revision = delivered.subject.job.revision.with(named);
    story.on(0, Event::Tick);
    story.on(0, Event::Pulled(vec![delivered]));
    story.on(0, Event::RecordRead(ID, Answer::Is(Entry::none())));
    let request = Request { overrides: wanted.clone(), ..request(incarnation(1), 1) };
    story.on(0, Event::RequestRead(ID, Answer::Is(entry(request, 1, 0))));
    story
}

#[test]
fn a_build_with_overridden_inputs_says_so_in_full() {
    let overrides = overrides("nixos");
    let mut story = asked_with(&overrides, &overrides);
    story.on(0, Event::RecordWritten(ID, Written::Done(5)));
    let told =
        |effect: &Effect| matches!(effect, Effect::Build { overrides: it, .. } if *it == overrides);
    assert!(story.did(told));
    // A claim that stands asks at once whether it is still wanted.
    let request = Request { overrides: overrides.clone(), ..request(incarnation(1), 1) };
    story.on(1, Event::RequestRead(ID, Answer::Is(entry(request, 1, 0))));
    story.ends(9, BuildEnd::Built(built()));
    assert_eq!(story.write().overrides(), Some(&overrides));
}

#[test]
fn a_revision_that_does_not_name_the_overrides_of_its_request_is_refused() {
    let (some, none) = (overrides("nixos"), Overrides::default());
    for (named, wanted) in [(&none, &some), (&some, &none), (&overrides("other"), &some)] {
        let mut story = asked_with(named, wanted);
        let outcome = story.write().outcome().expect("an end without a build");
        let Outcome::InfraFailed { kind: InfraKind::Refused, failure } = outcome else {
            panic!("{outcome:?}")
        };
        assert!(failure.message.contains("input overrides"), "{failure:?}");
        story.on(0, Event::RecordWritten(ID, Written::Done(5)));
        assert!(story.did(|effect| matches!(effect, Effect::Bury { .. })), "a dead letter");
    }
}

#[test]
fn a_job_whose_overriding_repo_is_unknown_here_is_left_to_others() {
    let elsewhere = overrides("elsewhere");
    let story = asked_with(&elsewhere, &elsewhere);
    assert!(matches!(story.settled(), Some(Effect::Nak(ID, _))));
    assert!(story.written.is_none());
}
