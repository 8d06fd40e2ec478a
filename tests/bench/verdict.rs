//! `gate check`, the whole program, over results that stand in the bucket.

use bus::clock;
use futures_util::{StreamExt as _, stream};
use proto::{
    Class, Host, Identity, Priority, RunId, RunRecord, V1, subject::JobSubject, topology::Bucket,
};
use tests::{
    process::{binary, command},
    scratch,
};
use uuid::Uuid;

use crate::{
    broker::{Broker, PIPELINED, REPO, SYSTEM, Sync, jobs},
    floor,
    noop::{LONG, runtime},
    row::{Row, Target},
    timed,
};

pub(crate) fn rows(rounds: usize) -> Vec<Row> {
    let row = |(count, most): (usize, f64)| {
        let values = measured(count, rounds);
        Row::alone(format!("verdict over {count} hosts"), "ms", values, Target::AtMost(most))
    };
    [(16, 20.0), (1_000, 300.0), (10_000, 3_000.0)].map(row).into()
}

fn measured(count: usize, rounds: usize) -> Vec<f64> {
    let runtime = runtime();
    let (broker, id, revision) = runtime.block_on(finished(count));
    let dir = scratch();
    let config = dir.path().join("gate.toml");
    let text = format!("[nats]\nurl = \"{}\"\n", broker.server.url());
    std::fs::write(&config, text).expect("a writable temporary folder");
    let measure = |_| {
        let mut check = command(binary("gate"));
        check.current_dir(dir.path()).env("HOME", dir.path()).arg("--config").arg(&config);
        check.args(["check", "--repo", REPO, "--rev", &revision, "--run", &id.to_string()]);
        let (took, said) = timed(&mut check);
        assert!(said.contains("pass"), "{said}");
        took * 1e3
    };
    (0..rounds).map(measure).collect()
}

/// A run of so many hosts, all of them built.
async fn finished(count: usize) -> (Broker, RunId, String) {
    let broker = Broker::start(Sync::Always, LONG).await;
    let jobs = jobs(count);
    let revision = jobs[0].job.revision.clone();
    let class: Class = SYSTEM.parse().expect("a class");
    let hosts = jobs.iter().map(|job| (job.job.host.clone(), class.clone()));
    let run = RunRecord {
        v: V1,
        run: RunId(Uuid::now_v7()),
        by: Identity::local(),
        at: clock::now(),
        repo: REPO.parse().expect("a repo"),
        revision: revision.clone(),
        git_ref: None,
        overrides: proto::Overrides::default(),
        hosts: hosts.collect(),
        excluded: Vec::<Host>::new(),
        priority: Priority::Normal,
        force: false,
        trace: None,
    };
    broker.bus.record_run(&run).await.expect("a run");
    broker.queue(&jobs).await;
    let finish = |job: JobSubject| {
        let broker = &broker;
        async move {
            let key = job.job.to_string();
            broker.put_if(Bucket::Results, &key, floor::finish_of(&job), 0).await
        }
    };
    stream::iter(jobs).map(finish).buffer_unordered(PIPELINED).count().await;
    (broker, run.run, revision.to_string())
}
