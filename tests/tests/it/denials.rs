//! What each role may not do, tried one by one against the server. The tables of `proto` say what
//! the data says; this says that the server does so.

use std::collections::BTreeMap;

use futures_util::StreamExt as _;
use tests::{Flake, KeyedPool, eventually, keys::HOLDERS, pool::REPO};

use crate::{DEADLINE, all_built, text};

/// In somebody's name, a publish that must be refused. `{job}` is a job with a result, `{ci}` and
/// so on are public keys.
const PUBLISHES: [(&str, &str); 85] = [
    // Results are written by workers only.
    ("ci", "$KV.nbp-results.{job}"),
    ("gate", "$KV.nbp-results.{job}"),
    ("reader", "$KV.nbp-results.{job}"),
    ("ops", "$KV.nbp-results.{job}"),
    ("admin", "$KV.nbp-results.{job}"),
    ("ci", "$KV.nbp-last-good.homelab.h01"),
    ("gate", "$KV.nbp-last-good.homelab.h01"),
    // Runs under one's own identity only.
    ("ci", "$KV.nbp-runs.{other}.{run}"),
    ("ci", "$KV.nbp-runs.{gate}.{run}"),
    ("ci", "$KV.nbp-runs.local.{run}"),
    ("gate", "$KV.nbp-runs.{ci}.{run}"),
    ("ops", "$KV.nbp-runs.{ci}.{run}"),
    ("w1", "$KV.nbp-runs.{ci}.{run}"),
    ("w1", "$KV.nbp-runs.{w1}.{run}"),
    ("reader", "$KV.nbp-runs.{reader}.{run}"),
    ("admin", "$KV.nbp-runs.{admin}.{run}"),
    // Acking, pulling and handing back, in both forms.
    ("ci", "$JS.ACK.NBP_JOBS.x86_64-linux-high.1.1.1.1.0"),
    ("ci", "$JS.ACK._.hash.NBP_JOBS.x86_64-linux-high.1.1.1.1.0.x"),
    ("gate", "$JS.ACK.NBP_JOBS.x86_64-linux-high.1.1.1.1.0"),
    ("ops", "$JS.ACK.NBP_JOBS.x86_64-linux-high.1.1.1.1.0"),
    ("reader", "$JS.ACK._.hash.NBP_JOBS.x86_64-linux-high.1.1.1.1.0.x"),
    ("admin", "$JS.ACK.NBP_JOBS.x86_64-linux-high.1.1.1.1.0"),
    ("arm", "$JS.ACK.NBP_JOBS.x86_64-linux-high.1.1.1.1.0"),
    ("arm", "$JS.ACK._.hash.NBP_JOBS.x86_64-linux-high.1.1.1.1.0.x"),
    ("ci", "$JS.API.CONSUMER.MSG.NEXT.NBP_JOBS.x86_64-linux-high"),
    ("gate", "$JS.API.CONSUMER.MSG.NEXT.NBP_JOBS.x86_64-linux-high"),
    ("ops", "$JS.API.CONSUMER.MSG.NEXT.NBP_JOBS.x86_64-linux-high"),
    ("admin", "$JS.API.CONSUMER.MSG.NEXT.NBP_JOBS.x86_64-linux-high"),
    ("arm", "$JS.API.CONSUMER.MSG.NEXT.NBP_JOBS.x86_64-linux-high"),
    // Streams and consumers are the admin's.
    ("ci", "$JS.API.STREAM.CREATE.MINE"),
    ("ci", "$JS.API.STREAM.DELETE.NBP_JOBS"),
    ("ci", "$JS.API.STREAM.PURGE.NBP_JOBS"),
    ("ci", "$JS.API.STREAM.MSG.DELETE.NBP_JOBS"),
    ("ci", "$JS.API.CONSUMER.CREATE.NBP_JOBS"),
    ("ci", "$JS.API.CONSUMER.CREATE.KV_nbp-results.mine.$KV.nbp-results.>"),
    ("ci", "$JS.API.CONSUMER.DELETE.NBP_JOBS.x86_64-linux-high"),
    ("ci", "$JS.API.CONSUMER.PAUSE.NBP_JOBS.x86_64-linux-high"),
    ("gate", "$JS.API.STREAM.UPDATE.KV_nbp-results"),
    ("gate", "$JS.API.STREAM.DELETE.KV_nbp-results"),
    ("gate", "$JS.API.CONSUMER.DURABLE.CREATE.NBP_JOBS.mine"),
    ("gate", "$JS.API.CONSUMER.PAUSE.NBP_JOBS.x86_64-linux-high"),
    ("w1", "$JS.API.STREAM.CREATE.MINE"),
    ("w1", "$JS.API.STREAM.DELETE.KV_nbp-results"),
    ("w1", "$JS.API.STREAM.PURGE.NBP_DEAD"),
    ("w1", "$JS.API.STREAM.MSG.DELETE.NBP_DEAD"),
    ("w1", "$JS.API.CONSUMER.CREATE.NBP_JOBS"),
    ("w1", "$JS.API.CONSUMER.DELETE.NBP_JOBS.x86_64-linux-high"),
    ("ops", "$JS.API.STREAM.CREATE.MINE"),
    ("ops", "$JS.API.STREAM.DELETE.NBP_JOBS"),
    ("ops", "$JS.API.STREAM.PURGE.NBP_DEAD"),
    ("ops", "$JS.API.STREAM.MSG.DELETE.NBP_JOBS"),
    ("ops", "$JS.API.CONSUMER.CREATE.NBP_JOBS"),
    ("ops", "$JS.API.CONSUMER.DELETE.NBP_JOBS.x86_64-linux-high"),
    ("reader", "$JS.API.STREAM.CREATE.MINE"),
    ("reader", "$JS.API.CONSUMER.CREATE.NBP_LOGS"),
    ("reader", "$JS.API.CONSUMER.PAUSE.NBP_JOBS.x86_64-linux-high"),
    // What may be answered with stored bytes as they are, perhaps into another bucket.
    ("ci", "$JS.API.DIRECT.GET.KV_nbp-results.$KV.nbp-results.{job}"),
    ("gate", "$JS.API.DIRECT.GET.KV_nbp-results"),
    ("w1", "$JS.API.DIRECT.GET.KV_nbp-results.$KV.nbp-results.{job}"),
    ("admin", "$JS.API.DIRECT.GET.KV_nbp-results"),
    // Workers: jobs of other classes, wishes, gates, the names of others, what landed.
    ("w1", "nbp.build.aarch64-linux.high.{job}.{run}"),
    ("arm", "nbp.build.x86_64-linux.high.{job}.{run}"),
    ("w1", "nbp.cancel.{job}"),
    ("w1", "$KV.nbp-requests.{job}"),
    ("w1", "$KV.nbp-gates.homelab.master"),
    ("w1", "$KV.nbp-workers.mallory"),
    ("w1", "nbp.event.worker.ready.mallory"),
    ("w1", "nbp.event.landed.homelab"),
    // Submitters and gates: the words of workers.
    ("ci", "$KV.nbp-gates.homelab.master"),
    ("ci", "$KV.nbp-workers.w1"),
    ("ci", "nbp.log.{job}.1"),
    ("ci", "nbp.event.landed.homelab"),
    ("ci", "nbp.event.run.submitted.homelab.{gate}"),
    ("ci", "nbp.event.class.paused.x86_64-linux.{ci}"),
    ("ops", "nbp.event.class.paused.x86_64-linux.{admin}"),
    ("gate", "nbp.event.job.finished.{job}"),
    ("gate", "nbp.dead.{job}"),
    // Readers write nothing at all.
    ("reader", "$KV.nbp-requests.{job}"),
    ("reader", "$KV.nbp-gates.homelab.master"),
    ("reader", "nbp.build.x86_64-linux.high.{job}.{run}"),
    ("reader", "nbp.cancel.{job}"),
    ("reader", "nbp.event.landed.homelab"),
    ("reader", "nbp.event.run.submitted.homelab.{reader}"),
    ("reader", "nbp.log.{job}.1"),
    ("reader", "_INBOX_{ci}.x"),
];

