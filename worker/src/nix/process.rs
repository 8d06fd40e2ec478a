//! Children of the worker: spawned under the supervisor, read with bounded memory, stopped and
//! awaited.
//!
//! It does not know what the children are. Reading is safe to cancel: the state of a half-read line
//! is in [`Child`].

use std::{
    ffi::{OsStr, OsString},
    io,
    path::PathBuf,
    process::Stdio,
    time::Duration,
};

use tokio::{
    io::AsyncReadExt,
    process::{ChildStdin, ChildStdout, Command},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

pub use super::line::Line;
use super::{line::Lines, memory, stderr::Stderr};

/// Most of stdout that is kept unless a call asks for more: the longest honest answer of most
/// calls is one store path.
pub const STDOUT_BYTES_MAX: usize = 1 << 20;

/// A program with its arguments, as data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    /// Name or path of the program.
    pub program: &'static str,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Variables set on top of the worker's own environment.
    pub env: Vec<(&'static str, OsString)>,
    /// Variables taken out of it.
    pub env_remove: &'static [&'static str],
    /// Most of stdout that is kept.
    pub stdout_bytes_max: usize,
}

impl Invocation {
    /// `program` with `args` in the worker's own environment.
    pub fn new<A: AsRef<OsStr>>(program: &'static str, args: impl IntoIterator<Item = A>) -> Self {
        let args = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        let stdout_bytes_max = STDOUT_BYTES_MAX;
        Self { program, args, env: Vec::new(), env_remove: &[], stdout_bytes_max }
    }
}

/// How to run `supervise`: program and leading arguments.
#[derive(Clone, Debug)]
pub struct Supervisor {
    program: PathBuf,
    args: Vec<OsString>,
}

impl Supervisor {
    /// The running worker itself. `/proc/self/exe` stays right when an upgrade replaces the file.
    pub fn this_program() -> Self {
        Self::new("/proc/self/exe", ["supervise", "--"])
    }

    /// Another program that does what `worker supervise --` does.
    pub fn new<A: Into<OsString>>(
        program: impl Into<PathBuf>,
        args: impl IntoIterator<Item = A>,
    ) -> Self {
        Self { program: program.into(), args: args.into_iter().map(Into::into).collect() }
    }

    /// `program` under the supervisor, for a caller that sets up the rest itself: closing the
    /// child's stdin ends it.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.args).arg(program);
        command
    }

    /// Starts `invocation` in a process group of its own.
    pub fn spawn(&self, invocation: &Invocation) -> io::Result<Child> {
        let mut command = self.command(invocation.program);
        command.args(&invocation.args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0);
        for name in invocation.env_remove {
            command.env_remove(name);
        }
        command.envs(invocation.env.iter().map(|(name, value)| (name, value)));
        let mut child = command.spawn()?;
        Ok(Child {
            stdin: child.stdin.take(),
            stdout: child.stdout.take(),
            stderr: child.stderr.take().map(Stderr::new).transpose()?,
            child,
            lines: Lines::new(),
            out: Vec::new(),
            out_bytes_max: invocation.stdout_bytes_max,
            out_cut: false,
        })
    }

    /// Runs `invocation` to its end under `guard`; `on_line` sees each line of stderr.
    pub async fn run(
        &self,
        invocation: &Invocation,
        guard: &Guard,
        mut on_line: impl FnMut(&Line<'_>),
    ) -> Result<Exit, Halt> {
        let mut child = self.spawn(invocation).map_err(Halt::Spawn)?;
        let pid = child.child.id();
        let halt = loop {
            tokio::select! {
                biased;
                halt = guard.halted(pid) => break halt,
                output = child.next() => match output.map_err(Halt::Spawn)? {
                    Output::Lines => {
                        while let Some(line) = child.line() {
                            on_line(&line);
                        }
                    }
                    Output::Exited(exit) => return Ok(exit),
                },
            }
        };
        child.stop().await.map_err(Halt::Spawn)?;
        Err(halt)
    }
}

/// When to end a child before it ends itself.
#[derive(Clone, Debug)]
pub struct Guard {
    /// The attempt was stopped from outside; why is the caller's business.
    pub stop: CancellationToken,
    /// Our own deadline.
    pub deadline: Instant,
    /// Bytes that it and its descendants may have for themselves.
    pub memory_max: Option<u64>,
}

/// Between two looks at a child's memory: an evaluation takes some 100 MiB a second.
const MEMORY_EVERY: Duration = Duration::from_millis(250);

impl Guard {
    /// No limit but time.
    pub fn new(stop: &CancellationToken, limit: Duration) -> Self {
        Self { stop: stop.clone(), deadline: Instant::now() + limit, memory_max: None }
    }

