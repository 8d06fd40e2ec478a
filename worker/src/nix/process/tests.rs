//! Children under the real supervisor.

use std::time::Duration;

use super::*;
use crate::nix::line::LINE_BYTES_MAX;

pub(crate) fn supervisor() -> Supervisor {
    let mut words = crate::supervise::tests::supervisor().into_iter();
    let program = words.next().expect("a program");
    Supervisor::new(program, words)
}

fn guard(limit: Duration) -> Guard {
    Guard::new(&CancellationToken::new(), limit)
}

const SOON: Duration = Duration::from_secs(20);

#[tokio::test]
async fn output_is_bounded_and_the_exit_code_comes_through() {
    let script = "i=0; while [ $i -lt 200 ]; do echo 0123456789; i=$((i+1)); done; \
         head -c 200000 /dev/zero >&2; echo >&2; printf 'last\\377' >&2; exit 7";
    let mut call = Invocation::new("/bin/sh", ["-c", script]);
    call.stdout_bytes_max = 100;
    let mut lines = Vec::new();
    let see = |line: &Line<'_>| lines.push((line.text.len(), line.bytes));
    let end = supervisor().run(&call, &guard(SOON), see).await;
    let exit = end.expect("it ends");
    assert_eq!((exit.code, exit.stdout.len(), exit.stdout_cut), (Some(7), 100, true));
    assert_eq!(lines, [(LINE_BYTES_MAX, 200_000), ("last\u{fffd}".len(), 5)]);
}

#[tokio::test]
async fn stop_wins_over_the_deadline_and_both_end_the_child() {
    let call = Invocation::new("/bin/sh", ["-c", "echo up >&2; exec sleep 60"]);
    let limit = guard(Duration::from_millis(200));
    let end = supervisor().run(&call, &limit, |_| ()).await;
    assert!(matches!(end, Err(Halt::Deadline)), "{end:?}");
    let limit = guard(SOON);
    let end = supervisor().run(&call, &limit, |_| limit.stop.cancel()).await;
    assert!(matches!(end, Err(Halt::Stopped)), "{end:?}");
}

#[tokio::test]
async fn a_child_that_keeps_talking_is_read_in_intervals_and_completely() {
    const LINES: usize = 20_000;
    let script = format!("i=0; while [ $i -lt {LINES} ]; do echo $i >&2; i=$((i+1)); done");
    let mut child = supervisor().spawn(&Invocation::new("/bin/sh", ["-c", &script])).expect("sh");
    let (mut reads, mut lines) = (0, 0);
    while let Output::Lines = child.next().await.expect("readable") {
        reads += 1;
        while let Some(line) = child.line() {
            assert_eq!(line.text, lines.to_string());
            lines += 1;
        }
    }
    assert_eq!(lines, LINES);
    assert!(reads < LINES / 10, "{reads} reads: each would have held the child up");
}