/// In somebody's name, a subscription that must be refused.
const SUBSCRIPTIONS: [(&str, &str); 18] = [
    ("ci", "_INBOX_{other}.>"),
    ("ci", "_INBOX_{gate}.>"),
    ("gate", "_INBOX_{ci}.>"),
    ("w1", "_INBOX_{ci}.>"),
    ("w1", "_INBOX_{mallory}.>"),
    ("reader", "_INBOX_{admin}.>"),
    ("ops", "_INBOX_{admin}.>"),
    ("admin", "_INBOX_{ops}.>"),
    ("reader", "_INBOX.>"),
    ("ci", ">"),
    ("reader", "nbp.>"),
    ("ci", "nbp.build.>"),
    ("arm", "nbp.build.x86_64-linux.>"),
    ("reader", "$KV.nbp-requests.>"),
    ("gate", "$KV.>"),
    ("ci", "nbp.cancel.>"),
    ("reader", "$JS.API.>"),
    ("w1", "$JS.EVENT.>"),
];

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(1).enable_all().build().expect("a runtime").block_on(work)
}

fn filled(pool: &KeyedPool, template: &str, job: &str) -> String {
    let run = "01a205c2-16b4-7095-a68f-a42b236999a4";
    let mut subject = template.replace("{job}", job).replace("{run}", run);
    for (name, _, _) in HOLDERS {
        subject = subject.replace(&format!("{{{name}}}"), pool.keys().public(name));
    }
    assert!(!subject.contains('{'), "{subject}");
    subject
}

