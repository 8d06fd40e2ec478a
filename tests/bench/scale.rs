//! What a job and a worker cost the broker: the figures from which a larger pool is reckoned.

use std::sync::Arc;

use crate::{
    broker::{Broker, Sync, jobs},
    noop::{LONG, NoOp, Worker, runtime},
    row::{Row, Target},
    size::cpu,
};

const JOBS: usize = 2000;
const SLOTS: usize = 64;

/// What one job cost.
struct Cost {
    messages: f64,
    stored: f64,
    server_ms: f64,
}

pub(crate) fn rows(rounds: usize) -> Vec<Row> {
    let rounds: Vec<Cost> = (0..rounds).map(|_| round()).collect();
    let row = |what: &str, unit, cost: fn(&Cost) -> f64| {
        Row::alone(what, unit, rounds.iter().map(cost), Target::None)
    };
    vec![
        row("broker, both ways, per no-op job", "messages", |it| it.messages),
        row("broker, stored when all are through, per no-op job", "bytes", |it| it.stored),
        row("broker, processor time per no-op job, sync always", "ms", |it| it.server_ms),
    ]
}

/// From the ask to the last event, the asks of a bare loop included.
fn round() -> Cost {
    runtime().block_on(async {
        let broker = Arc::new(Broker::start(Sync::Always, LONG).await);
        let said = || {
            let all = broker.server.monitored("/varz");
            all["in_msgs"].as_u64().unwrap_or(0) + all["out_msgs"].as_u64().unwrap_or(0)
        };
        let stored = || broker.server.monitored("/jsz")["storage"].as_u64().unwrap_or(0);
        let before = (said(), stored(), cpu(broker.server.id()));
        broker.queue(&jobs(JOBS)).await;
        let builds = NoOp::ending();
        let worker = Worker::start(&broker.server.url(), SLOTS, builds);
        broker.until_drained(JOBS, 2 * JOBS).await;
        let after = (said(), stored(), cpu(broker.server.id()));
        worker.stop().await;
        let jobs = JOBS as f64;
        Cost {
            messages: (after.0 - before.0) as f64 / jobs,
            stored: (after.1 - before.1) as f64 / jobs,
            server_ms: (after.2 - before.2) * 1e3 / jobs,
        }
    })
}
