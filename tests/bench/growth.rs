//! What a job costs with more of them in the queue.

use crate::{
    FEW,
    broker::Sync,
    drain,
    row::{Row, Target},
};

/// So many of a long queue are measured: all of it would take minutes.
const FIRST: usize = 4000;

pub(crate) fn rows(rounds: usize) -> Vec<Row> {
    let whole = |queued: usize| 1e3 / drain::pool(Sync::Default, queued);
    let first = |queued: usize| 1e3 / drain::first(Sync::Default, queued, FIRST);
    let rounds = rounds.min(FEW);
    let row = |queued: &str, against, pairs: Vec<(f64, f64)>| {
        let what = format!("time per no-op job with {queued} queued, default sync");
        Row::against(what, "ms", against, pairs, Target::RatioAtMost(1.2))
    };
    let short = (0..rounds).map(|_| (whole(10_000), whole(1_000))).collect();
    let long = (0..rounds).map(|_| (first(100_000), first(10_000))).collect();
    vec![row("10,000", "with 1,000 queued", short), row("100,000", "with 10,000 queued", long)]
}
