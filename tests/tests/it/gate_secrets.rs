//! The forge's token is where it has to be and nowhere else.

use tests::{Flake, Updates, flake::system_name};

use crate::DEADLINE;

#[test]
fn the_token_is_in_no_output_record_commit_argument_or_request_body() {
    let site = Updates::start(&Flake::hosts(2));
    let token = site.forge.token();
    // A server that wants a login for reading too.
    let _worker = site.pool.worker("w1");
    let hosts = Flake::hosts(2).salt("newer").held("h01").failing("h02");
    site.upstream(&hosts);
    let mut gate = site.spawn("gate", &["-vv"], None);
    site.pool.store.wait_for_build(&system_name("h01"), DEADLINE);
    let arguments = std::fs::read(format!("/proc/{}/cmdline", gate.id())).expect("a process");
    site.pool.store.release("h01");
    assert_eq!(gate.wait(DEADLINE).code(), Some(1), "{}", gate.log());

    let mut texts = vec![gate.log(), String::from_utf8_lossy(&arguments).into_owned()];
    for bucket in ["nbp-gates", "nbp-requests", "nbp-results", "nbp-runs"] {
        texts.push(format!("{:?}", site.pool.bucket(bucket)));
    }
    texts.push(format!("{:?}", site.pool.events("nbp.event.>")));
    texts.push(site.pool.repo.git(&["log", "--all", "-p", "--format=full"]));
    for pull in site.forge.pulls() {
        texts.push(format!("{pull:?} {:?}", site.forge.comments(pull.number)));
    }
    for text in &texts {
        assert!(!text.contains(&token), "the token stands in {text}");
    }
    assert!(texts.iter().any(|text| text.contains("build-failed")), "there is something to read");
    // Requests: only in the header that is made for it.
    site.forge.check_secrets();
}
