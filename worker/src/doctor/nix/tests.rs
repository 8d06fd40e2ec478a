//! Facts of Nix and what is said of them.

use serde_json::{Value, json};

use super::*;
use crate::doctor::finding::Level;

fn settings(changes: Value) -> NixSettings {
    let mut all = json!({
        "system": "x86_64-linux", "extra-platforms": ["i686-linux"],
        "system-features": ["big-parallel", "kvm"], "sandbox": true,
        "substituters": ["https://cache.example"], "trusted-users": ["root", "@wheel"],
        "allowed-users": ["*"],
        "keep-outputs": false, "keep-derivations": true, "auto-optimise-store": false,
        "min-free": 0, "max-free": 9_223_372_036_854_775_807_u64,
    });
    let changes = changes.as_object().expect("an object").clone();
    all.as_object_mut().expect("an object").extend(changes);
    let values = all.as_object().expect("an object").iter();
    let with_value: serde_json::Map<_, _> =
        values.map(|(name, value)| (name.clone(), json!({ "value": value }))).collect();
    NixSettings::parse(&Value::from(with_value).to_string()).expect("settings")
}

fn facts() -> NixFacts {
    NixFacts {
        version: Ok("nix (Nix) 2.8.0".into()),
        settings: Ok(settings(json!({}))),
        store: Ok(StoreAnswer { url: "daemon".into(), trusted: None }),
        built: Ok(()),
    }
}

fn wanted() -> Wanted {
    Wanted {
        systems: vec!["x86_64-linux".into()],
        features: vec!["kvm".into()],
        needs_trust: Vec::new(),
    }
}

fn user(name: &str, groups: &[&str]) -> User {
    User { name: name.into(), groups: groups.iter().copied().map(str::to_owned).collect() }
}

#[track_caller]
fn check(facts: &NixFacts, wanted: &Wanted, name: &str, level: Level, words: &str) {
    let all = findings(facts, Some(&user("pool", &["pool"])), wanted);
    let found = all.iter().find(|finding| finding.check == name && finding.level == level);
    let found = found.unwrap_or_else(|| panic!("no {level:?} of {name} in {all:#?}"));
    let text = format!("{} {:?} {:?}", found.seen, found.why, found.fix);
    assert!(text.contains(words), "{text}");
}

#[test]
fn a_good_nix_is_ok_in_everything() {
    let all = findings(&facts(), Some(&user("pool", &["pool"])), &wanted());
    assert!(all.iter().all(|finding| finding.level == Level::Ok), "{all:#?}");
    assert!(all.len() >= 9, "{all:#?}");
}

#[test]
fn no_nix_and_an_old_one_are_told() {
    let none = NixFacts { version: Err(Trouble::Missing("nix")), ..facts() };
    check(&none, &wanted(), "version", Level::Problem, "no program nix");
    assert_eq!(findings(&none, None, &wanted()).len(), 1, "the rest follows from it");
    let old = NixFacts { version: Ok("nix (Nix) 2.3.16".into()), ..facts() };
    check(&old, &wanted(), "version", Level::Problem, "install Nix 2.8 or later");
    for good in ["nix (Nix) 2.8.0", "nix (Nix) 2.36pre20261101_abc", "nix (Lix, like Nix) 2.93.0"] {
        let facts = NixFacts { version: Ok(good.into()), ..facts() };
        check(&facts, &wanted(), "version", Level::Ok, good);
    }
    let odd = NixFacts { version: Ok("nix (Nix)".into()), ..facts() };
    check(&odd, &wanted(), "version", Level::Warning, "names no version");
}

