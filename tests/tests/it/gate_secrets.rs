//! The forge's token is where it has to be and nowhere else.

use std::sync::{Arc, Mutex};

use tests::{Flake, Updates, flake::system_name, forge::On};

use crate::{DEADLINE, secrets::processes};

#[test]
fn the_token_is_in_no_output_record_commit_argument_or_request_body() {
    let site = Updates::start(&Flake::hosts(2));
    let token = site.forge.token();
    // A server that wants a login for reading too.
    site.forge.set(|settings| settings.private = true);
    let seen = Arc::new(Mutex::new(String::new()));
    // Looked at while git talks to the server: once fetching, once pushing.
    for on in [On::new("POST", "/git-upload-pack"), On::new("POST", "/git-receive-pack")] {
        let seen = Arc::clone(&seen);
        site.forge.before(on, move || *seen.lock().expect("nobody panics in it") += &processes());
    }
    let _worker = site.pool.worker("w1");
    let hosts = Flake::hosts(2).salt("newer").held("h01").failing("h02");
    site.upstream(&hosts);
    let mut gate = site.spawn("gate", &["-vv"], None);
    site.pool.store.wait_for_build(&system_name("h01"), DEADLINE);
    let waiting = processes();
    site.pool.store.release("h01");
    assert_eq!(gate.wait(DEADLINE).code(), Some(1), "{}", gate.log());

    let seen = seen.lock().expect("nobody panics in it").clone();
    for program in ["fetch", "push --porcelain"] {
        assert!(seen.contains(program), "git was seen at work: {program}");
    }
    let mut texts = vec![gate.log(), seen, waiting];
    for bucket in ["nbp-gates", "nbp-requests", "nbp-results", "nbp-runs"] {
        texts.push(format!("{:?}", site.pool.bucket(bucket)));
    }
    texts.push(format!("{:?}", site.pool.events("nbp.event.>")));
    texts.push(site.pool.repo.git(&["log", "--all", "-p", "--format=full"]));
    for pull in site.forge.pulls() {
        texts.push(format!("{pull:?} {:?}", site.forge.comments(pull.number)));
    }
    for text in &texts {
        let leaks: Vec<&str> = text.lines().filter(|line| line.contains(&token)).collect();
        assert!(leaks.is_empty(), "the token stands in {leaks:#?}");
    }
    assert!(texts.iter().any(|text| text.contains("build-failed")), "there is something to read");
    // Requests: only in the header that is made for it.
    site.forge.check_secrets();
}
