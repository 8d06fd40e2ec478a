//! `producer submit` of many hosts, the whole program, beside a bare loop's pipelined writes.

use std::time::Instant;

use proto::topology;
use tests::{
    process::{binary, command},
    scratch,
};

use crate::{
    FEW,
    broker::{Broker, REPO, Sync, jobs, revision},
    noop::{LONG, runtime},
    row::{Row, Target},
    timed,
};

pub(crate) fn rows(rounds: usize) -> Vec<Row> {
    let counts: [usize; 2] = [1_000, 10_000];
    let all = counts.map(|count| {
        let round = |_| (pool(count), bare(count));
        (count, (0..rounds.min(FEW)).map(round).collect::<Vec<_>>())
    });
    let row = |(count, rounds): &(usize, Vec<(f64, f64)>)| {
        Row::against(
            format!("submit of {count} hosts, sync always"),
            "hosts/s",
            "bare writes, 1024 on their way",
            rounds.clone(),
            Target::RatioAtLeast(0.7),
        )
    };
    let mut rows: Vec<Row> = all.iter().map(row).collect();
    let [(_, few), (_, many)] = &all;
    let grown = few.iter().zip(many).map(|((few, _), (many, _))| (1e3 / many, 1e3 / few));
    rows.push(Row::against(
        "submit: time per host among 10,000",
        "ms",
        "among 1,000",
        grown,
        Target::RatioAtMost(1.2),
    ));
    rows
}

fn pool(count: usize) -> f64 {
    let runtime = runtime();
    let broker = runtime.block_on(Broker::start(Sync::Always, LONG));
    let dir = scratch();
    let mut submit = command(binary("producer"));
    submit.current_dir(dir.path()).env("HOME", dir.path()).env("NATS_URL", broker.server.url());
    submit.args(["submit", "--repo", REPO, "--rev", &revision()]);
    submit.args((0..count).map(|number| format!("h{number:06}")));
    let (took, _) = timed(&mut submit);
    let queued = runtime.block_on(broker.messages(topology::JOBS));
    assert_eq!(queued, count as u64, "all are queued");
    count as f64 / took
}

fn bare(count: usize) -> f64 {
    runtime().block_on(async {
        let broker = Broker::start(Sync::Always, LONG).await;
        let jobs = jobs(count);
        let start = Instant::now();
        broker.queue(&jobs).await;
        count as f64 / start.elapsed().as_secs_f64()
    })
}