#[test]
fn a_daemon_that_is_away_is_not_one_that_refuses() {
    let store = |words: &str| NixFacts { store: Err(Trouble::Failed(words.into())), ..facts() };
    let away = store("error: cannot connect to socket at '/x': Connection refused");
    check(&away, &wanted(), "store", Level::Undecided, "nix-daemon.socket");
    let refused = store("error: user 'pool' is not allowed to connect to the Nix daemon");
    check(&refused, &wanted(), "store", Level::Problem, "allowed-users");
    let words = "error: reading from file: Connection reset by peer";
    check(&store(words), &wanted(), "store", Level::Undecided, "nix-daemon");
    let shut = Ok(settings(json!({ "allowed-users": ["root"] })));
    let shut = NixFacts { settings: shut, ..store(words) };
    check(&shut, &wanted(), "store", Level::Problem, "add the worker's user to `allowed-users`");
    let denied = store("error: opening lock file '/nix/var/nix/db/big-lock': Permission denied");
    check(&denied, &wanted(), "store", Level::Problem, "NIX_REMOTE=daemon");
}

#[test]
fn trust_is_needed_only_for_what_needs_it() {
    let needs = Wanted { needs_trust: vec!["[nix] substituters"], ..wanted() };
    check(&facts(), &wanted(), "trust", Level::Ok, "need not be");
    check(&facts(), &needs, "trust", Level::Problem, "trusted-users = root pool");
    let told = |trusted| NixFacts {
        store: Ok(StoreAnswer { url: "daemon".into(), trusted: Some(trusted) }),
        ..facts()
    };
    check(&told(true), &needs, "trust", Level::Ok, "the daemon says");
    check(&told(false), &needs, "trust", Level::Problem, "the daemon says");
    let local =
        NixFacts { store: Ok(StoreAnswer { url: "local".into(), trusted: None }), ..facts() };
    check(&local, &needs, "trust", Level::Ok, "no daemon");
    let trusts = |user: &User| settings(json!({})).trusts(user);
    assert!(trusts(&user("root", &[])) && trusts(&user("x", &["wheel"])));
    assert!(!trusts(&user("wheel", &["x"])));
    assert!(settings(json!({ "trusted-users": ["*"] })).trusts(&user("x", &[])));
}

#[test]
fn each_setting_that_is_wrong_is_named_with_its_line() {
    let with = |changes| NixFacts { settings: Ok(settings(changes)), ..facts() };
    let off = with(json!({ "sandbox": false }));
    check(&off, &wanted(), "sandbox", Level::Problem, "sandbox = true");
    let relaxed = with(json!({ "sandbox": "relaxed" }));
    check(&relaxed, &wanted(), "sandbox", Level::Warning, "may leave");
    let arm = Wanted { systems: vec!["aarch64-linux".into()], ..wanted() };
    check(&facts(), &arm, "system", Level::Problem, "extra-platforms = aarch64-linux");
    let mut remote = settings(json!({}));
    remote.has_builders = true;
    let remote = NixFacts { settings: Ok(remote), ..facts() };
    check(&remote, &arm, "system", Level::Warning, "remote builders");
    let emulated = with(json!({ "extra-platforms": ["aarch64-linux"] }));
    check(&emulated, &arm, "system", Level::Ok, "");
    let no_kvm = with(json!({ "system-features": ["benchmark"] }));
    check(&no_kvm, &wanted(), "feature", Level::Problem, "system-features = benchmark kvm");
    let keeps = with(json!({ "keep-outputs": true }));
    check(&keeps, &wanted(), "kept beside roots", Level::Warning, "keep-outputs = false");
    let swings = with(json!({ "min-free": 10, "max-free": 5 }));
    check(&swings, &wanted(), "collects by itself", Level::Warning, "max-free");
    let unknown = NixFacts { settings: Err(Trouble::Late(super::super::SECOND)), ..facts() };
    check(&unknown, &wanted(), "settings", Level::Undecided, "nix show-config");
}

#[test]
fn a_machine_that_cannot_build_says_why() {
    let with = |words: &str| NixFacts { built: Err(Trouble::Failed(words.into())), ..facts() };
    let caged = with("error: cloning builder process: Operation not permitted");
    check(&caged, &wanted(), "trial build", Level::Problem, "namespaces");
    let full = with("error: writing to file: No space left on device");
    check(&full, &wanted(), "trial build", Level::Problem, "make room");
}
