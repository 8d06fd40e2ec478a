//! `gate check` and `producer status`, the whole programs, over results that stand in the bucket.

use bus::clock;
use futures_util::{StreamExt as _, stream};
use proto::{
    Class, Host, Identity, Priority, RunId, RunRecord, V1,
    subject::JobSubject,
    topology::{self, Bucket},
};
use tempfile::TempDir;
use tests::{
    process::{binary, command},
    scratch,
};
use tokio::runtime::Runtime;
use uuid::Uuid;

use crate::{
    broker::{Broker, PIPELINED, REPO, SYSTEM, Sync, jobs},
    floor,
    noop::{LONG, runtime},
    row::{Row, Target},
    timed,
};

/// Hosts, the milliseconds that a verdict over them may take, and a look at them.
const SIZES: [(usize, f64, Option<f64>); 3] =
    [(16, 20.0, None), (1_000, 300.0, None), (10_000, 3_000.0, Some(1_000.0))];

pub(crate) fn rows(rounds: usize) -> Vec<Row> {
    let mut rows = Vec::new();
    for (count, verdict, status) in SIZES {
        let built = Built::new(count);
        let mut row = |what: &str, most, round: fn(&Built) -> f64| {
            let values = (0..rounds).map(|_| round(&built));
            let what = format!("{what} {count} hosts");
            rows.push(Row::alone(what, "ms", values, Target::AtMost(most)));
        };
        row("verdict over", verdict, Built::verdict);
        if let Some(status) = status {
            row("`status` of a run of", status, Built::status);
        }
    }
    rows
}

/// A finished run and its broker.
struct Built {
    broker: Broker,
    run: RunId,
    revision: String,
    dir: TempDir,
    _runtime: Runtime,
}

impl Built {
    fn new(count: usize) -> Self {
        let runtime = runtime();
        let (broker, run, revision) = runtime.block_on(finished(count));
        Self { broker, run, revision, dir: scratch(), _runtime: runtime }
    }

    fn verdict(&self) -> f64 {
        let run = self.run.to_string();
        let args = ["check", "--repo", REPO, "--rev", &self.revision, "--run", &run];
        self.millis("gate", &args, "pass")
    }

    fn status(&self) -> f64 {
        self.millis("producer", &["status", &self.run.to_string()], " built")
    }

    fn millis(&self, program: &str, args: &[&str], says: &str) -> f64 {
        let config = self.dir.path().join("client.toml");
        let text = format!("[nats]\nurl = \"{}\"\n", self.broker.server.url());
        std::fs::write(&config, text).expect("a writable temporary folder");
        let mut command = command(binary(program));
        command.current_dir(self.dir.path()).env("HOME", self.dir.path());
        let (took, said) = timed(command.arg("--config").arg(&config).args(args));
        assert!(said.contains(says), "{said}");
        took * 1e3
    }
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
    // What has ended is acked, so it is in the queue no more.
    let queue = broker.js.get_stream(topology::JOBS).await.expect("the queue");
    queue.purge().await.expect("an empty queue");
    (broker, run.run, revision.to_string())
}
