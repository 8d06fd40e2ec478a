//! The supervisor over real processes. The test binary runs itself again as the supervisor.

use std::{
    io::{BufRead, BufReader},
    process::{Child, ChildStdin, ChildStdout},
};

use super::*;

/// Separates the words of a command line in the environment: no argument holds it.
const WORDS: char = '\u{1f}';
const ARGS: &str = "NBP_TEST_SUPERVISE";

/// Program and leading arguments that do what `worker supervise --` does. libtest writes to stdout
/// before a test runs, so the shell moves our stdout to 3 and the program moves it back.
pub(crate) fn supervisor() -> Vec<OsString> {
    let binary = std::env::current_exe().expect("the test binary");
    let script = format!(
        "exec 3>&1 >/dev/null; IFS=$(printf '\\037'); {ARGS}=\"$*\" exec \"$0\" \
         --exact supervise::tests::entry --nocapture"
    );
    vec!["/bin/sh".into(), "-c".into(), script.into(), binary.into()]
}

/// Not a test by itself: the entry of [`supervisor`].
#[test]
fn entry() {
    let Some(words) = std::env::var_os(ARGS) else { return };
    let words = words.into_string().expect("text");
    let shell = ["/bin/sh", "-c", "exec \"$@\" >&3 3>&-", "sh"].map(str::to_owned);
    let args = shell.into_iter().chain(words.split(WORDS).map(str::to_owned));
    std::process::exit(main(args.map(OsString::from)));
}

struct Supervised {
    child: Child,
    // Held apart from the child, whose `wait` would close it.
    stdin: Option<ChildStdin>,
    out: BufReader<ChildStdout>,
}

fn run(script: &str) -> Supervised {
    let mut words = supervisor().into_iter();
    let mut command = Command::new(words.next().expect("a program"));
    command.args(words).args(["/bin/sh", "-c", script]).process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("the supervisor runs");
    let out = BufReader::new(child.stdout.take().expect("a pipe"));
    let stdin = child.stdin.take();
    Supervised { child, stdin, out }
}

impl Supervised {
    fn pid(&mut self) -> i32 {
        let mut line = String::new();
        self.out.read_line(&mut line).expect("a line");
        line.trim().parse().unwrap_or_else(|_| panic!("a pid: {line:?}"))
    }

    fn code(&mut self) -> i32 {
        self.child.wait().expect("it ends").code().expect("a code")
    }
}

fn lives(pid: i32) -> bool {
    process_of(pid).is_some()
}

#[test]
fn the_exit_code_is_the_programs() {
    assert_eq!(run("exit 0").code(), 0);
    assert_eq!(run("exit 42").code(), 42);
    assert_eq!(run("kill -9 $$").code(), 128 + 9);
}

#[test]
fn what_outlives_the_program_is_killed_before_the_supervisor_ends() {
    let mut it = run("(setsid sh -c 'echo $$; trap \"\" TERM; sleep 60' &) ; sleep 0.3; exit 5");
    let pid = it.pid();
    assert_eq!(it.code(), 5);
    assert!(!lives(pid));
}

#[test]
fn a_closed_stdin_ends_the_program_and_descendants_in_own_sessions() {
    let mut it = run("setsid sh -c 'echo $$; exec sleep 60' & echo $$; wait");
    let (one, other) = (it.pid(), it.pid());
    let began = Instant::now();
    drop(it.stdin.take());
    assert_eq!(it.code(), 128 + 15);
    assert!(began.elapsed() < TERM_GRACE, "nobody had to be killed");
    assert!(!lives(one) && !lives(other));
}

#[test]
fn what_ignores_sigterm_is_killed_after_the_grace() {
    let mut it = run("trap '' TERM; setsid sh -c 'echo $$; while :; do sleep 1; done' & \
         echo $$; while :; do sleep 1; done");
    let (one, other) = (it.pid(), it.pid());
    drop(it.stdin.take());
    assert_eq!(it.code(), 128 + 9);
    assert!(!lives(one) && !lives(other));
}

#[test]
fn sigterm_to_the_supervisor_is_a_request_to_kill() {
    let mut it = run("echo $$; exec sleep 60");
    let pid = it.pid();
    let supervisor = pid_of(it.child.id()).expect("a pid");
    rustix::process::kill_process(supervisor, Signal::TERM).expect("it is there");
    assert_eq!(it.code(), 128 + 15);
    assert!(!lives(pid));
}

#[test]
fn a_killed_worker_leaves_nothing() {
    // The shell in the middle is the worker: it holds the only write end of the supervisor's stdin.
    let mut words = supervisor().into_iter();
    let mut worker = Command::new("/bin/sh");
    worker.args(["-c", "sleep 60 | \"$@\"", "sh"]).arg(words.next().expect("a program"));
    worker.args(words).args(["/bin/sh", "-c", "setsid sh -c 'echo $$; exec sleep 60' & wait"]);
    worker.stdout(Stdio::piped()).process_group(0);
    let mut worker = worker.spawn().expect("the worker runs");
    let mut it = BufReader::new(worker.stdout.take().expect("a pipe"));
    let mut line = String::new();
    it.read_line(&mut line).expect("a line");
    let pid: i32 = line.trim().parse().expect("a pid");
    let writer = all_processes().into_iter().find(|(writer, process)| {
        let name = fs::read_to_string(format!("/proc/{writer}/comm")).unwrap_or_default();
        process.parent.cast_unsigned() == worker.id() && name.trim() == "sleep"
    });
    let writer = Pid::from_raw(writer.expect("the writer").0).expect("a pid");
    rustix::process::kill_process(writer, Signal::KILL).expect("it is there");
    worker.wait().expect("it ends");
    assert!(!lives(pid));
}
