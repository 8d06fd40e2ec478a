//! Lists over pages, and words that another version uses.

use gate::forge::{Forge as _, LabelId, Opened, PullState};
use tests::forge::{BOT, Fault, On, Persona};

use super::{Desk, UPDATE, label};

#[test]
fn request_among_51_is_found_on_the_last_page_whatever_a_page_holds() {
    for (persona, page_max, total_count) in
        [(Persona::Gitea126, 50, true), (Persona::Gitea125, 20, false), (Persona::Forgejo, 7, true)]
    {
        let desk = Desk::new(persona);
        desk.forge.set(|settings| {
            settings.page_max = page_max;
            settings.total_count = total_count;
            settings.base_filter = total_count;
        });
        // The oldest, so the last in the list.
        let ours = desk.opened();
        for _ in 0..50 {
            desk.forge.add_pull(|_| {});
        }
        desk.forge.add_pull(|pull| "release".clone_into(&mut pull.base));
        desk.forge.add_pull(|pull| pull.open = false);

        let pulls = desk.block(desk.client.open_pulls("master")).expect("a list");
        let opened = desk.block(desk.client.create_pull(desk.new_pull(&[]))).expect("found");

        assert_eq!(pulls.len(), 51, "{persona:?}");
        assert!(matches!(opened, Opened::Exists(pull) if pull.number == ours), "{persona:?}");
    }
}

#[test]
fn request_of_a_fork_with_our_branch_name_is_not_ours() {
    let desk = Desk::new(Persona::Gitea126);
    let theirs = desk.forge.add_pull(|pull| UPDATE.clone_into(&mut pull.head));
    let number = desk.opened();
    assert_ne!(number.0, theirs);
    let pulls = desk.block(desk.client.open_pulls("master")).expect("a list");
    assert_eq!(pulls.iter().map(|it| it.from_fork).collect::<Vec<_>>(), [true, false]);
    assert_eq!(pulls[1].head_commit.as_ref(), Some(&desk.candidate));
    assert_eq!(pulls[1].author.as_deref(), Some(BOT));
    let again = desk.block(desk.client.create_pull(desk.new_pull(&[]))).expect("found");
    assert!(matches!(again, Opened::Exists(pull) if pull.number == number));
}

#[test]
fn labels_among_40_are_found_by_name_and_given_by_id() {
    for (persona, page_max) in [(Persona::Gitea126, 50), (Persona::Forgejo, 15)] {
        let desk = Desk::new(persona);
        desk.forge.set(|settings| settings.page_max = page_max);
        for number in 0..38 {
            desk.forge.add_label(&format!("area/{number}"));
        }
        let first = desk.forge.add_label("build-failure");
        let second = desk.forge.add_label("build-failure");
        let number = desk.opened();

        let wanted = [label("needs-review"), label("build-failure")];
        let ids = desk.block(desk.client.ensure_labels(&wanted)).expect("labels");
        desk.block(desk.client.add_labels(number, &ids)).expect("labelled");

        assert_eq!(ids, [LabelId(second + 1), LabelId(first)], "the oldest of two");
        assert_eq!(desk.forge.labels().len(), 41);
        assert_eq!(desk.forge.labels_of(number.0), ["build-failure", "needs-review"]);
    }
}

#[test]
fn words_of_another_version_do_not_spoil_a_list() {
    let desk = Desk::new(Persona::Gitea126);
    let number = desk.opened();
    desk.forge.add_pull(|_| {});
    let newer = Fault::rewritten(|pulls| {
        pulls[0]["state"] = "merging".into();
        pulls[0]["user"] = serde_json::Value::Null;
        let ours = pulls[1].as_object_mut().expect("a request");
        ours.remove("requested_reviewers");
        ours.insert("queue".to_owned(), serde_json::json!({"state": "neutral"}));
        ours.insert("labels".to_owned(), serde_json::Value::Null);
    });
    desk.forge.fault(On::new("GET", "/pulls"), 1, newer);
    let pulls = desk.block(desk.client.open_pulls("master")).expect("a list all the same");
    assert_eq!(pulls.iter().map(|it| it.number).collect::<Vec<_>>(), [number]);

    let odd = Fault::rewritten(|pull| pull["state"] = "neutral".into());
    desk.forge.fault(On::new("GET", "/pulls/1"), 1, odd);
    let pull = desk.block(desk.client.pull(number)).expect("an answer").expect("a request");
    assert_eq!(pull.state, PullState::Unknown);

    let nothing = Fault::rewritten(|list| *list = serde_json::Value::Null);
    desk.forge.fault(On::new("GET", "/comments"), 1, nothing);
    assert_eq!(desk.block(desk.client.comments(number)).expect("an empty list"), []);
}
