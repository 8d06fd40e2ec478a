//! Tables: what each role may do and, above all, what it may not.

use super::*;

const OWN: &str = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4";
const OTHER: &str = "UA3KXNZQ2XP6A4IY4CIM4QIX2PQ4U5BX7CKDJ52CGDJNYJ2ZTL7RJXZS";
const JOB: &str = "r.0123456789abcdef0123456789abcdef01234567.web";

fn rights(role: Role) -> Permissions {
    let classes: Vec<Class> = match role {
        Role::Worker => {
            ["x86_64-linux", "x86_64-linux_kvm"].map(|it| it.parse().expect("one")).into()
        }
        _ => Vec::new(),
    };
    let (name, identity) = ("w1".parse().expect("a name"), OWN.parse().expect("an identity"));
    Permissions::of(&Holder { role, name: &name, identity: &identity, classes: &classes })
}

fn filled(subject: &str) -> String {
    subject.replace("<own>", OWN).replace("<other>", OTHER).replace("<job>", JOB)
}

/// Exactly these roles may publish to the subject. `s` submitter, `w` worker, `g` gate, `r` reader,
/// `o` operator, `a` admin.
#[track_caller]
fn publish(subject: &str, who: &str) {
    let subject = filled(subject);
    let may: String = Role::ALL
        .iter()
        .filter(|it| rights(**it).may_publish(&subject))
        .map(|it| letter(*it))
        .collect();
    assert_eq!(may, who, "publish to {subject}");
}

#[track_caller]
fn subscribe(subject: &str, who: &str) {
    let subject = filled(subject);
    let may: String = Role::ALL
        .iter()
        .filter(|it| rights(**it).may_subscribe(&subject))
        .map(|it| letter(*it))
        .collect();
    assert_eq!(may, who, "subscribe to {subject}");
}

fn letter(role: Role) -> char {
    role.name().chars().next().expect("a name")
}

#[test]
fn who_writes_what() {
    publish("nbp.build.x86_64-linux.high.<job>.i", "swgo");
    publish("nbp.build.x86_64-linux_kvm.low.<job>.i", "swgo");
    publish("nbp.build.aarch64-linux.high.<job>.i", "sgo");
    publish("nbp.cancel.<job>", "sgo");
    publish("nbp.log.<job>.1", "w");
    publish("nbp.event.job.finished.<job>", "w");
    publish("nbp.event.worker.ready.w1", "w");
    publish("nbp.event.worker.ready.w2", "");
    publish("nbp.event.run.submitted.r.<own>", "sgo");
    publish("nbp.event.run.submitted.r.<other>", "");
    publish("nbp.event.class.paused.x86_64-linux.<own>", "oa");
    publish("nbp.event.class.paused.x86_64-linux.<other>", "");
    publish("nbp.event.landed.r", "g");
    publish("nbp.event.gate.failed.r", "g");
    publish("nbp.dead.<job>", "w");
    publish("nbp.dead.unknown", "w");
    publish("nbp.other", "");
    publish("build.r.web", "");
    publish("$KV.nbp-requests.<job>", "sgo");
    publish("$KV.nbp-results.<job>", "w");
    publish("$KV.nbp-last-good.r.web", "w");
    publish("$KV.nbp-runs.<own>.run", "sgo");
    publish("$KV.nbp-runs.<other>.run", "");
    publish("$KV.nbp-runs.local.run", "");
    publish("$KV.nbp-workers.w1", "w");
    publish("$KV.nbp-workers.w2", "");
    publish("$KV.nbp-gates.r.master", "g");
    publish("$KV.other.key", "");
    publish("_INBOX_<other>.x", "");
    publish("_INBOX_<own>.x", "");
    publish("$SYS.REQ.SERVER.PING", "");
}

#[test]
fn who_reads_what_from_the_leader() {
    for (stream, get, info) in [
        ("KV_nbp-requests", "swgroa", "swgroa"),
        ("KV_nbp-results", "swgroa", "swgroa"),
        ("KV_nbp-workers", "swgroa", "swgroa"),
        ("KV_nbp-last-good", "swgroa", "swgroa"),
        ("KV_nbp-runs", "sgroa", "sgroa"),
        ("KV_nbp-gates", "groa", "groa"),
        ("NBP_LOGS", "sgroa", "sgroa"),
        ("NBP_EVENTS", "sgroa", "sgroa"),
        ("NBP_DEAD", "woa", "woa"),
        ("NBP_JOBS", "wa", "swgroa"),
        ("OTHER_STREAM", "a", "a"),
    ] {
        publish(&format!("$JS.API.STREAM.MSG.GET.{stream}"), get);
        publish(&format!("$JS.API.STREAM.INFO.{stream}"), info);
        // May be answered by a replica that lags, and with the stored bytes as they are.
        publish(&format!("$JS.API.DIRECT.GET.{stream}.x"), "");
    }
}

#[test]
fn only_a_worker_of_the_class_pulls_and_acks_in_both_forms() {
    for (consumer, who) in
        [("x86_64-linux-high", "w"), ("x86_64-linux_kvm-low", "w"), ("aarch64-linux-high", "")]
    {
        publish(&format!("$JS.API.CONSUMER.MSG.NEXT.NBP_JOBS.{consumer}"), who);
        publish(&format!("$JS.ACK.NBP_JOBS.{consumer}.1.2.3.4.5"), who);
        publish(&format!("$JS.ACK._.hash.NBP_JOBS.{consumer}.1.2.3.4.5.x"), who);
    }
    publish("$JS.API.CONSUMER.INFO.NBP_JOBS.x86_64-linux-high", "swgroa");
    publish("$JS.API.CONSUMER.INFO.NBP_JOBS.aarch64-linux-high", "sgroa");
    publish("$JS.API.CONSUMER.LIST.NBP_JOBS", "roa");
    publish("$JS.ACK.NBP_LOGS.x86_64-linux-high.1.2.3.4.5", "");
}

