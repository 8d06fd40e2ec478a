//! `worker supervise -- PROGRAM ARGS…`: runs one program, and ends only when the program and all
//! its descendants are gone.
//!
//! The worker may not run code between fork and exec (`unsafe_code` is forbidden), so this small
//! process stands between it and every child. It is a child subreaper: whatever a descendant does
//! (own session, double fork, a parent that dies), it stays below us in the process tree. Hence
//! "no child left to wait for" proves that nothing is left, and a worker that is killed leaves no
//! builder: its end of our stdin closes, which is the request to kill.
//!
//! It knows neither Nix nor the worker. It is synchronous but for its signal handlers.

use std::{
    collections::HashMap,
    ffi::OsString,
    fs,
    io::{self, Read, Write},
    os::unix::process::CommandExt,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, WaitStatus, kill_process_group, pidfd_open,
    pidfd_send_signal, set_child_subreaper, wait,
};
use tokio::signal::unix::{SignalKind, signal};

/// The program could not be started: what shells answer, too.
pub const CANNOT_RUN: i32 = 127;

/// Time between SIGTERM and SIGKILL: Nix needs well under a second to stop its builders.
const TERM_GRACE: Duration = Duration::from_secs(3);
/// Pause between two rounds of SIGKILL, for processes that forked while a round was under way.
const KILL_EVERY: Duration = Duration::from_millis(20);

/// Runs the command line after `supervise` and returns the exit code to end with: the program's
/// own, 128 plus the number of the signal that ended it, or [`CANNOT_RUN`].
pub fn main(args: impl IntoIterator<Item = OsString>) -> i32 {
    match supervise(args.into_iter().skip_while(|arg| arg == "--")) {
        Ok(code) => code,
        Err(error) => {
            // Nobody is left to tell when stderr is gone as well.
            let _ = writeln!(io::stderr(), "error: cannot supervise: {error}");
            CANNOT_RUN
        }
    }
}

/// Everything that can happen to us.
enum Event {
    /// The worker is gone or wants the program gone.
    Stop,
    /// A child, own or adopted, was reaped.
    Reaped(Pid, WaitStatus),
    /// There is no child left. As a subreaper we would have inherited any descendant.
    NoneLeft,
}

fn supervise(mut args: impl Iterator<Item = OsString>) -> io::Result<i32> {
    let program = args.next().ok_or_else(|| io::Error::other("no program is named"))?;
    set_child_subreaper(Some(rustix::process::getpid()))?;
    let (events, inbox) = mpsc::channel();
    // Before the child exists: a SIGTERM must never end us with the child alive.
    watch_signals(events.clone())?;
    watch_stdin(events.clone());
    let mut command = Command::new(&program);
    command.args(args).stdin(Stdio::null()).process_group(0);
    let named = |e| io::Error::other(format!("cannot run {}: {e}", program.display()));
    let child = pid_of(command.spawn().map_err(named)?.id())?;
    thread::spawn(move || reap(&events));
    Ok(run_until_alone(child, &inbox))
}

/// The loop. Bounded by what the kernel bounds: a process in an uninterruptible wait keeps us here,
/// which is the truth about it.
fn run_until_alone(child: Pid, inbox: &mpsc::Receiver<Event>) -> i32 {
    let mut code = CANNOT_RUN;
    // From when on everything left is killed at once.
    let mut kill_at: Option<Instant> = None;
    loop {
        let now = Instant::now();
        let event = match kill_at {
            None => inbox.recv().ok(),
            Some(at) if now < at => match inbox.recv_timeout(at - now) {
                Ok(event) => Some(event),
                Err(_) => continue,
            },
            Some(_) => {
                signal_descendants(Signal::KILL);
                inbox.recv_timeout(KILL_EVERY).ok()
            }
        };
        match event {
            Some(Event::Stop) if kill_at.is_none() => {
                // The group first: one call reaches all members, even those that fork meanwhile.
                let _ = kill_process_group(child, Signal::TERM);
                signal_descendants(Signal::TERM);
                kill_at = Some(now + TERM_GRACE);
            }
            Some(Event::Reaped(pid, status)) if pid == child => {
                code = exit_code(status);
                kill_at = Some(now);
            }
            Some(Event::NoneLeft) => return code,
            Some(Event::Stop | Event::Reaped(..)) | None => {}
        }
    }
}

