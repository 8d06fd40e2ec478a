//! What the keys file may say, and what it may not.

use super::*;

const PUBLIC: &str = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4";

/// A file with one worker; `extra` comes before it, in `[server]`.
pub(crate) fn file(extra: &str) -> String {
    format!(
        "[server]\nname = \"nats1\"\nlisten = \"127.0.0.1:4222\"\n{extra}\n\
         [keys.w1]\nrole = \"worker\"\npublic = \"{PUBLIC}\"\nclasses = [\"x86_64-linux\"]\n"
    )
}

pub(crate) fn checked(text: &str) -> Result<BrokerFile, String> {
    let raw = settings::parse(text, Path::new("keys.toml")).map_err(|error| error.to_string())?;
    let classes = Choices::default_classes().expect("the default classes");
    let choices = Choices { replicas: 1, classes, ack_wait: topology::ACK_WAIT_DEFAULT };
    BrokerFile::checked(raw, &choices).map_err(|error| error.to_string())
}

#[track_caller]
fn refused(text: &str, why: &str) {
    let error = checked(text).expect_err(text);
    assert!(error.contains(why), "{error}\nwanted: {why}");
}

const TLS: &str = "[server.tls]\ncert_file = \"/c\"\nkey_file = \"/k\"\n";
const TLS_CA: &str = "[server.tls]\ncert_file = \"/c\"\nkey_file = \"/k\"\nca_file = \"/a\"\n";

#[test]
fn what_others_can_reach_needs_tls() {
    let open = |text: String| text.replace("127.0.0.1:4222", "0.0.0.0:4222");
    assert!(checked(&file("")).is_ok());
    refused(&open(file("")), "[server] listen: others can reach it");
    assert!(checked(&open(file(TLS))).is_ok());
    refused(&file("leaf_listen = \"[::]:7422\""), "[server] leaf_listen: others can reach it");
    refused(&file("monitor = \"0.0.0.0:8222\""), "only loopback");
    refused(&file(TLS).replace("\"/k\"", "\"k\""), "no absolute path");
    refused(&file("listen2 = 1"), "did you mean `listen`?");
    refused(&file("store_dir = \"x\""), "no absolute path");
    refused(&file("store_max = \"4GiB\""), "the streams reserve 7.2");
    for address in ["nats:4222", "127.0.0.1", "127.0.0.1:99999", "127.0.0.1:4222\\n", ":4222"] {
        refused(&file("").replace("127.0.0.1:4222", address), "e.g. \"");
    }
}

#[test]
fn servers_know_each_other_by_certificate() {
    let cluster = |routes: &str| {
        format!(
            "[server.cluster]\nname = \"nbp\"\nlisten = \"0.0.0.0:6222\"\nroutes = [{routes}]\n"
        )
    };
    let three = cluster("\"a:1\", \"b:1\", \"c:1\"");
    assert!(checked(&file(&(TLS_CA.to_owned() + &three))).is_ok());
    refused(&file(&(TLS.to_owned() + &three)), "ca_file");
    refused(&file(&three), "ca_file");
    refused(&file(&(TLS_CA.to_owned() + &cluster("\"a:1\""))), "three at least");
    refused(&file(&(TLS_CA.to_owned() + &cluster("\"a\", \"b:1\", \"c:1\""))), "no host:port");
}

#[test]
fn a_leaf_stores_nothing_and_checks_its_hub() {
    let hub = |at: &str| format!("[server.hub]\naddress = \"{at}\"\nnkey_include = \"s.nk\"\n");
    assert!(checked(&file(&(TLS_CA.to_owned() + &hub("nats1.example.org:7422")))).is_ok());
    assert!(checked(&file(&hub("127.0.0.1:7422"))).is_ok());
    refused(&file(&hub("nats1.example.org:7422")), "to know the hub");
    refused(&file(&hub("localhost:1")).replace("s.nk", "/s.nk"), "beside the server's config");
    refused(&file(&("store_max = \"9GiB\"\n".to_owned() + &hub("localhost:1"))), "stores nothing");
    refused(
        &file(&("leaf_listen = \"127.0.0.1:1\"\n".to_owned() + &hub("localhost:1"))),
        "no leaves",
    );
}

#[test]
fn keys_are_real_and_each_has_one_holder() {
    refused(&file("").replace(PUBLIC, "UA"), "no public NKey");
    refused(&file("").replace("\"worker\"", "\"root\""), "unknown variant `root`");
    refused(&file("").replace("classes", "#"), "has no classes");
    refused(&file("").replace("\"worker\"", "\"reader\""), "only a worker takes jobs");
    refused(&file("").replace("keys.w1", "keys.\"a b\""), "key name \"a b\" is refused");
    let twice = format!("[keys.other]\nrole = \"reader\"\npublic = \"{PUBLIC}\"\n");
    refused(&(file("") + &twice), "another name already");
    refused("[server]\nname = \"n\"\nlisten = \"127.0.0.1:1\"\n", "nobody could log in");
}

#[test]
fn a_leaf_may_what_those_behind_it_may() {
    let other = "UBQUXSA2QBKICMTO3M3GZ234LSMGEFS4MS4VPU2NI4GDHMTXVDVWEEO7";
    let leaf = |carries: &str| {
        file("") + &format!("[leaves.site2]\npublic = \"{other}\"\ncarries = [{carries}]\n")
    };
    let users = checked(&leaf("\"w1\"")).expect("a file").users;
    let (worker, leaf_user) = (&users[0], &users[1]);
    assert_eq!((worker.what.as_str(), leaf_user.what.as_str()), ("worker", "leaf of w1"));
    let mut expected = worker.rights.publish.allow.clone();
    expected.sort_unstable();
    assert_eq!(leaf_user.rights.publish.allow, expected);
    let mixed = leaf("\"w1\", \"r\"")
        + "[keys.r]\nrole = \"reader\"\n\
           public = \"UAWARL4EUXQU3OK73R4WUUHYU7TA265LHJ2G6Y22HMQWBLUCRYGIYPNF\"\n";
    refused(&mixed, "a leaf of its own");
    refused(&leaf("\"w2\""), "\"w2\" is none of [keys]");
    refused(&leaf(""), "name who connects there");
}
