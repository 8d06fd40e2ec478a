//! What the programs weigh: start, size, and a worker that has nothing to do.

use std::{
    collections::BTreeMap,
    fs,
    process::Stdio,
    time::{Duration, Instant},
};

use proto::topology::PRESENCE_EVERY;
use tests::{
    Spawned,
    process::{binary, command},
    scratch,
};

use crate::{
    broker::{Broker, Sync},
    noop::{self, LONG, runtime},
    row::{Row, Target},
};

const PROGRAMS: [&str; 3] = ["producer", "worker", "gate"];

/// Starts of each program in a round; the round is their median.
const STARTS: usize = 20;

/// How long an idle worker is watched: eight heartbeats, three rounds of pulling and a sweep.
const IDLE: Duration = Duration::from_secs(120);

pub(crate) fn rows(rounds: usize) -> Vec<Row> {
    let mut rows = Vec::new();
    for name in PROGRAMS {
        let pairs = (0..rounds).map(|_| (start(&binary(name)), start("true".as_ref())));
        let what = format!("start of `{name} --version`");
        rows.push(Row::against(what, "ms", "`true`", pairs, Target::AtMost(10.0)));
    }
    for name in PROGRAMS {
        let bytes = fs::metadata(binary(name)).expect("a program").len();
        let mib = bytes as f64 / f64::from(1 << 20);
        rows.push(Row::alone(format!("size of `{name}`"), "MiB", [mib], Target::AtMost(15.0)));
    }
    rows.extend(idle());
    rows
}

/// Milliseconds from the start of a program to its end.
fn start(program: &std::path::Path) -> f64 {
    let once = |_| {
        let mut command = std::process::Command::new(program);
        command.arg("--version").stdout(Stdio::null());
        let start = Instant::now();
        assert!(command.status().expect("a program").success());
        start.elapsed().as_secs_f64() * 1e3
    };
    let all: Vec<f64> = (0..STARTS).map(once).collect();
    crate::row::quantile(&all, 0.5)
}

fn idle() -> [Row; 3] {
    let broker = runtime().block_on(Broker::start(Sync::Always, LONG));
    let dir = scratch();
    let config = noop::config(dir.path(), "idle", &broker.server.url(), 2);
    let mut run = command(binary("worker"));
    run.arg("run").arg("--config").arg(config).env("HOME", dir.path());
    let worker = Spawned::start("idle", &mut run, dir.path());
    worker.wait_for_log("ready for jobs", Duration::from_secs(30));
    // Its start is not its idling.
    std::thread::sleep(Duration::from_secs(3));
    let messages = || {
        let all = broker.server.monitored("/connz");
        let mine = all["connections"].as_array().expect("connections").iter();
        let mine = mine.filter(|it| it["name"] == "nbp-worker-idle");
        mine.map(|it| it["in_msgs"].as_u64().unwrap_or(0) + it["out_msgs"].as_u64().unwrap_or(0))
            .sum::<u64>()
    };
    let (said, start) = (messages(), Instant::now());
    let cpu = share(worker.id(), IDLE) * 100.0;
    let watched = start.elapsed().as_secs_f64();
    // Of a heartbeat: a put, a read, and the answers to both.
    let beats = (IDLE.as_secs() / PRESENCE_EVERY.as_secs()) * 4;
    let said = (messages() - said).saturating_sub(beats) as f64 / watched;
    let memory = resident(worker.id());
    [
        Row::alone("idle worker, resident", "MiB", [memory], Target::AtMost(20.0)),
        Row::alone("idle worker, share of a core", "%", [cpu], Target::AtMost(0.2)),
        Row::alone(
            "idle worker, messages besides its heartbeat, both ways",
            "1/s",
            [said],
            Target::AtMost(1.0),
        ),
    ]
}

/// MiB of memory that are its own or shared.
pub(crate) fn resident(id: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).expect("a running process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib / 1024.0
}

/// The share of a core that a process takes for so long.
///
/// By what the scheduler says of each thread, to the nanosecond: `/proc/<pid>/stat` counts whole
/// ticks, all or none of them for who sleeps and wakes with the tick. Looked at each second, since a
/// thread that ends takes with it what it has done since the last look.
pub(crate) fn share(id: u32, watched: Duration) -> f64 {
    let (start, mut used, mut before) = (Instant::now(), 0, threads(id));
    while start.elapsed() < watched {
        std::thread::sleep(Duration::from_secs(1).min(watched.saturating_sub(start.elapsed())));
        let now = threads(id);
        let more = |(thread, ns): (&u32, &u64)| ns - before.get(thread).unwrap_or(&0);
        used += now.iter().map(more).sum::<u64>();
        before = now;
    }
    used as f64 / 1e9 / start.elapsed().as_secs_f64()
}

/// Nanoseconds that each thread of a process has run.
fn threads(id: u32) -> BTreeMap<u32, u64> {
    let tasks = fs::read_dir(format!("/proc/{id}/task")).expect("a running process");
    let of = |task: fs::DirEntry| {
        let ran = fs::read_to_string(task.path().join("schedstat")).ok()?;
        let ns = ran.split_whitespace().next()?.parse().ok()?;
        Some((task.file_name().to_str()?.parse().ok()?, ns))
    };
    tasks.filter_map(Result::ok).filter_map(of).collect()
}

/// Seconds of processor time so far.
pub(crate) fn cpu(id: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).expect("a running process");
    let (_, after) = stat.rsplit_once(')').expect("its name");
    let fields: Vec<&str> = after.split_whitespace().collect();
    let ticks = |index: usize| -> f64 { fields[index].parse().expect("a number") };
    // Fields 14 and 15 of the file; a tick is a hundredth of a second on every Linux.
    (ticks(11) + ticks(12)) / 100.0
}
