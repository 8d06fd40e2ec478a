//! A build that says a million lines, beside bare Nix with the same log format.

use std::time::Duration;

use bus::{Bus, Endpoint};
use proto::JobKey;
use tests::{Flake, NixStore, Pool, PoolOptions, pool::REPO};

use crate::{
    FEW, farm,
    row::{Row, Target},
    timed,
};

const LINES: usize = 1_000_000;

/// What one round came to.
struct Round {
    pool: f64,
    bare: f64,
    /// MiB, at its most.
    memory: f64,
    lost: f64,
}

pub(crate) fn rows(rounds: usize) -> Vec<Row> {
    let rounds: Vec<Round> = (0..rounds.min(FEW)).map(|_| round()).collect();
    vec![
        Row::against(
            "a build of 1,000,000 lines, submit to result",
            "s",
            "`nix-store --realise`, internal-json",
            rounds.iter().map(|it| (it.pool, it.bare)),
            Target::RatioAtMost(1.10),
        ),
        Row::alone(
            "lines of it that are not in the log",
            "lines",
            rounds.iter().map(|it| it.lost),
            Target::AtMost(0.0),
        ),
        Row::alone(
            "the worker meanwhile, resident at most",
            "MiB",
            rounds.iter().map(|it| it.memory),
            Target::AtMost(64.0),
        ),
    ]
}

fn round() -> Round {
    let setup = ["--ack-wait", "60s"].map(str::to_owned).to_vec();
    // Room for all of it: what is missing then was too fast for the worker or the broker.
    let repo = format!("[repos.{REPO}.limits]\nlog_keep_max = \"512MiB\"\n");
    let pool = Pool::start_with(&PoolOptions { setup, repo, ..PoolOptions::default() });
    let expression = format!(
        "derivation {{ name = \"nixos-system-h01-26.05\"; system = \"x86_64-linux\"; \
         builder = \"/bin/sh\"; args = [ \"-c\" \"seq {LINES}; echo > $out\" ]; }}"
    );
    let rev = pool.commit("master", &Flake::named(&["h01"]).toplevel("h01", &expression));
    let worker = farm::worker(&pool);
    let mut submit = pool.client("producer");
    submit.args(["submit", "--repo", REPO, "--wait", "h01", "--rev", &rev]);
    let (built, _) = timed(&mut submit);
    let memory = worker.peak_memory() as f64 / f64::from(1 << 20);
    let job = format!("{REPO}.{rev}.h01").parse().expect("a job");
    let lost = pool.block_on(lost(&pool, &job));
    drop(worker);
    let store = NixStore::new();
    let flake = format!("git+file://{}?ref=master&rev={rev}", pool.repo.path().display());
    let mut evaluate = store.nix("nix");
    let attribute = format!("{flake}#nixosConfigurations.h01.config.system.build.toplevel.drvPath");
    let (_, drv) = timed(evaluate.args(["eval", "--raw", &attribute]));
    // To a file: whoever reads a pipe takes its time too.
    let said = tempfile::tempfile().expect("a temporary file");
    let mut realise = store.nix("nix-store");
    realise.stderr(said);
    let (bare, _) = timed(realise.args(["--realise", &drv, "--log-format", "internal-json"]));
    Round { pool: built, bare, memory, lost }
}

/// Reads the log from the broker until its end; what is missing of the million.
async fn lost(pool: &Pool, job: &JobKey) -> f64 {
    let endpoint = Endpoint {
        url: pool.nats_url(),
        nkey_file: None,
        ca_file: None,
        name: "bench".to_owned(),
        patience: Some(Duration::from_secs(10)),
    };
    let bus = Bus::connect(&endpoint).await.expect("a running broker");
    let (mut sequence, mut there) = (0, 0);
    loop {
        // The end of the log may come a little after the result.
        let Some(stored) = bus.next_log(job, None, sequence).await.expect("a chunk") else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        sequence = stored.sequence + 1;
        let of_build = stored.chunk.lines.iter().filter(|line| line.drv.is_some());
        there += of_build.count();
        if stored.chunk.end {
            return LINES.saturating_sub(there) as f64;
        }
    }
}
