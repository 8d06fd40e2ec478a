//! What a job costs with more of them in the queue.

use crate::{
    FEW,
    broker::Sync,
    drain,
    row::{Row, Target},
};

pub(crate) fn rows(rounds: usize) -> Vec<Row> {
    let cost = |queued: usize| 1e3 / drain::pool(Sync::Default, queued);
    let pairs: Vec<_> = (0..rounds.min(FEW)).map(|_| (cost(10_000), cost(1_000))).collect();
    vec![Row::against(
        "time per no-op job with 10,000 queued, default sync",
        "ms",
        "with 1,000 queued",
        pairs,
        Target::RatioAtMost(1.2),
    )]
}
