//! What leases cost that are only held: a worker process with many builds that do not end.

use std::time::Duration;

use proto::topology::ACK_WAIT_DEFAULT;
use tests::{Spawned, process::command, scratch};

use crate::{
    FEW,
    broker::{Broker, Sync, jobs},
    noop::{self, runtime},
    row::{Row, Target},
    size::{resident, share},
};

const LEASES: usize = 256;

const RESULTS: &str = "KV_nbp-results";

struct Held {
    cpu: f64,
    memory: f64,
}

pub(crate) fn rows(rounds: usize) -> Vec<Row> {
    let rounds: Vec<Held> = (0..rounds.min(FEW)).map(|_| round()).collect();
    let what = |what: &str| format!("{LEASES} leases held by one worker, {what}");
    let cpu = rounds.iter().map(|held| held.cpu);
    let memory = rounds.iter().map(|held| held.memory);
    vec![
        Row::alone(what("share of a core"), "%", cpu, Target::AtMost(5.0)),
        Row::alone(what("resident"), "MiB", memory, Target::AtMost(64.0)),
    ]
}

/// Watched for one heartbeat: each lease is renewed once in it.
fn round() -> Held {
    let (runtime, dir) = (runtime(), scratch());
    let broker = runtime.block_on(Broker::start(Sync::Always, ACK_WAIT_DEFAULT));
    let config = noop::config(dir.path(), "holds", &broker.server.url(), LEASES);
    let mut run = command(std::env::current_exe().expect("a running program has a path"));
    run.arg(noop::HOLD).arg(config);
    let worker = Spawned::start("holds", &mut run, dir.path());
    let written = async || broker.written(RESULTS).await;
    runtime.block_on(async {
        broker.queue(&jobs(LEASES)).await;
        let all = async |_: &Broker| written().await >= LEASES as u64;
        broker.until("every lease to be held", all).await;
    });
    // Taking them is not holding them.
    std::thread::sleep(Duration::from_secs(3));
    let beat = ACK_WAIT_DEFAULT / 4;
    let before = runtime.block_on(written());
    let cpu = share(worker.id(), beat) * 100.0;
    let renewed = runtime.block_on(written()) - before;
    assert!(renewed >= LEASES as u64, "{renewed} renewals: each lease is held");
    Held { cpu, memory: resident(worker.id()) }
}
