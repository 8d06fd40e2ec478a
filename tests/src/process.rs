//! Running programs: to their end under a deadline ([`run`]), or beside the test ([`Spawned`]).
//!
//! Every program dies with the thread that started it, whatever ends that thread. It gets a clean
//! environment, so that no setting of the person who runs the tests reaches it.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{Read as _, Seek as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::poll::{eventually, within};

/// For a killed process to be gone: the kernel ends it, nothing else is waited for.
const KILL_DEADLINE: Duration = Duration::from_secs(60);

/// Lines of a process's output shown when its test fails.
const SHOWN_LINES: usize = 200;

/// What a program that has ended left.
#[derive(Debug)]
pub struct Output {
    /// `None` when a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    command: String,
}

/// A program that runs beside the test and is killed when dropped.
#[derive(Debug)]
pub struct Spawned {
    name: String,
    child: Child,
    log: PathBuf,
}

/// A command that dies with the thread that starts it, with a clean environment.
///
/// Only `PATH` is inherited, with the workspace's own tools first.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command.env_clear().env("PATH", search_path(&[])).env("LC_ALL", "C.UTF-8");
    command.stdin(Stdio::null());
    command
}

/// A binary of this workspace: `producer`, `worker` or `gate`.
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a running test has a path");
    let profile = test.parent().and_then(Path::parent).expect("tests run in target/<profile>/deps");
    let path = profile.join(name);
    assert!(path.exists(), "no {name} in {}: run `cargo build --workspace`", profile.display());
    path
}

/// A program by its name, looked for in the workspace's own tools first.
pub fn find(program: &str) -> PathBuf {
    let path = search_path(&[]);
    let found =
        std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.exists());
    found.unwrap_or_else(|| panic!("{program} is missing: run `make setup`"))
}

/// Runs a command to its end. Panics, showing its output, when that takes longer than `deadline`.
#[track_caller]
pub fn run(command: &mut Command, deadline: Duration) -> Output {
    // Files, not pipes: a program that writes much never waits for us.
    let stdout = tempfile::tempfile().expect("a temporary file");
    let stderr = tempfile::tempfile().expect("a temporary file");
    command.stdout(stdout.try_clone().expect("a second handle"));
    command.stderr(stderr.try_clone().expect("a second handle"));
    let mut child = spawn(command);
    let ended = within(deadline, || child.try_wait().expect("our own child"));
    if ended.is_none() {
        // Refused only when it has ended by itself meanwhile.
        let _ = child.kill();
    }
    let status = child.wait().expect("our own child");
    let output = Output {
        code: status.code(),
        stdout: text(stdout),
        stderr: text(stderr),
        command: shown(command),
    };
    assert!(ended.is_some(), "killed after {deadline:?}: {output}");
    output
}

impl Output {
    /// Panics, showing all output, unless the program ended with this exit code.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "exit code of {self}");
        self
    }

    /// All of stdout as one JSON value.
    #[track_caller]
    pub fn json(&self) -> Value {
        match serde_json::from_str(&self.stdout) {
            Ok(value) => value,
            Err(error) => panic!("no JSON on stdout ({error}) of {self}"),
        }
    }
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { code, stdout, stderr, command } = self;
        write!(f, "{command}\n  code: {code:?}\n--- stdout\n{stdout}\n--- stderr\n{stderr}")
    }
}

impl Spawned {
    /// Starts the command; stdout and stderr go to `<dir>/<name>.log`, after what is there already.
    #[track_caller]
    pub fn start(name: &str, command: &mut Command, dir: &Path) -> Self {
        let log = dir.join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log).expect("a log file");
        command.stdout(file.try_clone().expect("a second handle")).stderr(file);
        Self { name: name.to_owned(), child: spawn(command), log }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The most memory it ever had, in bytes; its children's is theirs.
    #[track_caller]
    pub fn peak_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id()));
        let status = status.expect("a running process");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = peak.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok());
        kib.map_or_else(|| panic!("no VmHWM in {status}"), |kib: u64| kib << 10)
    }

    /// Everything it has written so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).expect("its log file")).into_owned()
    }

    /// Waits until its log holds this text.
    #[track_caller]
    pub fn wait_for_log(&self, text: &str, deadline: Duration) {
        let what = format!("{text:?} in the log of {}", self.name);
        eventually(&what, deadline, || self.log().contains(text).then_some(()));
    }

    pub fn sigterm(&self) {
        self.signal(Signal::TERM);
    }

    /// As Ctrl-C does.
    pub fn sigint(&self) {
        self.signal(Signal::INT);
    }

    /// Freezes it, as a machine that is suspended or swaps itself to death.
    pub fn sigstop(&self) {
        self.signal(Signal::STOP);
    }

    pub fn sigcont(&self) {
        self.signal(Signal::CONT);
    }

    /// Kills it and waits until it is gone.
    #[track_caller]
    pub fn sigkill(&mut self) -> ExitStatus {
        self.signal(Signal::KILL);
        self.wait(KILL_DEADLINE)
    }

    /// Waits until it ends.
    #[track_caller]
    pub fn wait(&mut self, deadline: Duration) -> ExitStatus {
        let what = format!("the end of {}", self.name);
        eventually(&what, deadline, || self.child.try_wait().expect("our own child"))
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("our own child").is_none()
    }

    fn signal(&self, signal: Signal) {
        // Not waited for yet, so the id still belongs to it; an ended one ignores the signal.
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }
}

impl Drop for Spawned {
    #[expect(clippy::print_stderr, reason = "a failing test shows what its processes said")]
    fn drop(&mut self) {
        // Refused only when it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let last = &lines[lines.len().saturating_sub(SHOWN_LINES)..];
            eprintln!("--- the end of the log of {}\n{}", self.name, last.join("\n"));
        }
    }
}

#[track_caller]
fn spawn(command: &mut Command) -> Child {
    match command.spawn() {
        Ok(child) => child,
        Err(error) => panic!("cannot start {}: {error}", shown(command)),
    }
}

/// The command line without the wrapper that [`command`] put around it.
fn shown(command: &Command) -> String {
    let line: Vec<_> = command.get_args().skip(3).map(OsStr::to_string_lossy).collect();
    line.join(" ")
}

fn text(mut file: File) -> String {
    let mut bytes = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut bytes)).expect("a readable temporary file");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Where programs are looked for: in these folders, among the workspace's tools, on `PATH`.
pub(crate) fn search_path(first: &[&Path]) -> std::ffi::OsString {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools");
    let inherited = std::env::var_os("PATH").unwrap_or_default();
    let first = first.iter().map(|dir| dir.to_path_buf()).chain([tools]);
    let dirs = first.chain(std::env::split_paths(&inherited));
    std::env::join_paths(dirs).expect("no folder of PATH has a colon in its name")
}