fn exit_code(status: WaitStatus) -> i32 {
    let signal = status.terminating_signal().map(|signal| 128 + signal);
    status.exit_status().or(signal).unwrap_or(CANNOT_RUN)
}

fn reap(events: &mpsc::Sender<Event>) {
    loop {
        let event = match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) => Event::Reaped(pid, status),
            Ok(None) | Err(rustix::io::Errno::INTR) => continue,
            Err(_) => Event::NoneLeft,
        };
        let last = matches!(event, Event::NoneLeft);
        if events.send(event).is_err() || last {
            return;
        }
    }
}

fn watch_stdin(events: mpsc::Sender<Event>) {
    thread::spawn(move || {
        // What is written does not matter, only that nobody can write any more.
        let _ = io::copy(&mut io::stdin().lock().by_ref(), &mut io::sink());
        let _ = events.send(Event::Stop);
    });
}

/// SIGTERM, SIGINT and SIGHUP are requests to kill: their default would end us and not the child.
fn watch_signals(events: mpsc::Sender<Event>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let mut caught = Vec::new();
    {
        let _inside = runtime.enter();
        for kind in [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()] {
            caught.push(signal(kind)?);
        }
    }
    thread::spawn(move || {
        let any = std::future::poll_fn(|cx| {
            match caught.iter_mut().any(|signal| signal.poll_recv(cx).is_ready()) {
                true => std::task::Poll::Ready(()),
                false => std::task::Poll::Pending,
            }
        });
        runtime.block_on(any);
        let _ = events.send(Event::Stop);
        // The handlers must stay: dropping the runtime would leave later signals unread, not fatal.
    });
    Ok(())
}

/// One process as `/proc/<pid>/stat` tells it. Pid and start time together are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    parent: i32,
    started: u64,
}

fn signal_descendants(signal: Signal) {
    let processes = all_processes();
    let us = rustix::process::getpid().as_raw_nonzero().get();
    for (pid, process) in &processes {
        if !descends(*pid, us, &processes) {
            continue;
        }
        let Some(handle) = Pid::from_raw(*pid) else { continue };
        let Ok(handle) = pidfd_open(handle, PidfdFlags::empty()) else { continue };
        // The handle pins the process; is it still the one that was looked at?
        if process_of(*pid).is_some_and(|again| again.started == process.started) {
            let _ = pidfd_send_signal(handle, signal);
        }
    }
}

fn descends(pid: i32, ancestor: i32, processes: &HashMap<i32, Process>) -> bool {
    let mut at = pid;
    // A snapshot that is not atomic could hold a circle; no tree is deeper than its size.
    for _ in 0..processes.len() {
        let Some(process) = processes.get(&at) else { return false };
        if process.parent == ancestor {
            return true;
        }
        at = process.parent;
    }
    false
}

fn all_processes() -> HashMap<i32, Process> {
    all_pids().into_iter().filter_map(|pid| Some((pid, process_of(pid)?))).collect()
}

/// All processes that can be seen.
pub(crate) fn all_pids() -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// What is known of one, while it exists.
pub(crate) fn process_of(pid: i32) -> Option<Process> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    // The name before the last ')' may hold blanks and parentheses. After it: state, parent, …,
    // and the start time as field 22 of the whole (proc_pid_stat(5)).
    let (_, fields) = stat.rsplit_once(") ")?;
    let field = |number: usize| fields.split(' ').nth(number - 3);
    Some(Process { parent: field(4)?.parse().ok()?, started: field(22)?.parse().ok()? })
}

fn pid_of(id: u32) -> io::Result<Pid> {
    let raw = i32::try_from(id).ok().and_then(Pid::from_raw);
    raw.ok_or_else(|| io::Error::other("the kernel gave an impossible pid"))
}

#[cfg(test)]
pub(crate) mod tests;
