//! Branches: moved by compare-and-set or not at all, and deleted.

use gate::forge::{BranchMove, Deleted, Error, Forge as _, Kind, Moved};
use tests::forge::{ALICE, BOT, Fault, On, Persona};

use super::{Desk, PERSONAS, RETRIES, UPDATE, put_master, revision};

#[test]
fn only_a_server_with_compare_and_set_is_asked_for_it() {
    for persona in PERSONAS {
        let desk = Desk::new(persona);
        let able = persona == Persona::Gitea126;
        let features = desk.client.features();
        assert_eq!(features.compare_and_set, able, "{features:?}");
        assert_eq!(features.kind == Kind::Forgejo, persona == Persona::Forgejo, "{features:?}");

        let moved = desk.land().expect("an answer");

        assert_eq!(moved, if able { Moved::Done } else { Moved::Unsupported });
        assert_eq!(desk.master(), if able { desk.candidate.clone() } else { desk.base.clone() });
        assert_eq!(desk.forge.count(&put_master()), usize::from(able));
    }
}

#[test]
fn base_that_is_not_where_it_was_is_never_moved() {
    let desk = Desk::new(Persona::Gitea126);
    let moved = desk.repo.commit("master", &[("README", "other")]);
    assert_eq!(desk.land().expect("an answer"), Moved::Lost { at: Some(revision(&moved)) });
    assert_eq!(desk.master().as_str(), moved);

    let orphan = desk.repo.commit("orphan", &[("README", "no history")]);
    desk.repo.set_branch("master", &orphan);
    assert_eq!(desk.land().expect("an answer"), Moved::Lost { at: Some(revision(&orphan)) });

    desk.repo.delete_branch("master");
    assert_eq!(desk.land().expect("an answer"), Moved::Lost { at: None });
}

#[test]
fn rewound_base_is_not_landed_on() {
    let desk = Desk::new(Persona::Gitea126);
    let dropped = desk.repo.commit("master", &[("README", "a bad commit")]);
    desk.repo.set_branch(UPDATE, &dropped);
    let candidate = revision(&desk.repo.commit(UPDATE, &[("flake.lock", "2")]));
    desk.repo.set_branch("master", desk.base.as_str());

    let step = BranchMove { branch: "master", old: &revision(&dropped), new: &candidate };
    let moved = desk.block(desk.client.move_branch(step));

    assert_eq!(moved.expect("an answer"), Moved::Lost { at: Some(desk.base.clone()) });
    assert_eq!(desk.master(), desk.base);
}

#[test]
fn candidate_that_is_no_descendant_is_not_landed() {
    let desk = Desk::new(Persona::Gitea126);
    let orphan = revision(&desk.repo.commit("orphan", &[("README", "no history")]));
    let step = BranchMove { branch: "master", old: &desk.base, new: &orphan };
    let moved = desk.block(desk.client.move_branch(step)).expect("an answer");
    assert_eq!(moved, Moved::Lost { at: Some(desk.base.clone()) });
    assert_eq!(desk.master(), desk.base);
}

#[test]
fn base_moved_in_exactly_the_gap_is_seen_by_the_server() {
    for inside in [false, true] {
        let desk = Desk::new(Persona::Gitea126);
        desk.repo.set_branch("other", desk.base.as_str());
        let other = desk.repo.commit("other", &[("README", "pushed meanwhile")]);
        match inside {
            false => desk.forge.move_before(put_master(), "master", &other),
            true => desk.forge.move_inside("master", &other),
        }

        let moved = desk.land().expect("an answer");

        assert_eq!(moved, Moved::Lost { at: Some(revision(&other)) }, "inside: {inside}");
        assert_eq!(desk.master().as_str(), other);
        assert_eq!(desk.forge.count(&put_master()), 1, "it is not tried again");
    }
}

#[test]
fn landing_whose_answer_is_lost_is_found_out_and_not_repeated() {
    for fault in [Fault::Reset, Fault::status(502), Fault::html(200), Fault::html(504)] {
        let desk = Desk::new(Persona::Gitea126);
        desk.forge.lose(put_master(), 1, fault.clone());
        assert_eq!(desk.land().expect("an answer"), Moved::Done, "{fault:?}");
        assert_eq!(desk.master(), desk.candidate);
        assert_eq!(desk.forge.count(&put_master()), 1);
    }
}

#[test]
fn landing_that_did_nothing_is_tried_again_and_ends() {
    let desk = Desk::new(Persona::Gitea126);
    desk.forge.fault(put_master(), 2, Fault::status(500));
    assert_eq!(desk.land().expect("an answer"), Moved::Done);
    assert_eq!(desk.forge.count(&put_master()), 3);

    let desk = Desk::new(Persona::Gitea126);
    desk.forge.always(put_master(), Fault::status(500));
    let error = desk.land().expect_err("a server that never does it");
    assert!(matches!(error, Error::Unclear { .. }) && error.transient(), "{error}");
    assert_eq!(desk.forge.count(&put_master()), RETRIES + 1);
    assert_eq!(desk.master(), desk.base);
}

#[test]
fn protection_that_refuses_is_told_in_the_servers_words() {
    let desk = Desk::new(Persona::Gitea126);
    desk.forge.protect("master", &[ALICE]);
    let Moved::Denied { message } = desk.land().expect("an answer") else { panic!("landed") };
    assert!(message.contains("Not allowed to push to protected branch master"), "{message}");
    assert_eq!(desk.forge.count(&put_master()), 1, "a refusal is not tried again");

    desk.forge.protect("master", &[BOT]);
    assert_eq!(desk.land().expect("an answer"), Moved::Done);
}

#[test]
fn branch_is_read_and_deleted_once() {
    for persona in PERSONAS {
        let desk = Desk::new(persona);
        let number = desk.opened();
        let read = |branch| desk.block(desk.client.branch(branch)).expect("an answer");
        let delete = |branch| desk.block(desk.client.delete_branch(branch)).expect("an answer");
        assert_eq!(read(UPDATE), Some(desk.candidate.clone()));

        assert_eq!(delete(UPDATE), Deleted::Done);
        assert_eq!(delete(UPDATE), Deleted::Absent);

        assert_eq!(read(UPDATE), None);
        assert!(!desk.forge.pull(number.0).open, "its request is closed with it");
        let Deleted::Denied { message } = delete("master") else { panic!("deleted master") };
        assert!(message.contains("default"), "{message}");
    }
}

#[test]
fn deleting_whose_answer_is_lost_counts_as_deleted() {
    let desk = Desk::new(Persona::Forgejo);
    desk.forge.lose(On::new("DELETE", UPDATE), 1, Fault::Reset);
    let deleted = desk.block(desk.client.delete_branch(UPDATE)).expect("an answer");
    assert_eq!(deleted, Deleted::Absent);
    desk.forge.always(On::new("DELETE", "/branches/x"), Fault::html(404));
    let error = desk.block(desk.client.delete_branch("x")).expect_err("a proxy's word is nothing");
    assert!(matches!(error, Error::Foreign { .. }), "{error}");
}