    /// Returns when it is time, and why. Stopped wins over the deadline.
    async fn halted(&self, pid: Option<u32>) -> Halt {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Halt::Stopped,
            () = tokio::time::sleep_until(self.deadline) => Halt::Deadline,
            halt = self.too_large(pid) => halt,
        }
    }

    async fn too_large(&self, pid: Option<u32>) -> Halt {
        let (Some(max), Some(pid)) = (self.memory_max, pid) else {
            return std::future::pending().await;
        };
        loop {
            let used = memory::of_tree(pid);
            if used > max {
                return Halt::Memory { used, max };
            }
            tokio::time::sleep(MEMORY_EVERY).await;
        }
    }
}

/// Why a child did not run to its end. By then it and all its descendants are gone.
#[derive(Debug, thiserror::Error)]
pub enum Halt {
    /// The attempt was stopped.
    #[error("stopped")]
    Stopped,
    /// The deadline passed.
    #[error("the deadline passed")]
    Deadline,
    /// It used more memory than it may.
    #[error("it used {} MiB of memory, allowed are {} MiB", used >> 20, max >> 20)]
    Memory {
        /// Bytes in use.
        used: u64,
        /// Bytes allowed.
        max: u64,
    },
    /// The supervisor could not be started or read.
    #[error("run the supervisor: {0}")]
    Spawn(#[source] io::Error),
}

/// A running child.
///
/// Dropping it closes the supervisor's stdin, which kills everything, but nobody waits for that:
/// whoever needs the proof calls [`Child::stop`].
#[derive(Debug)]
pub struct Child {
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    stderr: Option<Stderr>,
    child: tokio::process::Child,
    lines: Lines,
    out: Vec<u8>,
    out_bytes_max: usize,
    out_cut: bool,
}

/// What a child does next.
#[derive(Debug)]
pub enum Output {
    /// It wrote to stderr: [`Child::line`] gives what is whole, line by line. What is left there
    /// when more output is asked for is let go.
    Lines,
    /// It ended, with all its descendants.
    Exited(Exit),
}

/// How a child ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exit {
    /// The program's exit code, or 128 plus a signal. None: the supervisor itself was killed.
    pub code: Option<i32>,
    /// What it wrote to stdout.
    pub stdout: Vec<u8>,
    /// It wrote more to stdout than was kept.
    pub stdout_cut: bool,
}

impl Exit {
    /// It ended with 0.
    pub fn success(&self) -> bool {
        self.code == Some(0)
    }

    /// Stdout as text, trimmed, if all of it was kept and is text.
    pub fn text(&self) -> Option<&str> {
        let text = std::str::from_utf8(&self.stdout).ok().filter(|_| !self.stdout_cut)?;
        Some(text.trim())
    }
}

impl Child {
    /// Waits for the next output. Safe to cancel.
    pub async fn next(&mut self) -> io::Result<Output> {
        let mut chunk = [0; 4096];
        while self.stdout.is_some() || self.stderr.is_some() {
            tokio::select! {
                read = read_some(self.stdout.as_mut(), &mut chunk), if self.stdout.is_some() => {
                    match read? {
                        0 => self.stdout = None,
                        n => self.keep(&chunk[..n]),
                    }
                }
                read = read_lines(self.stderr.as_mut(), &mut self.lines),
                    if self.stderr.is_some() =>
                {
                    if read? == 0 {
                        self.stderr = None;
                    }
                    return Ok(Output::Lines);
                }
            }
        }
        // `wait` closes the child's stdin, which is the request to kill; ours is held apart.
        let code = self.child.wait().await?.code();
        let stdout = std::mem::take(&mut self.out);
        Ok(Output::Exited(Exit { code, stdout, stdout_cut: self.out_cut }))
    }

    /// The next whole line of what was read from stderr.
    pub fn line(&mut self) -> Option<Line<'_>> {
        self.lines.next()
    }

    /// Asks the supervisor to kill everything and waits until nothing is left. No deadline: only
    /// the supervisor's exit proves it, and it ends as soon as the kernel lets it.
    pub async fn stop(mut self) -> io::Result<Exit> {
        self.stdin = None;
        loop {
            if let Output::Exited(exit) = self.next().await? {
                return Ok(exit);
            }
        }
    }

    fn keep(&mut self, chunk: &[u8]) {
        let room = self.out_bytes_max.saturating_sub(self.out.len()).min(chunk.len());
        self.out.extend_from_slice(&chunk[..room]);
        self.out_cut |= room < chunk.len();
    }
}

async fn read_lines(from: Option<&mut Stderr>, into: &mut Lines) -> io::Result<usize> {
    let Some(from) = from else { return Ok(0) };
    let bytes = from.read(into.room()).await?;
    into.add(bytes);
    Ok(bytes)
}

async fn read_some(from: Option<&mut ChildStdout>, into: &mut [u8]) -> io::Result<usize> {
    match from {
        Some(from) => from.read(into).await,
        None => Ok(0),
    }
}

#[cfg(test)]
pub(crate) mod tests;