/// Messages and the newest sequence of every stream, as the admin sees them.
fn everything_stored(pool: &KeyedPool) -> BTreeMap<String, (u64, u64)> {
    block_on(async {
        let (client, _) = pool.raw("admin").await;
        let context = async_nats::jetstream::new(client);
        let mut streams = context.streams();
        let mut found = BTreeMap::new();
        while let Some(stream) = streams.next().await {
            let info = stream.expect("its state");
            // Presence is put all the time.
            if info.config.name != "KV_nbp-workers" {
                found.insert(info.config.name, (info.state.messages, info.state.last_sequence));
            }
        }
        found
    })
}

#[test]
fn whatever_a_role_is_not_for_is_denied() {
    let pool = KeyedPool::start();
    let rev = pool.repo.commit("master", &Flake::hosts(1).files());
    let mut worker = pool.worker("w1", "");
    let args = ["submit", "--repo", REPO, "h01", "--rev", &rev, "--wait", "--json"];
    let built = all_built(pool.producer("ci", &args), 1);
    let job = text(&built["hosts"][0]["job"]);
    worker.sigterm();
    worker.wait(DEADLINE);
    let before = everything_stored(&pool);
    assert_eq!(before.len(), 9, "{before:?}");

    block_on(async {
        let mut everybody = BTreeMap::new();
        for (name, _, _) in HOLDERS {
            everybody.insert(name, pool.raw(name).await);
        }
        let mut kept = Vec::new();
        for (name, template) in SUBSCRIPTIONS {
            let subject = filled(&pool, template, &job);
            kept.push(everybody[name].0.subscribe(subject).await.expect("connected"));
        }
        for (name, template) in PUBLISHES {
            let (client, _) = &everybody[name];
            let body = r#"{"v":1,"epoch":99}"#.into();
            let reply = client.new_inbox();
            let subject = filled(&pool, template, &job);
            client.publish_with_reply(subject, reply, body).await.expect("connected");
        }
        for (client, _) in everybody.values() {
            client.flush().await.expect("connected");
        }
        for (name, template) in PUBLISHES.iter().chain(&SUBSCRIPTIONS) {
            let subject = filled(&pool, template, &job);
            let complaints = &everybody[name].1;
            let what = format!("the server to deny {name} {subject}");
            eventually(&what, DEADLINE, || complaints.name(&subject).then_some(()));
        }
    });

    assert_eq!(everything_stored(&pool), before, "something was written all the same");
}

