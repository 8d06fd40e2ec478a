//! From the ask to the claim, on an idle pool.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bus::Bus;
use futures_util::StreamExt as _;
use proto::{RunId, request::Ask, subject::JobSubject, topology::Bucket};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::{
    broker::{Broker, Sync, jobs, wish},
    floor,
    noop::{LONG, NoOp, Worker, runtime},
    row::{Row, Target, quantile},
};

/// Between two asks: long enough for the pool to be idle again.
const APART: Duration = Duration::from_millis(10);

pub(crate) fn rows(rounds: usize) -> Vec<Row> {
    Sync::BOTH.into_iter().flat_map(|sync| of(sync, rounds)).collect()
}

fn of(sync: Sync, rounds: usize) -> [Row; 2] {
    let count = match sync {
        Sync::Default => 300,
        Sync::Always => 150,
    };
    let rounds: Vec<_> = (0..rounds).map(|_| (pool(sync, count), bare(sync, count))).collect();
    let row = |name: &str, share: f64, most: f64| {
        let pairs =
            rounds.iter().map(|(pool, bare)| (quantile(pool, share), quantile(bare, share)));
        let what = format!("submit to claimed, idle pool, {name}, {}", sync.words());
        Row::against(what, "ms", "bare loop", pairs, Target::RatioAtMost(most))
    };
    [row("p50", 0.5, 1.5), row("p99", 0.99, 2.0)]
}

fn pool(sync: Sync, count: usize) -> Vec<f64> {
    runtime().block_on(async {
        let broker = Broker::start(sync, LONG).await;
        let builds = NoOp::ending();
        let worker = Worker::start(&broker.server.url(), 4, builds.clone());
        let mut all = Vec::new();
        // The first ones find a worker that is still starting.
        for (number, job) in jobs(count + WARM).iter().enumerate() {
            let start = Instant::now();
            ask(&broker.bus, job).await;
            let claimed = builds.claimed(&job.job).await;
            if number >= WARM {
                all.push(millis(start, claimed));
            }
            tokio::time::sleep(APART).await;
        }
        worker.stop().await;
        all
    })
}

const WARM: usize = 10;

async fn ask(bus: &Bus, job: &JobSubject) {
    let ask = Ask {
        run: RunId(Uuid::now_v7()),
        wish: wish(),
        class: job.class.clone(),
        force: false,
        retry: false,
        avoid_worker: None,
        overrides: proto::Overrides::default(),
        trace: None,
    };
    bus.ask(&job.job, &ask).await.expect("asked");
}

/// The same reads and writes: both keys read, the wish and its message written; one pull, both keys
/// read, the claim written.
fn bare(sync: Sync, count: usize) -> Vec<f64> {
    runtime().block_on(async {
        let broker = Arc::new(Broker::start(sync, LONG).await);
        let (tell, mut told) = mpsc::channel(1);
        let worker = claims(Arc::clone(&broker), tell);
        let asks = async {
            let mut all = Vec::new();
            for (number, job) in jobs(count + WARM).iter().enumerate() {
                let (key, start) = (job.job.to_string(), Instant::now());
                broker.read(Bucket::Requests, &key).await;
                broker.read(Bucket::Results, &key).await;
                broker.queue_one(job).await;
                let claimed = told.recv().await.expect("a claim");
                if number >= WARM {
                    all.push(millis(start, claimed));
                }
                tokio::time::sleep(APART).await;
            }
            all
        };
        tokio::select! {
            all = asks => all,
            () = worker => unreachable!("it goes on for ever"),
        }
    })
}

async fn claims(broker: Arc<Broker>, tell: mpsc::Sender<Instant>) {
    let consumer = floor::consumer(&broker).await;
    loop {
        let mut batch =
            consumer.fetch().max_messages(1).expires(LONG).messages().await.expect("a pull");
        while let Some(message) = batch.next().await {
            let message = message.expect("a job");
            let job = JobSubject::parse(&message.subject).expect("a job");
            floor::claim(&broker, &job.job, floor::claim_of(&job)).await;
            tell.send(Instant::now()).await.expect("somebody who measures");
            message.double_ack().await.expect("a confirmed ack");
        }
    }
}

fn millis(start: Instant, end: Instant) -> f64 {
    end.duration_since(start).as_secs_f64() * 1e3
}
