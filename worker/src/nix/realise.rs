//! Runs one realisation: reads Nix's events, keeps the limits, passes lines and progress on.
//!
//! The watcher gathers, the classifier judges; here is only the clock and the child.

use std::time::Duration;

use proto::{Failure, Work};
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use super::{
    classify::{self, Limit, RealiseEnd, Realised},
    process::{Child, Invocation, Output},
    sandbox::Builders,
    watcher::Watcher,
};
use crate::{
    build::{BuildContext, BuildEnd, Limits, Notice, notify},
    log_sink::LogSink,
};

/// How often limits are looked at: they are minutes and hours.
const LIMITS_EVERY: Duration = Duration::from_millis(500);

/// A realisation that is over: no process of it is left.
#[derive(Debug)]
pub struct Realisation {
    /// How it ended.
    pub end: RealiseEnd,
    /// What it did until then.
    pub work: Work,
}

/// How a wait for the child ended.
enum Woken {
    Stopped,
    Tick,
    Output(std::io::Result<Output>),
}

/// Runs `invocation` to its end.
pub async fn realise(
    ctx: &BuildContext,
    limits: &Limits,
    invocation: &Invocation,
    notices: &mpsc::Sender<Notice>,
    log: &LogSink,
    stop: &CancellationToken,
) -> Realisation {
    let mut child = match ctx.supervisor.spawn(invocation) {
        Ok(child) => child,
        Err(error) => return unreadable(&error),
    };
    let began = Instant::now();
    let mut watcher = Watcher::default();
    let mut told = Told::default();
    let mut ticks = interval(LIMITS_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let woken = tokio::select! {
            biased;
            () = stop.cancelled() => Woken::Stopped,
            _ = ticks.tick() => Woken::Tick,
            output = child.next() => Woken::Output(output),
        };
        let now = began.elapsed();
        match woken {
            Woken::Stopped => return ended(child, None, &watcher, true).await,
            Woken::Tick => {}
            Woken::Output(Ok(Output::Lines)) => {
                let mut log = log.lines();
                while let Some(line) = child.line() {
                    if let Some(said) = watcher.line(now, &line.text) {
                        log.add(said.drv.as_deref(), &said.text);
                    }
                    watcher.cut_off(line.bytes.saturating_sub(line.text.len() as u64));
                }
            }
            Woken::Output(Ok(Output::Exited(exit))) => {
                return judged(stop.is_cancelled(), None, exit.code, &watcher);
            }
            Woken::Output(Err(error)) => return unreadable(&error),
        }
        if let Some(limit) = limit_reached(limits, &watcher, now) {
            return ended(child, Some(limit), &watcher, false).await;
        }
        told.tell(&watcher, notices, stop).await;
    }
}

fn limit_reached(limits: &Limits, watcher: &Watcher, now: Duration) -> Option<Limit> {
    // Waiting for somebody else's build is not this build's time; it is bounded by as much again.
    let waited = watcher.waited(now);
    match () {
        () if now.saturating_sub(waited) >= limits.wall => Some(Limit::Wall),
        () if waited >= limits.wall => Some(Limit::LockWait),
        () if watcher.silent_for(now) >= limits.silence => Some(Limit::Silence),
        () if watcher.log_bytes() > limits.log_kill_max => Some(Limit::LogBytes),
        () => None,
    }
}

async fn ended(
    child: Child,
    limit: Option<Limit>,
    watcher: &Watcher,
    stopped: bool,
) -> Realisation {
    let builders = Builders::of(watcher.building()).await;
    let stopped_child = child.stop().await;
    builders.gone().await;
    match stopped_child {
        Ok(exit) => judged(stopped, limit, exit.code, watcher),
        Err(error) => unreadable(&error),
    }
}

fn judged(
    stopped: bool,
    limit: Option<Limit>,
    exit: Option<i32>,
    watcher: &Watcher,
) -> Realisation {
    let end = classify::realised(&Realised { stopped, limit, exit, watcher });
    Realisation { end, work: watcher.work() }
}

fn unreadable(error: &std::io::Error) -> Realisation {
    let failure = Failure::message(format!("run the supervisor: {error}"));
    let end = RealiseEnd::Over(BuildEnd::Infra { kind: proto::InfraKind::Unclassified, failure });
    Realisation { end, work: Work::default() }
}

/// What the caller knows already.
#[derive(Default)]
struct Told {
    progress: Option<proto::record::Progress>,
    idle: bool,
}

impl Told {
    async fn tell(
        &mut self,
        watcher: &Watcher,
        notices: &mpsc::Sender<Notice>,
        stop: &CancellationToken,
    ) {
        if let Some(progress) = watcher.progress().filter(|new| self.progress != Some(*new)) {
            // Left out when there is no room: the next one is newer.
            if notices.try_send(Notice::Progress(progress)).is_ok() {
                self.progress = Some(progress);
            }
        }
        if self.idle != watcher.waits_for_lock() {
            self.idle = watcher.waits_for_lock();
            notify(notices, Notice::Idle(self.idle), stop).await;
        }
    }
}
