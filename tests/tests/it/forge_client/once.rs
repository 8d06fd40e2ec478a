//! Requests, labels, comments and files: one of each, whatever becomes of the answers.

use bytes::Bytes;
use gate::forge::{Attached, Error, Forge as _, Opened};
use tests::forge::{ALICE, BOT, Fault, On, Persona};

use super::{Desk, MARKER, label, marked};

/// How a creation can go wrong: done or not, and told how.
fn doubts() -> impl Iterator<Item = (bool, Fault)> {
    [Fault::Reset, Fault::status(500), Fault::html(200), Fault::Truncated]
        .into_iter()
        .flat_map(|fault| [(true, fault.clone()), (false, fault)])
        // An answer that breaks off is one of a request that was done.
        .filter(|(done, fault)| *done || !matches!(fault, Fault::Truncated))
}

#[test]
fn creation_of_unknown_outcome_is_not_repeated_blindly() {
    for (done, fault) in doubts() {
        let desk = Desk::new(Persona::Gitea126);
        let number = desk.opened();
        strike(&desk, On::new("POST", "/comments"), done, &fault);
        let error = desk.block(desk.client.create_comment(number, "x")).expect_err("no answer");
        assert!(matches!(error, Error::Unclear { .. }), "{fault:?}: {error}");
        assert_eq!(desk.forge.count(&On::new("POST", "/comments")), 1);
        assert_eq!(desk.forge.comments(number.0).len(), usize::from(done));
    }
}

#[test]
fn creation_that_was_turned_away_is_repeated() {
    let desk = Desk::new(Persona::Gitea126);
    let number = desk.opened();
    desk.forge.fault(On::new("POST", "/comments"), 2, Fault::status(429));
    desk.block(desk.client.create_comment(number, "x")).expect("a comment");
    assert_eq!(desk.forge.comments(number.0).len(), 1);
}

#[test]
fn doubt_never_makes_two() {
    for (done, fault) in doubts() {
        for persona in [Persona::Gitea126, Persona::Forgejo] {
            let desk = Desk::new(persona);
            for path in ["/pulls", "/labels", "/comments", "/assets"] {
                strike(&desk, On::new("POST", path), done, &fault);
            }
            let wanted = [label("infra"), label("timeout")];

            let labels = desk.block(desk.client.ensure_labels(&wanted)).expect("labels");
            let opened = desk.block(desk.client.create_pull(desk.new_pull(&labels)));
            let (Opened::Created(pull) | Opened::Exists(pull)) = opened.expect("a request");
            let comment = desk.client.ensure_comment(pull.number, marked(MARKER));
            let comment = desk.block(comment).expect("a comment");
            let log = Bytes::from_static(b"log");
            let attached = desk.client.ensure_attachment(comment, "web1.log.gz", log);
            assert_eq!(desk.block(attached).expect("a file"), Attached::Done);

            let context = format!("{persona:?} {fault:?} done: {done}");
            assert_eq!(desk.forge.labels(), ["infra", "timeout"], "{context}");
            let pulls = desk.forge.pulls();
            assert_eq!(pulls.len(), 1, "{context}");
            assert_eq!(pulls[0].labels, [1, 2], "{context}");
            let comments = desk.forge.comments(pull.number.0);
            assert_eq!(comments.len(), 1, "{context}");
            assert_eq!(comments[0].files.len(), 1, "{context}");
        }
    }
}

fn strike(desk: &Desk, on: On, done: bool, fault: &Fault) {
    match done {
        true => desk.forge.lose(on, 1, fault.clone()),
        false => desk.forge.fault(on, 1, fault.clone()),
    }
}

#[test]
fn all_of_it_twice_changes_nothing_more() {
    let desk = Desk::new(Persona::Gitea126);
    let wanted = [label("build-failure"), label("needs-review")];
    for round in 0..2 {
        let labels = desk.block(desk.client.ensure_labels(&wanted)).expect("labels");
        let opened = desk.block(desk.client.create_pull(desk.new_pull(&labels)));
        let number = match opened.expect("a request") {
            Opened::Created(pull) if round == 0 => pull.number,
            Opened::Exists(pull) if round == 1 => pull.number,
            opened => panic!("round {round}: {opened:?}"),
        };
        desk.block(desk.client.add_labels(number, &labels)).expect("labelled");
        let comment = desk.block(desk.client.ensure_comment(number, marked(MARKER)));
        let comment = comment.expect("a comment");
        let log = Bytes::from_static(b"log");
        let attached = desk.client.ensure_attachment(comment, "web1.log.gz", log);
        desk.block(attached).expect("a file");
    }
    assert_eq!(desk.forge.labels().len(), 2);
    assert_eq!(desk.forge.labels_of(1), ["build-failure", "needs-review"]);
    let comments = desk.forge.comments(1);
    assert_eq!((comments.len(), comments[0].files.len(), comments[0].edits), (1, 1, 0));
    assert_eq!(comments[0].files[0].content, "log");
}

#[test]
fn marked_comment_is_ours_and_edited_in_place() {
    let desk = Desk::new(Persona::Forgejo);
    let number = desk.opened();
    let quoted = desk.forge.add_comment(number.0, ALICE, &format!("> {MARKER}\nwhy?"));
    let copied = desk.forge.add_comment(number.0, ALICE, &format!("{MARKER} mine"));
    let other = desk.forge.add_comment(number.0, BOT, "<!-- flake-gate:2 -->");
    let ensure = |body: &str| {
        let comment = desk.client.ensure_comment(number, marked(body));
        desk.block(comment).expect("a comment")
    };

    let first = ensure(&format!("{MARKER}\n1 of 2\n"));
    assert!(![quoted, copied, other].contains(&first.0));
    assert_eq!(ensure(&format!("{MARKER}\n1 of 2")), first, "the same text is left alone");
    assert_eq!(ensure(&format!("{MARKER}\n2 of 2")), first);

    let comments = desk.forge.comments(number.0);
    assert_eq!(comments.len(), 4);
    assert_eq!(
        (comments[3].body.as_str(), comments[3].edits),
        ("<!-- flake-gate:1 -->\n2 of 2", 1)
    );
    let edits = comments[..3].iter().map(|comment| comment.edits).sum::<usize>();
    assert_eq!(edits, 0, "nobody else's is touched");
}