#[test]
fn only_the_admin_makes_and_unmakes() {
    for call in [
        "STREAM.CREATE.X",
        "STREAM.UPDATE.NBP_JOBS",
        "STREAM.DELETE.NBP_JOBS",
        "STREAM.PURGE.NBP_JOBS",
        "STREAM.MSG.DELETE.KV_nbp-results",
        "STREAM.RESTORE.X",
        "STREAM.SNAPSHOT.NBP_JOBS",
        "CONSUMER.CREATE.NBP_JOBS",
        "CONSUMER.CREATE.NBP_JOBS.c.f",
        "CONSUMER.CREATE.KV_nbp-results",
        "CONSUMER.DURABLE.CREATE.NBP_JOBS.c",
        "CONSUMER.DELETE.NBP_JOBS.x86_64-linux-high",
        "STREAM.LIST",
        "STREAM.NAMES",
        "INFO",
    ] {
        publish(&format!("$JS.API.{call}"), "a");
    }
    publish("$JS.API.CONSUMER.PAUSE.NBP_JOBS.x86_64-linux-high", "oa");
    publish("$JS.API.CONSUMER.PAUSE.OTHER.c", "a");
    publish("$JS.API.STREAM.MSG.DELETE.NBP_DEAD", "oa");
    // A message that no client can be given can be ended by its number only.
    publish("$JS.API.STREAM.MSG.DELETE.NBP_JOBS", "wa");
}

#[test]
fn who_hears_what() {
    subscribe("_INBOX_<own>.x", "swgroa");
    subscribe("_INBOX_<other>.x", "");
    subscribe("_INBOX.x", "");
    subscribe("$KV.nbp-results.<job>", "sgro");
    subscribe("$KV.nbp-requests.<job>", "");
    subscribe("$KV.nbp-runs.<other>.run", "");
    subscribe("nbp.log.<job>.1", "sgro");
    subscribe("nbp.event.job.finished.<job>", "sgro");
    subscribe("nbp.cancel.<job>", "w");
    subscribe("nbp.build.x86_64-linux.high.<job>.i", "");
    subscribe("$JS.API.STREAM.MSG.GET.KV_nbp-results", "");
    subscribe("$JS.EVENT.ADVISORY.API", "");
}

#[test]
fn wildcards_are_the_servers() {
    for (rule, subject, matched) in [
        ("a.>", "a", false),
        ("a.>", "a.b", true),
        ("a.>", "a.b.c", true),
        ("a.*", "a.b", true),
        ("a.*", "a.b.c", false),
        ("a.*.c", "a.b.c", true),
        ("a", "a", true),
        ("a", "a.b", false),
        (">", "a", true),
    ] {
        assert_eq!(matches(rule, subject), matched, "{rule} {subject}");
    }
}

#[test]
fn a_union_may_what_each_may_and_denies_nothing_of_it() {
    let all = Permissions::union([rights(Role::Worker), rights(Role::Reader)]);
    assert!(all.may_publish(&filled("$KV.nbp-results.<job>")));
    assert!(all.may_subscribe(&filled("nbp.event.job.finished.<job>")));
    assert!(!all.may_publish(&filled("$KV.nbp-requests.<job>")));
    assert!(all.publish.deny.is_empty());
}

#[test]
fn a_worker_needs_classes_and_nobody_else_has_any() {
    let (name, identity) = ("w1".parse().expect("a name"), OWN.parse().expect("an identity"));
    let class: [Class; 1] = ["x86_64-linux".parse().expect("a class")];
    let check = |role, classes: &[Class]| {
        Holder { role, name: &name, identity: &identity, classes }.check().is_ok()
    };
    assert!(check(Role::Worker, &class) && check(Role::Reader, &[]));
    assert!(!check(Role::Worker, &[]) && !check(Role::Reader, &class));
}

#[test]
fn those_who_write_no_facts_live_apart() {
    for (role, account) in [
        (Role::Worker, "NBP"),
        (Role::Admin, "NBP"),
        (Role::Submitter, "NBP_ASK"),
        (Role::Gate, "NBP_ASK"),
        (Role::Operator, "NBP_ASK"),
        (Role::Reader, "NBP_READ"),
    ] {
        assert_eq!(role.account().name(), account);
    }
}

#[test]
fn what_passes_to_another_account_is_what_its_role_may() {
    let reader = rights(Role::Reader);
    let (calls, heard) = reader.let_through();
    assert!(calls.iter().all(|call| call.starts_with("$JS.API.")), "{calls:?}");
    assert_eq!(heard, ["$KV.nbp-results.>", "nbp.log.>", "nbp.event.>"]);
}

#[test]
fn roles_have_names() {
    for role in Role::ALL {
        assert_eq!(role.name().parse(), Ok(role));
    }
    let error = "root".parse::<Role>().expect_err("no role").to_string();
    assert!(error.contains("submitter, worker"), "{error}");
}
