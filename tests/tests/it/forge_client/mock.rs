//! The mock forge keeps its promises.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    process::Command,
    thread,
};

use gate::forge::{BranchMove, Client, Forge as _, Moved};
use tests::{
    eventually,
    forge::{ALICE, BOT, On, Persona},
    process::{command, run},
};

use super::{Desk, config, put_master};
use crate::DEADLINE;

#[test]
fn git_is_served_over_http_and_protection_holds_there_too() {
    let desk = Desk::new(Persona::Forgejo);
    let clone = tests::scratch();
    let git = |token: Option<&str>, args: &[&str]| {
        let mut git = git_in(clone.path());
        if let Some(token) = token {
            git.env("GIT_CONFIG_COUNT", "1")
                .env("GIT_CONFIG_KEY_0", format!("http.{}/.extraHeader", desk.forge.url()))
                .env("GIT_CONFIG_VALUE_0", format!("Authorization: token {token}"));
        }
        run(git.args(args), DEADLINE)
    };
    let (bot, alice) = (desk.forge.token(), desk.forge.token_of(ALICE));
    let lease = format!("--force-with-lease=refs/heads/master:{}", desk.base);
    let refspec = format!("{}:refs/heads/master", desk.candidate);
    let push = |token| git(token, &["push", "--porcelain", &lease, "origin", &refspec]);
    git(None, &["clone", "--quiet", &desk.forge.git_url(), "."]).expect_code(0);

    let anonymous = push(None);
    assert!(anonymous.stderr.contains("could not read Username"), "{anonymous}");
    desk.forge.protect("master", &[ALICE]);
    let denied = push(Some(&bot));
    assert!(denied.stderr.contains("protected branch master"), "{denied}");
    assert_eq!(desk.master(), desk.base);

    // A push that loses the race between its look and its write.
    desk.repo.set_branch("other", desk.base.as_str());
    let other = desk.repo.commit("other", &[("README", "pushed meanwhile")]);
    desk.forge.move_before(On::new("POST", "/git-receive-pack"), "master", &other);
    let lost = push(Some(&alice)).expect_code(1);
    assert!(lost.stdout.contains("[remote rejected]"), "{lost}");
    assert_eq!(desk.master().as_str(), other);

    desk.repo.set_branch("master", desk.base.as_str());
    push(Some(&alice)).expect_code(0);
    assert_eq!(desk.master(), desk.candidate);
}

#[test]
fn private_repository_is_fetched_with_a_token_only() {
    let desk = Desk::new(Persona::Gitea126);
    desk.forge.set(|settings| settings.private = true);
    let dir = tests::scratch();
    let url = desk.forge.git_url();
    let with = url.replacen("http://", &format!("http://{BOT}:{}@", desk.forge.token()), 1);
    let ls = |url: &str| run(git_in(dir.path()).args(["ls-remote", url]), DEADLINE);
    assert_ne!(ls(&url).code, Some(0));
    assert!(ls(&with).expect_code(0).stdout.contains(desk.base.as_str()));
}

fn git_in(dir: &std::path::Path) -> Command {
    let mut git = command("git");
    git.current_dir(dir)
        .env("HOME", dir)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_TERMINAL_PROMPT", "0");
    git
}

#[test]
fn request_that_does_not_fit_the_description_is_noted() {
    let desk = Desk::new(Persona::Gitea125);
    let root = "/api/v1/repos/infra/homelab";
    for (method, path, body, told) in [
        ("POST", "/pulls", "{\"head\":1,\"labels\":[\"x\"],\"colour\":true}", "no such key"),
        ("POST", "/labels", "{\"name\":\"x\"}", "\"color\" is missing"),
        ("GET", "/pulls?state=ajar", "", "state is \"ajar\", not one of"),
        ("GET", "/pulls?head=x", "", "there is no parameter head"),
        ("GET", "/labels?page=one", "", "page is \"one\", not a number"),
        ("PUT", "/branches/master", "{}", "no such method"),
        ("GET", "/wiki", "", "no such path"),
        ("DELETE", "/branches/x", "{}", "there is a body"),
    ] {
        assert!(desk.forge.take_violations().is_empty());
        raw(&desk, method, &format!("{root}{path}"), body);
        let noted = desk.forge.take_violations().join("\n");
        assert!(noted.contains(told), "{method} {path}\n noted: {noted}\nwanted: {told}");
    }
}

#[test]
#[should_panic(expected = "what does not fit")]
fn violation_fails_its_test() {
    let desk = Desk::new(Persona::Gitea126);
    raw(&desk, "GET", "/api/v1/nothing", "");
}

#[test]
#[should_panic(expected = "the token of gate-bot stands in GET")]
fn token_in_the_wrong_place_fails_its_test() {
    let desk = Desk::new(Persona::Gitea126);
    let target = format!("/api/v1/version?token={}", desk.forge.token());
    raw(&desk, "GET", &target, "");
    desk.forge.take_violations();
}

#[test]
fn held_request_waits_for_its_release() {
    let desk = Desk::new(Persona::Gitea126);
    let (before, after) = (desk.forge.hold(put_master()), desk.forge.hold_answer(put_master()));
    let config = config(&desk.forge);
    let (old, new) = (desk.base.clone(), desk.candidate.clone());
    let landing = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let client = Client::connect(&config).await.expect("a forge");
            client.move_branch(BranchMove { branch: "master", old: &old, new: &new }).await
        })
    });

    before.wait(DEADLINE);
    assert_eq!(desk.master(), desk.base);
    before.release();
    after.wait(DEADLINE);
    assert_eq!(desk.master(), desk.candidate, "done, and not answered");
    assert!(!landing.is_finished());
    after.release();

    assert_eq!(landing.join().expect("no panic").expect("an answer"), Moved::Done);
    eventually("the request to be noted as answered", DEADLINE, || {
        let seen = desk.forge.seen();
        seen.iter().any(|it| it.status == Some(204)).then_some(())
    });
}

fn raw(desk: &Desk, method: &str, target: &str, body: &str) {
    let address = desk.forge.url().replace("http://", "");
    let mut stream = TcpStream::connect(&address).expect("connects");
    let token = desk.forge.token();
    write!(
        stream,
        "{method} {target} HTTP/1.1\r\nhost: {address}\r\nauthorization: token {token}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len(),
    )
    .expect("asks");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
}
