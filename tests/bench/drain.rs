//! Finished no-op jobs per second, 64 in flight, over the whole path.

use std::{sync::Arc, time::Instant};

use crate::{
    broker::{Broker, Sync, jobs},
    floor,
    noop::{LONG, NoOp, Worker, runtime},
    row::{Row, Target},
};

const SLOTS: usize = 64;

/// Events of one such job: claimed and finished. The floor tells the second one only.
const EVENTS: usize = 2;

pub(crate) fn rows(rounds: usize) -> Vec<Row> {
    let row = |sync: Sync| {
        let count = match sync {
            Sync::Default => 4000,
            Sync::Always => 1000,
        };
        let round = |_| (pool(sync, count), bare(sync, count));
        Row::against(
            format!("no-op jobs finished, 64 in flight, {}", sync.words()),
            "jobs/s",
            "bare loop",
            (0..rounds).map(round).collect::<Vec<_>>(),
            Target::RatioAtLeast(0.7),
        )
    };
    Sync::BOTH.map(row).into()
}

/// Jobs per second with so many queued at the start.
pub(crate) fn pool(sync: Sync, count: usize) -> f64 {
    runtime().block_on(async {
        let broker = Broker::start(sync, LONG).await;
        broker.queue(&jobs(count)).await;
        let builds = NoOp::ending();
        let worker = Worker::start(&broker.server.url(), SLOTS, builds.clone());
        builds.until_begun(1).await;
        let start = builds.begun()[0].1;
        broker.until_drained(count, EVENTS * count).await;
        let rate = rate(count, start);
        worker.stop().await;
        assert_eq!(builds.begun().len(), count, "each job once");
        rate
    })
}

/// Jobs per second over the first `count` of so many queued. What is left stays in the queue.
pub(crate) fn first(sync: Sync, queued: usize, count: usize) -> f64 {
    runtime().block_on(async {
        let broker = Broker::start(sync, LONG).await;
        broker.queue(&jobs(queued)).await;
        let builds = NoOp::ending();
        let worker = Worker::start(&broker.server.url(), SLOTS, builds.clone());
        builds.until_begun(count).await;
        let begun = builds.begun();
        worker.stop().await;
        let (first, last) = (begun[0].1, begun[count - 1].1);
        (count - 1) as f64 / last.duration_since(first).as_secs_f64()
    })
}

fn bare(sync: Sync, count: usize) -> f64 {
    runtime().block_on(async {
        let broker = Arc::new(Broker::start(sync, LONG).await);
        broker.queue(&jobs(count)).await;
        let start = floor::drain(&broker, SLOTS, count).await;
        broker.until_drained(count, count).await;
        rate(count, start)
    })
}

fn rate(count: usize, start: Instant) -> f64 {
    count as f64 / start.elapsed().as_secs_f64()
}
