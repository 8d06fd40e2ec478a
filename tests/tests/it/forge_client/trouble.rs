//! Servers that are down, slow, broken or not the forge, and what they are told to say.

use std::time::{Duration, Instant};

use gate::forge::{Client, Error, Forge as _, ForgeConfig, PullNumber};
use tests::{
    MockForge,
    forge::{BOT, Fault, On, Persona},
};

use super::{Desk, RETRIES, config};

#[test]
fn trouble_that_passes_is_outlasted() {
    let get = || On::new("GET", "/labels");
    for fault in [
        Fault::status(500),
        Fault::status(503),
        Fault::status(429),
        Fault::html(502),
        Fault::html(200),
        Fault::Truncated,
        Fault::Reset,
        Fault::Slow(Duration::from_millis(300)),
    ] {
        let desk = Desk::new(Persona::Gitea126);
        desk.forge.add_label("bug");
        desk.forge.fault(get(), 2, fault.clone());
        let labels = desk.block(desk.client.labels());
        assert_eq!(labels.expect("labels in the end").len(), 1, "{fault:?}");
        let slow = matches!(fault, Fault::Slow(_));
        assert_eq!(desk.forge.count(&get()), if slow { 1 } else { 3 }, "{fault:?}");
    }
}

#[test]
fn answer_that_does_not_come_is_given_up_and_asked_for_again() {
    let desk = Desk::with_timeout(Persona::Gitea126, Duration::from_secs(2));
    desk.forge.fault(On::new("GET", "/labels"), 1, Fault::Hang);
    let start = Instant::now();
    desk.block(desk.client.labels()).expect("labels in the end");
    assert!(start.elapsed() >= Duration::from_secs(2), "the first was waited for");
    assert_eq!(desk.forge.count(&On::new("GET", "/labels")), 2);
}

#[test]
fn trouble_that_stays_ends_as_a_transient_error() {
    let get = || On::new("GET", "/labels");
    for (fault, told) in [
        (Fault::status(503), "HTTP 503 Service Unavailable: the test says 503"),
        (Fault::html(200), "an HTML page"),
        (Fault::html(404), "an HTML page"),
        (Fault::Truncated, "the forge's interface"),
        (Fault::Reset, "does not answer"),
    ] {
        let desk = Desk::new(Persona::Forgejo);
        desk.forge.fault(get(), usize::MAX, fault.clone());
        let error = desk.block(desk.client.labels()).expect_err("no labels");
        assert!(error.transient(), "{error}");
        let text = error.to_string();
        assert!(text.starts_with("list the labels: ") && text.contains(told), "{fault:?}: {text}");
        assert_eq!(desk.forge.count(&get()), RETRIES + 1, "{fault:?}");
    }
}

#[test]
fn server_that_is_down_is_told_as_such() {
    let mut desk = Desk::new(Persona::Gitea126);
    desk.forge.stop();
    let error = desk.block(desk.client.create_comment(PullNumber(1), "x")).expect_err("no server");
    // Nothing was sent, so this is not unclear.
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("refused"), "{error}");
}

#[test]
fn server_says_when_to_come_again() {
    let desk = Desk::new(Persona::Gitea126);
    let soon = Fault::status(429).with_header("retry-after", "1");
    desk.forge.fault(On::new("GET", "/labels"), 1, soon);
    let start = Instant::now();
    desk.block(desk.client.labels()).expect("labels");
    assert!(start.elapsed() >= Duration::from_secs(1), "{:?}", start.elapsed());

    // More than what this client is willing to wait is cut to that.
    let late = Fault::status(503).with_header("retry-after", "3600");
    desk.forge.fault(On::new("GET", "/labels"), 1, late);
    desk.block(desk.client.labels()).expect("labels");
}

#[test]
fn endless_answer_is_not_read_to_its_end() {
    let desk = Desk::new(Persona::Gitea126);
    let huge = format!("[{}]", " ".repeat(33 << 20));
    desk.forge.always(On::new("GET", "/labels"), Fault::status(200).with_body(huge));
    let error = desk.block(desk.client.labels()).expect_err("too much");
    assert!(error.to_string().contains("longer than 33554432 bytes"), "{error}");
}

#[test]
fn token_goes_to_the_configured_address_only() {
    let desk = Desk::new(Persona::Gitea126);
    let other = MockForge::start(Persona::Gitea126, &desk.repo);
    for status in [301, 307] {
        let away = Fault::status(status).with_header("location", format!("{}/x", other.url()));
        desk.forge.fault(On::new("GET", "/labels"), 1, away);
        let error = desk.block(desk.client.labels()).expect_err("a redirect");
        assert!(!error.transient(), "{error}");
        assert!(error.to_string().contains(&format!("on to {}/x", other.url())), "{error}");
    }
    assert!(other.seen().is_empty());
}

#[test]
fn refusals_say_what_to_do_and_never_the_token() {
    let desk = Desk::new(Persona::Gitea126);
    let token = desk.forge.token();
    for (status, told) in [
        (401, "make one with the scopes write:repository, write:issue and read:user"),
        (403, "the token needs the scopes write:repository"),
        (404, "check [forge] repo"),
        (418, "refuses (HTTP 418 I'm a teapot"),
        (500, "cannot do it now"),
    ] {
        let body = format!("{{\"message\":\"no: \\u001b[31m'token {token}'\\nat all\"}}");
        desk.forge.fault(On::new("GET", "/labels"), 9, Fault::status(status).with_body(body));
        let error = desk.block(desk.client.labels()).expect_err("a refusal");
        let text = error.to_string();
        assert!(text.contains(told) && text.contains("no: 'token <token>' at all"), "{text}");
        let all = format!("{text} {error:?} {:?}", desk.client);
        assert!(!all.contains(&token), "{all}");
        desk.forge.heal();
    }
}

#[test]
fn token_that_is_not_accepted_and_repository_that_is_not_seen_are_told_apart() {
    let desk = Desk::new(Persona::Gitea126);
    std::fs::write(desk.forge.token_file(), "0123456789abcdef0123456789abcdef01234567")
        .expect("it");
    let error = desk.block(Client::connect(&config(&desk.forge))).expect_err("a wrong token");
    assert!(matches!(error, Error::Unauthorized { .. }), "{error}");

    std::fs::write(desk.forge.token_file(), desk.forge.token()).expect("a file");
    let lost = ForgeConfig { repo: "infra/gone".parse().expect("a name"), ..config(&desk.forge) };
    let client = desk.block(Client::connect(&lost)).expect("the server is there");
    let error = desk.block(client.branch("master")).expect_err("no such repository");
    assert!(matches!(error, Error::Missing { .. }), "{error}");
    let branch = desk.block(desk.client.branch("gone")).expect("the repository is there");
    assert_eq!(branch, None);
    assert_eq!(desk.block(desk.client.me()).expect("a user"), BOT);
}
