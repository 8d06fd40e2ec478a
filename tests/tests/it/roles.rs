//! Each role does all that it is for, on a server with exactly the rendered config, and never asks
//! for more than it may.

use std::collections::BTreeMap;

use proto::{
    GateId, Incarnation, Priority, Request, RunId, RunRecord, V1, Wish,
    gate::{Landed, Lease},
    request::Ask,
    subject, topology,
};
use tests::{Flake, KeyedOptions, KeyedPool, eventually, flake::system_name, pool::REPO};
use uuid::Uuid;

use crate::{DEADLINE, all_built, host, text};

const NOWHERE: &str = "0123456789abcdef0123456789abcdef01234567";

fn first_ack_form() -> KeyedPool {
    KeyedPool::start()
}

fn second_ack_form() -> KeyedPool {
    let nats = "feature_flags { js_ack_fc_v2: true }\n";
    KeyedPool::start_with(&KeyedOptions { server: String::new(), nats, ca_file: None })
}

/// A small store on purpose: what a message says is looked at, not its size.
fn queued(pool: &KeyedPool) -> u64 {
    messages(pool, topology::JOBS)
}

fn messages(pool: &KeyedPool, stream: &str) -> u64 {
    block_on(async {
        let (client, _) = pool.raw("admin").await;
        let stream = async_nats::jetstream::new(client).get_stream(stream).await;
        stream.expect("the stream").cached_info().state.messages
    })
}

pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(1).enable_all().build().expect("a runtime").block_on(work)
}

/// The whole life of jobs, by everybody whose part it is.
fn everybody_does_their_part(pool: &KeyedPool) {
    let rev = pool.repo.commit("master", &Flake::hosts(2).files());
    let worker = pool.worker("w1", "sweep_every = \"1s\"\nslots = 1");

    let args = ["submit", "--repo", REPO, "--all", "--ref", "master", "--wait", "--json"];
    let run = all_built(pool.producer("ci", &args), 2);
    let id = text(&run["run"]);
    submitters_see_and_change(pool, &id, &rev);
    readers_see(pool, &id, &rev);
    operators_intervene(pool, &rev);
    workers_find_what_fell_between_two_writes(pool, &rev);
    workers_bury(pool);
    gates_read_and_tell(pool, &id, &rev);

    eventually("an empty queue", DEADLINE, || (queued(pool) == 0).then_some(()));
    assert_eq!(pool.server.violations(), Vec::<String>::new());
    drop(worker);
}

fn submitters_see_and_change(pool: &KeyedPool, id: &str, rev: &str) {
    for args in [
        &["status", id][..],
        &["status"],
        &["status", "--repo", REPO, "--rev", rev],
        &["watch", id],
        &["logs", "h01", "--run", id],
        &["logs", "h01", "--repo", REPO, "--rev", rev, "-f"],
        &["queue"],
        &["workers"],
        &["history", "h01", "--repo", REPO],
        &["explain", &format!("{REPO}.{rev}.h01")],
        &["events", "--since", "1h"],
        &["cancel", id],
        &["retry", id],
    ] {
        pool.producer("ci", args).expect_code(0);
    }
}

fn readers_see(pool: &KeyedPool, id: &str, rev: &str) {
    for args in [
        &["status", id][..],
        &["status", "--repo", REPO, "--rev", rev],
        &["last-good", "h01", "--repo", REPO],
        &["watch", id],
        &["logs", "h01", "--run", id],
        &["logs", "h01", "--run", id, "-f"],
        &["queue"],
        &["workers"],
        &["history", "h01", "--repo", REPO],
        &["explain", &format!("{REPO}.{rev}.h01")],
        &["events", "--since", "1h"],
    ] {
        pool.producer("reader", args).expect_code(0);
    }
}

fn operators_intervene(pool: &KeyedPool, rev: &str) {
    pool.producer("ops", &["pause"]).expect_code(0);
    // Paused, it waits; so it can be cancelled while it is queued.
    let args = ["submit", "--repo", REPO, "h01", "--rev", rev, "--force", "--json"];
    let run = text(&pool.producer("ci", &args).expect_code(0).json()["run"]);
    pool.producer("ops", &["cancel", &run]).expect_code(0);
    let status = pool.producer("ops", &["status", &run, "--json"]);
    assert_eq!(host(&status.json(), "h01")["outcome"], "cancelled");
    pool.producer("ops", &["resume"]).expect_code(0);
    pool.producer("ops", &["retry", &run]).expect_code(0);
    let watched = pool.producer("ci", &["watch", &run]);
    watched.expect_code(0);
}

/// A wish without a message is what a submitter leaves that dies between the two writes.
fn workers_find_what_fell_between_two_writes(pool: &KeyedPool, rev: &str) {
    let rev = pool.repo.commit("master", &Flake::hosts(2).salt("swept").files()).replace(rev, "");
    let job: proto::JobKey = format!("{REPO}.{rev}.h02").parse().expect("a job");
    block_on(async {
        let bus = pool.bus("ci").await;
        let wish =
            Wish { priority: Priority::Normal, by: bus.identity().clone(), at: bus::clock::now() };
        let request = Request {
            v: V1,
            class: "x86_64-linux".parse().expect("a class"),
            incarnation: Incarnation(Uuid::now_v7()),
            wanted_by: [(RunId(Uuid::now_v7()), wish)].into(),
            force: false,
            avoid_worker: None,
            superseded_by: None,
            overrides: proto::Overrides::default(),
            trace: None,
        };
        bus.requests().put_if(&job.to_string(), &request, 0).await.expect("its right");
    });
    eventually("the swept job to be built", DEADLINE, || {
        (pool.store.builds_begun(&system_name("h02")) == 2).then_some(())
    });
}

