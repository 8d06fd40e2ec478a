//! Who is not let in: each is told why, at once, and no verdict comes of it.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::PathBuf,
    time::Duration,
};

use tests::{
    Flake, KeyedOptions, KeyedPool, NatsServer, Output,
    certificates::Authority,
    keys::Keys,
    pool::REPO,
    process::{binary, command, run},
    scratch,
};

use crate::{DEADLINE, all_built};

const ANY_RUN: &str = "0190f0d4-0000-7000-8000-000000000001";

/// `producer status` with no config but these options.
#[track_caller]
fn status(url: &str, options: &[(&str, PathBuf)]) -> Output {
    let mut producer = command(binary("producer"));
    producer.args(["status", ANY_RUN, "--nats-url", url]);
    for (option, file) in options {
        producer.arg(option).arg(file);
    }
    // What is refused for good is told at once, and not after this.
    run(producer.args(["--patience", "100s"]), Duration::from_secs(60))
}

#[track_caller]
fn refused(output: Output, code: i32, why: &str) {
    let output = output.expect_code(code);
    assert!(output.stderr.contains(why), "{output}");
    let seed = |word: &str| word.starts_with("SU") && word.len() == 58;
    let mut words = output.stderr.split(|c: char| !c.is_ascii_alphanumeric());
    assert!(!words.any(seed), "a seed was shown: {output}");
}

#[test]
fn a_wrong_key_no_key_and_a_revoked_key_are_refused_in_words() {
    let pool = KeyedPool::start();
    let strangers = Keys::new([("stranger", "submitter")]);
    let key = |file: PathBuf| [("--nkey-file", file)];
    refused(
        status(&pool.url(), &key(strangers.seed_file("stranger"))),
        3,
        &format!("refuses {}", strangers.public("stranger")),
    );
    refused(status(&pool.url(), &[]), 3, "name a seed file by --nkey-file");
    // Files that hold no seed are a mistake on this side.
    let dir = scratch();
    let public = dir.path().join("public.nk");
    fs::write(&public, pool.keys().public("ci")).expect("a writable folder");
    refused(status(&pool.url(), &key(public)), 2, "not a user's seed");
    refused(status(&pool.url(), &key(dir.path().join("none.nk"))), 2, "No such file");

    // Known until its key is taken away; who is connected then is put out, and comes back when the
    // key does.
    pool.producer("ci", &["status", ANY_RUN]).expect_code(2);
    let mut worker = pool.worker("w1", "");
    worker.wait_for_log("ready for jobs", DEADLINE);
    pool.revoke(&["ci", "w1"]);
    refused(pool.producer("ci", &["status", ANY_RUN]), 3, "unknown there, or revoked");
    worker.wait_for_log("or revoked; trying again", DEADLINE);
    pool.producer("other", &["status", ANY_RUN]).expect_code(2);
    let rev = pool.repo.commit("master", &Flake::hosts(1).files());
    let gate = pool.gate_check("", &["--rev", &rev, "--hosts", "h01"]);
    assert_eq!(gate.expect_code(3).json()["verdict"], "undecided");
    pool.revoke(&[]);
    let args = ["submit", "--repo", REPO, "--all", "--ref", "master", "--wait", "--json"];
    all_built(pool.producer("ci", &args), 1);
    assert!(worker.is_running());
}

#[test]
fn a_tls_broker_takes_those_who_know_its_authority_and_nobody_else() {
    let dir = scratch();
    let ours = Authority::new(dir.path(), "ours");
    let other = Authority::new(dir.path(), "other");
    let files = ours.certificate("nats1");
    let server = format!(
        "[server.tls]\ncert_file = {:?}\nkey_file = {:?}\n",
        files.cert_file, files.key_file
    );
    let ca_file = Some(ours.ca_file());
    let pool = KeyedPool::start_with(&KeyedOptions { server, nats: "", ca_file });
    let rev = pool.repo.commit("master", &Flake::hosts(1).files());
    let _worker = pool.worker("w1", "");
    let args = ["submit", "--repo", REPO, "--all", "--ref", "master", "--wait", "--json"];
    all_built(pool.producer("ci", &args), 1);
    pool.gate_check("", &["--rev", &rev, "--hosts", "h01"]).expect_code(0);

    let key = || ("--nkey-file", pool.keys().seed_file("ci"));
    let ca = |authority: &Authority| ("--ca-file", authority.ca_file());
    refused(status(&pool.url(), &[key(), ca(&other)]), 3, "authority that is not trusted here");
    refused(status(&pool.url(), &[key()]), 3, "name that authority's file by --ca-file");
    refused(status(&pool.url(), &[key(), ("--ca-file", key().1)]), 2, "holds no certificate");
    refused(status(&pool.url(), &[key(), ("--ca-file", "/none.pem".into())]), 2, "No such file");
    let elsewhere = pool.url().replace("127.0.0.1", "127.0.0.2");
    refused_or_unreachable(&elsewhere, &[key(), ca(&ours)]);
    assert_eq!(answer_in_plain_text(&pool.server.address()), None);
    // And the other way round: a broker without TLS for a client that insists on it.
    let plain = NatsServer::start();
    refused(status(&plain.url(), &[ca(&ours)]), 3, "does not speak TLS");
}

/// The server listens on one address only, so this never gets as far as a certificate.
#[track_caller]
fn refused_or_unreachable(url: &str, options: &[(&str, PathBuf)]) {
    let mut producer = command(binary("producer"));
    producer.args(["status", ANY_RUN, "--nats-url", url, "--patience", "1s"]);
    for (option, file) in options {
        producer.arg(option).arg(file);
    }
    let output = run(&mut producer, DEADLINE).expect_code(3);
    assert!(output.stderr.contains("reach the broker"), "{output}");
}

/// What a client that speaks plain text gets for its PING, if anything.
fn answer_in_plain_text(address: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).expect("a listening server");
    stream.set_read_timeout(Some(DEADLINE)).expect("a socket option");
    stream.write_all(b"CONNECT {\"verbose\":false}\r\nPING\r\n").expect("a connection");
    let mut said = Vec::new();
    // The server ends it; what came before is its greeting.
    stream.read_to_end(&mut said).ok();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(said.starts_with("INFO "), "{said}");
    said.contains("PONG").then_some(said)
}
