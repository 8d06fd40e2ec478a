//! Requests, statuses, texts and files, on all three servers.

use bytes::Bytes;
use gate::forge::{
    Attached, CommentId, Error, Forge as _, NewPull, PullEdit, PullNumber, PullState, Status,
    StatusState, TEXT_BYTES_MAX,
};
use tests::forge::Persona;

use super::{Desk, PERSONAS, UPDATE};

#[test]
fn request_is_edited_closed_and_read() {
    for persona in PERSONAS {
        let desk = Desk::new(persona);
        let number = desk.opened();
        let edit = PullEdit { title: Some("Update: 2 of 7 fail"), body: None };
        desk.block(desk.client.edit_pull(number, edit)).expect("edited");
        let read = || desk.block(desk.client.pull(number)).expect("an answer").expect("a request");
        let pull = read();
        assert_eq!((pull.title.as_str(), pull.body.as_str()), ("Update: 2 of 7 fail", "It fails."));
        assert_eq!((pull.state, pull.head.as_str()), (PullState::Open, UPDATE));

        for _ in 0..2 {
            desk.block(desk.client.close_pull(number)).expect("closed");
        }
        assert_eq!(read().state, PullState::Closed);
        assert_eq!(desk.block(desk.client.pull(PullNumber(99))).expect("an answer"), None);

        let merged = desk.forge.add_pull(|pull| (pull.merged, pull.open) = (true, false));
        desk.block(desk.client.close_pull(PullNumber(merged))).expect("nothing to do");
    }
}

#[test]
fn request_without_a_change_is_refused_for_good() {
    let desk = Desk::new(Persona::Gitea126);
    desk.repo.set_branch(UPDATE, desk.base.as_str());
    let error = desk.block(desk.client.create_pull(desk.new_pull(&[]))).expect_err("no change");
    assert!(!error.transient() && error.to_string().contains("no changes"), "{error}");
}

#[test]
fn newest_status_of_a_context_stands_last() {
    for persona in PERSONAS {
        let desk = Desk::new(persona);
        for (state, description) in [
            (StatusState::Pending, "3/7 hosts"),
            (StatusState::Error, "undecided"),
            (StatusState::Success, "7/7 hosts"),
        ] {
            let status = Status { state, context: "flake-gate", description, target_url: None };
            desk.block(desk.client.set_status(&desk.candidate, status)).expect("said");
        }
        let said = desk.forge.statuses(desk.candidate.as_str());
        let states: Vec<&str> = said.iter().map(|status| status.state.as_str()).collect();
        assert_eq!(states, ["pending", "error", "success"]);
    }
}

#[test]
fn text_over_the_limit_is_not_even_sent() {
    let desk = Desk::new(Persona::Gitea126);
    let number = desk.opened();
    let (fits, long) = ("x".repeat(TEXT_BYTES_MAX), "x".repeat(TEXT_BYTES_MAX + 1));
    let comment = desk.block(desk.client.create_comment(number, &fits)).expect("a comment");
    desk.forge.forget_seen();

    let new = NewPull { body: &long, ..desk.new_pull(&[]) };
    let edit = PullEdit { title: None, body: Some(&long) };
    for error in [
        desk.block(desk.client.create_comment(number, &long)).expect_err("too long"),
        desk.block(desk.client.edit_comment(comment.id, &long)).expect_err("too long"),
        desk.block(desk.client.edit_pull(number, edit)).expect_err("too long"),
        desk.block(desk.client.create_pull(new)).expect_err("too long"),
    ] {
        assert!(!error.transient() && error.to_string().contains("60001 bytes"), "{error}");
    }
    assert!(desk.forge.seen().is_empty());
}

#[test]
fn attachment_that_is_refused_is_an_outcome() {
    for persona in PERSONAS {
        let desk = Desk::new(persona);
        desk.forge.set(|settings| {
            settings.attachment_types = ".txt,.gz".to_owned();
            settings.attachment_max_size = 1;
        });
        let number = desk.opened();
        let comment = desk.block(desk.client.create_comment(number, "x")).expect("a comment").id;
        let attach = |name: &str, bytes: usize| {
            let content = Bytes::from(vec![0; bytes]);
            desk.block(desk.client.attach(comment, name, content)).expect("an outcome")
        };

        let rules = desk.block(desk.client.attachment_rules()).expect("rules");
        assert_eq!(rules.bytes_max, 1 << 20);
        assert!(rules.allows("web1.log.gz", "application/gzip"));
        assert!(!rules.allows("web1.log.zst", "application/zstd"));
        assert_eq!(attach("web1.log.gz", 1 << 20), Attached::Done);
        let refused = attach("web1.log.zst", 1);
        assert!(matches!(&refused, Attached::TypeRefused { message } if message.contains("type")));
        let refused = attach("web2.log.gz", (1 << 20) + 1);
        assert!(matches!(&refused, Attached::TooLarge { message } if message.contains("limit")));

        let names = desk.block(desk.client.attachments(comment)).expect("names");
        assert_eq!(names, ["web1.log.gz"]);
        let gone = desk.block(desk.client.attachments(CommentId(1))).expect_err("no such comment");
        assert!(matches!(gone, Error::Missing { .. }), "{gone}");
    }
}
