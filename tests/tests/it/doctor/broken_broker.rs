//! Brokers that are away, hang, refuse the key, deny rights, or were never set up.

use std::{fs, os::unix::fs::PermissionsExt as _};

use tests::{Flake, KeyedPool, NatsServer, Pool, Proxy, WorkerOptions, keys::Keys};

use super::{bad, doctor, examined, found, keyed_doctor, options};

#[test]
fn a_broker_that_is_down_is_undecided_and_stops_no_other_check() {
    let mut pool = Pool::start();
    pool.commit("master", &Flake::hosts(1));
    let mut command = doctor(&pool, &options());
    pool.nats.kill();
    let report = examined(&mut command, 3);
    found(&report, "connection", "undecided", &["reach the broker at", "[nats] url"]);
    found(&report, "kept generations", "undecided", &["known to the broker"]);
    found(&report, "trial build", "ok", &[]);
    found(&report, "allowed refs", "ok", &[]);
    assert_eq!(bad(&report).len(), 2, "{report:#}");
}

#[test]
fn a_broker_that_hangs_is_given_up() {
    let pool = Pool::start();
    pool.commit("master", &Flake::hosts(1));
    let proxy = Proxy::start(&pool.nats.url());
    proxy.cut();
    let options = WorkerOptions { nats_url: Some(proxy.url()), ..options() };
    let report = examined(&mut doctor(&pool, &options), 3);
    found(&report, "connection", "undecided", &[]);
    found(&report, "trial build", "ok", &[]);
}

#[test]
fn a_wrong_key_is_told_with_its_entry_of_the_keys_file() {
    let pool = KeyedPool::start();
    pool.repo.commit("master", &Flake::hosts(1).files());
    let strangers = Keys::new([("stranger", "worker")]);
    let mut command = keyed_doctor(&pool, "w1");
    command.arg("--nkey-file").arg(strangers.seed_file("stranger"));
    let report = examined(&mut command, 2);
    let public = strangers.public("stranger");
    let entry = "[keys.w1] role = \"worker\"";
    found(&report, "connection", "problem", &[public, "refuses", entry, "reload"]);
    found(&report, "NKey seed", "ok", &[public]);

    let mut command = keyed_doctor(&pool, "w1");
    command.arg("--nkey-file").arg(strangers.dir().join("none.nk"));
    let report = examined(&mut command, 2);
    found(&report, "NKey seed", "problem", &["No such file", "producer keys new worker"]);
    found(&report, "connection", "problem", &["No such file", "nkey_file"]);
}

#[test]
fn rights_that_are_missing_are_named_by_their_subjects() {
    let pool = KeyedPool::start();
    pool.repo.commit("master", &Flake::hosts(1).files());
    let with_key_of = |name: &str| {
        let mut command = keyed_doctor(&pool, "w1");
        command.arg("--nkey-file").arg(pool.keys().seed_file(name));
        command
    };
    // A submitter may write no fact.
    let report = examined(&mut with_key_of("ci"), 2);
    let words = ["denied: ", "$JS.API.CONSUMER.MSG.NEXT.NBP_JOBS.x86_64-linux-high", "more"];
    found(&report, "rights", "problem", &words);
    // A worker of another name and class: what it needs itself is denied, and nothing else.
    let report = examined(&mut with_key_of("arm"), 2);
    let words = ["x86_64-linux-high", "classes = [\"x86_64-linux\"]"];
    found(&report, "rights", "problem", &words);
    // The same class and another name: only presence and events stand under a name.
    let report = examined(&mut with_key_of("mallory"), 2);
    let denied = "denied: $KV.nbp-workers.w1, nbp.event.worker.*.w1";
    let finding = found(&report, "rights", "problem", &[denied, "[keys.w1]"]);
    assert_eq!(finding["seen"], denied);
    assert_eq!(bad(&report).len(), 1, "{report:#}");
}

#[test]
fn a_broker_that_nobody_has_set_up_and_a_class_without_consumers_are_told_with_the_command() {
    let pool = Pool::start();
    pool.commit("master", &Flake::hosts(1));
    let empty = NatsServer::start();
    let fresh = WorkerOptions { nats_url: Some(&empty.url()), ..options() };
    let report = examined(&mut doctor(&pool, &fresh), 2);
    let words = ["NBP_JOBS", "NBP_LOGS", "and 6 more", "producer setup"];
    found(&report, "streams", "problem", &words[..1]);
    found(&report, "streams", "problem", &words[3..]);
    found(&report, "class", "problem", &["x86_64-linux", "--classes x86_64-linux"]);

    let i686 = WorkerOptions {
        systems: vec!["x86_64-linux", "i686-linux"],
        worker: "features = [\"kvm\"]",
        ..options()
    };
    let report = examined(&mut doctor(&pool, &i686), 2);
    found(&report, "class", "ok", &["x86_64-linux"]);
    found(&report, "class", "problem", &["i686-linux", "producer setup --classes i686-linux"]);
    found(&report, "class", "warning", &["the feature kvm", "_kvm"]);
}

#[test]
fn drift_is_told() {
    let pool = Pool::start();
    pool.commit("master", &Flake::hosts(1));
    pool.block_on(async {
        let jetstream = pool.jetstream().await;
        let stream = jetstream.get_stream("NBP_JOBS").await.expect("the stream");
        let mut config = stream.cached_info().config.clone();
        config.max_bytes = 1 << 20;
        jetstream.update_stream(config).await.expect("a change");
    });
    let report = examined(&mut doctor(&pool, &options()), 0);
    let words = ["NBP_JOBS: max bytes is 1048576", "producer setup --apply"];
    found(&report, "drift", "warning", &words);
}

#[test]
fn a_seed_that_others_can_read_is_a_problem() {
    let pool = KeyedPool::start();
    pool.repo.commit("master", &Flake::hosts(1).files());
    let seed = pool.keys().seed_file("w1");
    let mode = |mode| fs::set_permissions(&seed, fs::Permissions::from_mode(mode));
    mode(0o644).expect("a file of ours");
    let report = examined(&mut keyed_doctor(&pool, "w1"), 2);
    let chmod = format!("chmod 600 {}", seed.display());
    found(&report, "NKey seed", "problem", &["mode 0644", &chmod, "sign results as it"]);
    assert_eq!(bad(&report).len(), 1, "{report:#}");
    mode(0o640).expect("a file of ours");
    let report = examined(&mut keyed_doctor(&pool, "w1"), 0);
    found(&report, "NKey seed", "warning", &["mode 0640", &chmod]);
}
