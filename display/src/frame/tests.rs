use std::collections::BTreeMap;

use proto::{Epoch, Phase, record::Progress};

use super::*;

const SECOND: u64 = 1000;
const NOW: Timestamp = Timestamp(10_000 * SECOND);

fn running(name: &str, seconds: u64) -> Running {
    let job = format!("r.0123456789abcdef0123456789abcdef01234567.{name}");
    Running {
        name: name.to_owned(),
        job: job.parse().expect("a job"),
        epoch: Epoch(1),
        worker: "w1".parse().expect("a name"),
        silent: false,
        phase: Phase::Build,
        progress: None,
        since: Timestamp(NOW.0 - seconds * SECOND),
        usual: None,
        said: None,
    }
}

fn board(running: Vec<Running>) -> Board {
    let expected = running.len();
    Board { running, expected, since: Timestamp(NOW.0 - 90 * SECOND), ..Board::default() }
}

fn texts(board: &Board, columns: usize, lines: usize) -> Vec<String> {
    let rows = frame(board, Size { columns, lines, colours: false }, NOW);
    for row in &rows {
        assert!(row.columns < columns, "{row:?} would be folded at {columns}");
        assert!(!row.text.contains('\x1b'), "{row:?}");
    }
    rows.into_iter().map(|row| row.text).collect()
}

#[test]
fn a_row_says_what_a_host_is_at_for_how_long_and_the_last_words_of_its_log() {
    let first = Running {
        progress: Some(Progress { done: 12, expected: 40 }),
        usual: Some(Duration::from_secs(130)),
        said: Some("linux-6.18> CC drivers/net/ethernet.o".to_owned()),
        ..running("monitoring01", 63)
    };
    let second = Running { phase: Phase::Evaluate, silent: true, ..running("web", 5) };
    let mut board = Board { expected: 40, ..board(vec![first, second]) };
    board.waiting = BTreeMap::from([
        ("queued, the first of them as 3 of 7".to_owned(), 20),
        ("queued: no worker for class aarch64-linux since 2026-11-23T00:15:46Z".to_owned(), 1),
    ]);
    board.ended = vec![(Mood::Good, "built".into(), 16), (Mood::Bad, "build-failed".into(), 1)];
    assert_eq!(
        texts(&board, 120, 24),
        [
            "monitoring01  build    12/40  1m 03s of ~2m 10s  w1            \
             linux-6.18> CC drivers/net/ethernet.o",
            "web           evaluate                       5s  w1 is silent",
            "20 queued, the first of them as 3 of 7",
            "1 queued: no worker for class aarch64-linux since 2026-11-23T00:15:46Z",
            "[########            ] 17/40  16 built  1 build-failed  2 running  21 waiting  1m 30s",
        ]
    );
}

#[test]
fn two_hundred_hosts_fit_a_small_terminal_and_the_rest_is_counted() {
    let hosts = (0..200).map(|n| running(&format!("h{n:03}"), 300 - n)).collect();
    let mut board = board(hosts);
    for why in ["a", "b", "c", "d", "e"] {
        board.waiting.insert(why.to_owned(), 2);
    }
    let rows = texts(&board, 80, 24);
    assert_eq!(rows.len(), 23, "one line is left free");
    assert!(rows[0].starts_with("h000  build  5m 00s"), "{rows:#?}");
    assert_eq!(rows[18], "... and 182 more running");
    assert_eq!(rows[21], "2 c; 4 more wait for other reasons");
    assert!(rows[22].contains("0/200  200 running  10 waiting"), "{rows:#?}");
}

#[test]
fn no_terminal_is_too_small_and_none_is_too_large() {
    let board = board((0..50).map(|n| running(&format!("h{n}"), n)).collect());
    for (columns, lines) in [(1, 1), (2, 2), (10, 3), (40, 5), (80, 24), (500, 200)] {
        let rows = texts(&board, columns, lines);
        assert!(rows.len() < lines.max(2), "{} rows on {lines} lines", rows.len());
    }
    assert_eq!(texts(&Board::default(), 80, 24).len(), 1, "also of nothing");
}

#[test]
fn what_a_log_says_cannot_move_the_cursor_and_wide_letters_are_counted() {
    let said = |text: &str| {
        let row = Running { said: Some(text.to_owned()), ..running("web", 1) };
        texts(&board(vec![row]), 40, 24).remove(0)
    };
    let shown = said("\x1b[2J\rowned\x07\u{202e}");
    assert!(shown.is_ascii() && !shown.contains(['\x1b', '\r', '\x07']), "{shown:?}");
    let wide = said(&"漢".repeat(40));
    assert!(wide.chars().filter(|c| *c == '漢').count() < 20, "{wide}");
}

#[test]
fn colours_take_no_columns() {
    let mut board = board(vec![running("web", 1)]);
    board.ended = vec![(Mood::Bad, "build-failed".into(), 1)];
    let size = |colours| Size { columns: 80, lines: 24, colours };
    for (plain, coloured) in
        frame(&board, size(false), NOW).iter().zip(frame(&board, size(true), NOW))
    {
        assert!(coloured.columns >= plain.columns && coloured.columns < 80);
        assert!(coloured.text.contains("\x1b[0m"), "{coloured:?}");
    }
}
