//! How long the jobs of killed workers stay with nobody.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use proto::{JobKey, topology};
use tests::{Spawned, process::command, scratch};

use crate::{
    FEW,
    broker::{Broker, Sync, jobs},
    noop::{self, NoOp, Worker, runtime},
    row::{Row, Target, quantile},
};

const VICTIMS: usize = 50;

/// The shortest that leaves a heartbeat half a second on a busy machine.
const ACK_WAIT: Duration = Duration::from_secs(2);

/// Kills are spread over several heartbeats, so that leases are of every age.
const APART: Duration = Duration::from_millis(70);

pub(crate) fn rows(rounds: usize) -> Vec<Row> {
    let all: Vec<Vec<f64>> = (0..rounds.min(FEW)).map(|_| taken_over()).collect();
    let most = ACK_WAIT.as_secs_f64() + 1.0;
    let row = |name: &str, share: f64, target: Target| {
        let values = all.iter().map(|one| quantile(one, share));
        let what = format!("takeover after SIGKILL of {VICTIMS} workers, {name}, ack_wait 2 s");
        Row::alone(what, "s", values, target)
    };
    vec![row("p50", 0.5, Target::None), row("p99", 0.99, Target::AtMost(most))]
}

/// Seconds from each kill to the claim of another worker.
fn taken_over() -> Vec<f64> {
    let (runtime, dir) = (runtime(), scratch());
    let broker = runtime.block_on(Broker::start(Sync::Always, ACK_WAIT));
    let url = broker.server.url();
    let bench = std::env::current_exe().expect("a running program has a path");
    let start = |number: usize| {
        let name = format!("w{number}");
        let config = noop::config(dir.path(), &name, &url, 1);
        let mut run = command(&bench);
        run.arg(noop::HOLD).arg(config);
        (name.clone(), Spawned::start(&name, &mut run, dir.path()))
    };
    let victims: Vec<_> = (0..VICTIMS).map(start).collect();
    let jobs = jobs(VICTIMS);
    let held = runtime.block_on(async {
        broker.queue(&jobs).await;
        let mut held = BTreeMap::new();
        broker
            .until("every worker to hold a job", async |broker| {
                broker.messages("KV_nbp-results").await >= VICTIMS as u64
            })
            .await;
        while held.len() < VICTIMS {
            for job in &jobs {
                let entry = broker.bus.results().get(&job.job.to_string()).await.expect("a record");
                if let Some(running) = entry.value.as_ref().and_then(|record| record.running()) {
                    held.insert(running.worker.to_string(), job.job.clone());
                }
            }
        }
        held
    });
    let builds = NoOp::holding();
    let heir = runtime.block_on(async { Worker::start(&url, VICTIMS, builds.clone()) });
    let mut killed: BTreeMap<JobKey, Instant> = BTreeMap::new();
    for (name, mut victim) in victims {
        killed.insert(held[&name].clone(), Instant::now());
        victim.sigkill();
        std::thread::sleep(APART);
    }
    runtime.block_on(async {
        builds.until_begun(VICTIMS).await;
        let taken = builds.begun();
        heir.stop().await;
        assert_eq!(broker.messages(topology::JOBS).await, VICTIMS as u64, "none is lost");
        taken.iter().map(|(job, at)| at.duration_since(killed[job]).as_secs_f64()).collect()
    })
}