fn workers_bury(pool: &KeyedPool) {
    block_on(async {
        let (client, _) = pool.raw("ci").await;
        let context = async_nats::jetstream::new(client);
        let sent = context.publish("nbp.build.x86_64-linux.high.short", "{}".into()).await;
        sent.expect("connected").await.expect("its right");
    });
    let args = ["submit", "--repo", REPO, "h01", "--rev", NOWHERE, "--wait", "--json"];
    let answer = pool.producer("ci", &args).expect_code(3).json();
    assert_eq!(host(&answer, "h01")["outcome"], "infra-failed");
    eventually("two dead letters", DEADLINE, || {
        (messages(pool, topology::DEAD) == 2).then_some(())
    });
    operators_drop(pool);
}

/// Reads the oldest dead letter and removes it.
fn operators_drop(pool: &KeyedPool) {
    block_on(async {
        let (client, _) = pool.raw("ops").await;
        let call = |name: &str| format!("$JS.API.STREAM.MSG.{name}.{}", topology::DEAD);
        let next = r#"{"seq":1,"next_by_subj":"nbp.dead.>"}"#;
        for (name, body) in [("GET", next), ("DELETE", r#"{"seq":1,"no_erase":true}"#)] {
            let answer = client.request(call(name), body.into()).await.expect("its right");
            let answer = String::from_utf8_lossy(&answer.payload).into_owned();
            assert!(!answer.contains("\"error\""), "{answer}");
        }
    });
    assert_eq!(messages(pool, topology::DEAD), 1);
}

/// What `gate check` does, and what `gate run` needs besides.
fn gates_read_and_tell(pool: &KeyedPool, id: &str, rev: &str) {
    let trusted = format!(
        "trusted_identities = [{:?}]\ntrusted_workers = [{:?}]",
        pool.keys().public("ci"),
        pool.keys().public("w1"),
    );
    pool.gate_check(&trusted, &["--rev", rev, "--run", id]).expect_code(0);
    let job: proto::JobKey = format!("{REPO}.{rev}.h01").parse().expect("a job");
    block_on(async {
        let bus = pool.bus("gate").await;
        let run = RunRecord {
            v: V1,
            run: RunId(Uuid::now_v7()),
            by: bus.identity().clone(),
            at: bus::clock::now(),
            repo: job.repo.clone(),
            revision: job.revision.clone(),
            git_ref: None,
            hosts: [(job.host.clone(), "x86_64-linux".parse().expect("a class"))].into(),
            excluded: Vec::new(),
            priority: Priority::High,
            force: false,
            overrides: proto::Overrides::default(),
            trace: None,
        };
        bus.record_run(&run).await.expect("its right");
        let ask = Ask { retry: true, ..bus::ask_of(&run, &run.hosts[&job.host]) };
        bus.ask(&job, &ask).await.expect("its right");
        bus.withdraw(&job, run.run, None).await.expect("its right");
        // What `gate run` keeps and tells besides.
        let (leases, key) = (bus.gate_leases(), subject::gate_lease_key(&job.repo, "master"));
        let lease = Lease { v: V1, holder: None, run: None, failed: None };
        let revision = leases.put_if(&key, &lease, 0).await.expect("its right");
        leases.put_if(&key, &lease, revision).await.expect("its right");
        leases.list(subject::GATE_LEASES).await.expect("its right");
        bus.gates_time().await.expect("its right");
        let landed = Landed {
            v: V1,
            at: bus::clock::now(),
            repo: job.repo.clone(),
            branch: "master".into(),
            revision: job.revision.clone(),
            base: job.revision.clone(),
            gate: GateId(Uuid::now_v7()),
            hosts: BTreeMap::new(),
        };
        bus.tell_landed(&landed).await.expect("its right");
        bus.tell_landed(&landed).await.expect("its right");
    });
}

#[test]
fn each_role_does_its_part_with_acks_of_the_first_form() {
    everybody_does_their_part(&first_ack_form());
}

#[test]
fn each_role_does_its_part_with_acks_of_the_second_form() {
    everybody_does_their_part(&second_ack_form());
}

#[test]
fn a_key_is_made_once_and_is_its_holders_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let keys = tests::keys::Keys::new([("w1", "worker")]);
    let seed = std::fs::read(keys.seed_file("w1")).expect("a seed file");
    let mode = std::fs::metadata(keys.seed_file("w1")).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let again = |json: bool| {
        let mut producer = tests::process::command(tests::process::binary("producer"));
        producer.args(["keys", "new", "worker", "w1", "--out"]).arg(keys.dir());
        tests::process::run(producer.args(json.then_some("--json")), DEADLINE)
    };
    let refused = again(true).expect_code(2);
    assert!(refused.stderr.contains("never overwritten"), "{refused}");
    assert_eq!(std::fs::read(keys.seed_file("w1")).expect("a seed file"), seed);
    std::fs::remove_file(keys.seed_file("w1")).expect("our own file");
    let made = again(true).expect_code(0);
    let new = std::fs::read_to_string(keys.seed_file("w1")).expect("a seed file");
    assert_ne!(new.as_bytes(), seed);
    assert!(text(&made.json()["public_key"]).starts_with('U'), "{made}");
    assert!(!made.stdout.contains(new.trim()) && !made.stderr.contains(new.trim()), "{made}");
}
