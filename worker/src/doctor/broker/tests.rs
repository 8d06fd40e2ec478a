//! Facts of a broker and what is said of them.

use bus::Drift;

use super::*;
use crate::doctor::finding::Level;

fn class(name: &str) -> Class {
    name.parse().expect("a class")
}

fn facts() -> BrokerFacts {
    BrokerFacts {
        url: "nats://nats1:4222".into(),
        who: Who {
            name: "builder02".into(),
            identity: "UABC".into(),
            classes: vec![class("x86_64-linux"), class("x86_64-linux_kvm")],
        },
        connected: Ok(()),
        rights: vec![("nbp.log.>".into(), Probed::Allowed)],
        examined: Some(Ok(Examined { streams: vec!["NBP_JOBS".into()], ..Examined::default() })),
        clock: Some(Ok(Clock { there: Timestamp(5000), here: Timestamp(5020), wrong: false })),
        link: Link::Up,
    }
}

fn examined(change: impl FnOnce(&mut Examined)) -> BrokerFacts {
    let mut examined = Examined::default();
    change(&mut examined);
    BrokerFacts { examined: Some(Ok(examined)), ..facts() }
}

#[track_caller]
fn check(facts: &BrokerFacts, name: &str, level: Level, words: &str) {
    let all = findings(facts);
    let found = all.iter().find(|finding| finding.check == name && finding.level == level);
    let found = found.unwrap_or_else(|| panic!("no {level:?} of {name} in {all:#?}"));
    let text = format!("{} {:?} {:?} {:?}", found.seen, found.of, found.why, found.fix);
    assert!(text.contains(words), "{text}");
}

#[test]
fn a_good_broker_is_ok_in_everything() {
    let all = findings(&facts());
    assert!(all.iter().all(|finding| finding.level == Level::Ok), "{all:#?}");
    check(&facts(), "clock", Level::Ok, "0.020 s ahead of");
}

#[test]
fn who_is_not_let_in_learns_whose_turn_it_is() {
    let refused = |kind| {
        let words = "log in at the broker".to_owned();
        BrokerFacts { connected: Err(Refusal { words, kind }), ..facts() }
    };
    let key = refused(RefusalKind::Key);
    check(&key, "connection", Level::Problem, "[keys.builder02] role = \\\"worker\\\"");
    check(&key, "connection", Level::Problem, "UABC");
    assert_eq!(findings(&key).len(), 1, "the rest follows from it");
    check(&refused(RefusalKind::Away), "connection", Level::Undecided, "nix-build-pool-broker");
    check(&refused(RefusalKind::Here), "connection", Level::Problem, "nkey_file");
    check(&refused(RefusalKind::Tls), "connection", Level::Problem, "ca_file");
    let lost = BrokerFacts { link: Link::Down, ..facts() };
    check(&lost, "connection", Level::Undecided, "was lost");
    assert!(unreachable(&key).is_some() && unreachable(&facts()).is_none());
}

#[test]
fn denied_subjects_are_named_before_silent_ones() {
    let rights = vec![
        ("a".to_owned(), Probed::Denied),
        ("b".to_owned(), Probed::Silent),
        ("c".to_owned(), Probed::Allowed),
    ];
    let denied = BrokerFacts { rights: rights.clone(), ..facts() };
    check(&denied, "rights", Level::Problem, "denied: a");
    check(&denied, "rights", Level::Problem, "classes = [");
    let silent = BrokerFacts { rights: rights[1..].to_vec(), ..facts() };
    check(&silent, "rights", Level::Undecided, "no answer about b");
}

#[test]
fn what_is_not_set_up_is_told_with_the_command() {
    let empty = examined(|it| it.missing_streams.push("NBP_JOBS".into()));
    check(&empty, "streams", Level::Problem, "producer setup");
    let plain = examined(|it| it.missing_classes.push(class("x86_64-linux")));
    check(&plain, "class", Level::Problem, "producer setup --classes x86_64-linux");
    let kvm = examined(|it| it.missing_classes.push(class("x86_64-linux_kvm")));
    check(&kvm, "class", Level::Warning, "producer setup --classes x86_64-linux_kvm");
    check(&kvm, "class", Level::Ok, "Some(\"x86_64-linux\")");
    let drift = |updatable| Drift {
        asset: "NBP_JOBS".into(),
        setting: "max age",
        is: "1s".into(),
        should: "0s".into(),
        updatable,
    };
    let mendable = examined(|it| it.drift.push(drift(true)));
    check(&mendable, "drift", Level::Warning, "producer setup --apply");
    let stuck = examined(|it| it.drift.push(drift(false)));
    check(&stuck, "drift", Level::Warning, "made anew");
}

#[test]
fn one_of_several_features_may_stay_without_a_class_of_its_own() {
    let classes = ["x86_64-linux", "x86_64-linux_a", "x86_64-linux_a_b", "x86_64-linux_b"];
    let mut facts =
        examined(|it| it.missing_classes.extend([class(classes[1]), class(classes[2])]));
    facts.who.classes = classes.map(class).to_vec();
    let all = findings(&facts);
    let warned: Vec<_> = all.iter().filter(|it| it.level == Level::Warning).collect();
    assert_eq!(warned.len(), 1, "{warned:#?}");
    assert_eq!(warned[0].of.as_deref(), Some("x86_64-linux_a"));
}

#[test]
fn a_clock_that_is_wrong_is_told_with_its_way() {
    let clock = |there, here, wrong| {
        let clock = Clock { there: Timestamp(there), here: Timestamp(here), wrong };
        BrokerFacts { clock: Some(Ok(clock)), ..facts() }
    };
    check(&clock(10_000, 2_500, true), "clock", Level::Problem, "7.500 s behind");
    check(&clock(10_000, 17_000, true), "clock", Level::Problem, "set-ntp");
    let error = Error::NoAnswer { operation: "ask for the time", subject: "x".into() };
    let silent = BrokerFacts { clock: Some(Err(error)), ..facts() };
    check(&silent, "clock", Level::Undecided, "date -u");
}