/// A server sends its answer to whatever subject the question names for it. Within one account a
/// stream would store it: so a reader could overwrite a result.
#[test]
fn nobody_gets_an_answer_stored_where_he_may_not_write() {
    let pool = KeyedPool::start();
    let rev = pool.repo.commit("master", &Flake::hosts(1).files());
    let mut worker = pool.worker("w1", "");
    let args = ["submit", "--repo", REPO, "h01", "--rev", &rev, "--wait", "--json"];
    let built = all_built(pool.producer("ci", &args), 1);
    let job = text(&built["hosts"][0]["job"]);
    worker.sigterm();
    worker.wait(DEADLINE);
    let before = everything_stored(&pool);

    let targets = [
        "$KV.nbp-results.{job}",
        "$KV.nbp-last-good.homelab.h01",
        "$KV.nbp-workers.w1",
        "nbp.log.{job}.1",
        "nbp.event.job.finished.{job}",
        "nbp.dead.{job}",
    ];
    let more_of_readers = [
        "$KV.nbp-requests.{job}",
        "$KV.nbp-runs.{ci}.{run}",
        "$KV.nbp-gates.homelab.master",
        "nbp.build.x86_64-linux.high.{job}.{run}",
        "nbp.event.run.submitted.homelab.{ci}",
        "nbp.event.landed.homelab",
    ];
    // By the name that the server gives it, where it lets calls through to the pool's account.
    let more_of_submitters = [
        "NBP.KV.nbp-runs.{gate}.{run}",
        "$KV.nbp-runs.{gate}.{run}",
        "NBP.KV.nbp-gates.homelab.master",
        "nbp.event.run.submitted.homelab.{gate}",
        "nbp.event.class.paused.x86_64-linux.{ops}",
        "nbp.event.landed.homelab",
    ];
    block_on(async {
        for (name, _, _) in HOLDERS.iter().filter(|it| !matches!(it.1, "worker" | "admin")) {
            let (client, _) = pool.raw(name).await;
            let question = format!("{{\"last_by_subj\":\"$KV.nbp-results.{job}\"}}");
            let more = match *name {
                "reader" => &more_of_readers[..],
                "ci" => &more_of_submitters,
                _ => &[],
            };
            for target in targets.iter().chain(more) {
                for (call, body) in [
                    ("$JS.API.STREAM.MSG.GET.KV_nbp-results", question.as_str()),
                    ("$JS.API.STREAM.INFO.KV_nbp-results", ""),
                    ("$JS.API.CONSUMER.INFO.NBP_JOBS.x86_64-linux-high", ""),
                ] {
                    let (target, body) = (filled(&pool, target, &job), body.to_owned().into());
                    client.publish_with_reply(call, target, body).await.expect("connected");
                }
            }
            // Questions are answered in turn: when this one is, so are those before it.
            let last = client.request("$JS.API.STREAM.INFO.KV_nbp-results", "".into()).await;
            last.expect("an answer");
        }
    });

    assert_eq!(everything_stored(&pool), before, "an answer was stored");
    let gate = pool.gate_check("", &["--rev", &rev, "--hosts", "h01"]);
    assert_eq!(gate.expect_code(0).json()["verdict"], "pass");
}

#[test]
fn a_denied_command_says_what_was_denied() {
    let pool = KeyedPool::start();
    let rev = pool.repo.commit("master", &Flake::hosts(1).files());
    for (name, args, denied) in [
        ("reader", &["submit", "--repo", REPO, "h01", "--rev", &rev][..], "$KV.nbp-runs."),
        ("ci", &["pause", "x86_64-linux"], "CONSUMER.PAUSE.NBP_JOBS"),
        ("ops", &["setup", "--classes", "riscv64-linux"], "CONSUMER.CREATE.NBP_JOBS.riscv64"),
    ] {
        let output = pool.producer(name, args).expect_code(2);
        assert!(output.stderr.contains("denied"), "{output}");
        assert!(output.stderr.contains(denied), "{output}");
    }
}
