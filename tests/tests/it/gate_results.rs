//! Which records count as results of a candidate: those of what the gate asked for, and no others.

use serde_json::{Value, json};
use tests::{Flake, Updates, eventually};

use crate::{DEADLINE, text};

/// The request of a host that is newer than `landed`, and its key.
fn request(site: &Updates, landed: &str, host: &str) -> Option<(String, Value)> {
    let requests = site.pool.bucket("nbp-requests").into_iter();
    let newer = |key: &str| key.ends_with(&format!(".{host}")) && !key.contains(landed);
    requests.filter(|(key, _)| newer(key)).find(|(_, request)| !request["wanted_by"].is_null())
}

#[test]
fn a_record_of_another_asking_or_of_other_overrides_is_no_result() {
    let site = Updates::start(&Flake::hosts(2));
    let mut worker = site.pool.worker("w1");
    site.upstream(&Flake::hosts(2).salt("newer"));
    site.run(&[]).expect_code(0);
    let landed = site.rev("master");
    worker.sigterm();
    worker.wait(DEADLINE);
    let mut built = site.pool.result(&landed, "h01").expect("a result");
    // A path that no store has: whoever took it over would not find it.
    built["state"]["outcome"]["out_path"] = format!("/nix/store/{}-made-up", "a".repeat(32)).into();
    // Nobody builds the next one, and somebody writes what looks like results.
    site.upstream(&Flake::hosts(2).salt("newest"));
    let mut gate = site.spawn("gate", &[], None);
    let asked = |host: &str| eventually("a request", DEADLINE, || request(&site, &landed, host));
    let write = |key: &str, record: &Value| {
        site.pool.publish(&format!("$KV.nbp-results.{key}"), record.to_string().as_bytes());
    };

    // Built, and of an asking before this one.
    let (key, _) = asked("h01");
    write(&key, &built);
    // Of this one, and with an input in place of the locked one.
    let (key, request) = asked("h02");
    let mut other = built.clone();
    other["incarnation"] = request["incarnation"].clone();
    other["state"]["overrides"] = json!({"fleet": {"repo": "homelab", "revision": landed}});
    write(&key, &other);

    gate.wait_for_log("h02: other-overrides", DEADLINE);
    assert!(!gate.log().contains("h01: built"), "{}", gate.log());
    gate.sigterm();
    assert_eq!(gate.wait(DEADLINE).code(), Some(3), "{}", gate.log());
    assert_eq!(site.rev("master"), landed);
    assert!(site.forge.pulls().is_empty());

    // Both are still wanted, and a worker takes them as if nothing had been written.
    let _worker = site.pool.worker("w2");
    let answer = &site.resume().expect_code(0).json()[0];
    assert_eq!(text(&answer["end"]), "landed", "{answer:#}");
    for host in ["h01", "h02"] {
        let begun = site.pool.store.builds_begun(&tests::flake::system_name(host));
        assert_eq!(begun, 2, "{host} was built for both updates");
    }
}
