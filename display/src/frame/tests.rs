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
        unwanted: false,
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
    let rows = frame(board, Size { columns, lines, colours: false, utf8: true }, NOW);
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
    let mut board = board((0..50).map(|n| running(&format!("h{n}"), n)).collect());
    board.waiting = BTreeMap::from([("queued".into(), 20), ("paused".into(), 5)]);
    for (columns, lines) in
        [(1, 1), (2, 2), (100, 2), (10, 3), (100, 4), (40, 5), (80, 24), (500, 200)]
    {
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
    let size = |colours| Size { columns: 80, lines: 24, colours, utf8: true };
    for (plain, coloured) in
        frame(&board, size(false), NOW).iter().zip(frame(&board, size(true), NOW))
    {
        assert!(coloured.columns == plain.columns && coloured.columns < 80);
        assert!(coloured.text.contains("\x1b[0m"), "{coloured:?}");
    }
}

#[test]
fn where_there_are_few_lines_the_total_stays_and_the_most_common_reasons() {
    let mut board = board(vec![running("web", 1)]);
    for (why, hosts) in [("queued", 20), ("paused", 5), ("held", 1)] {
        board.waiting.insert(why.to_owned(), hosts);
    }
    let total = "[                    ] 0/1  1 running  26 waiting  1m 30s";
    assert_eq!(texts(&board, 100, 2), [total]);
    assert_eq!(texts(&board, 100, 3), ["20 queued; 6 more wait for other reasons", total]);
    let rows = texts(&board, 100, 5);
    assert_eq!(rows, ["20 queued", "5 paused", "1 held", total]);
    assert_eq!(texts(&board, 100, 6)[0], "web  build  1s  w1");
}

#[test]
fn what_is_cut_off_ends_with_a_mark() {
    let said = Running { said: Some("x".repeat(100)), ..running("web", 1) };
    let mut board = board(vec![said]);
    board.waiting.insert("queued: no worker for class aarch64-linux".into(), 1);
    let rows = texts(&board, 30, 24);
    assert_eq!(rows[0], "web  build  1s  w1  xxxxxxxx…");
    assert_eq!(rows[1], "1 queued: no worker for clas…");
    let ascii = Size { columns: 30, lines: 24, colours: false, utf8: false };
    let rows = frame(&board, ascii, NOW);
    assert_eq!(rows[0].text, "web  build  1s  w1  xxxxxx...");
    assert!(rows.iter().all(|row| row.text.is_ascii()), "{rows:?}");
    // Blanks alone are nothing that is missing.
    assert_eq!(texts(&board, 21, 24)[0], "web  build  1s  w1 …");
    board.running.push(Running { silent: true, ..running("db", 1) });
    board.running[0].said = None;
    board.running[1].unwanted = true;
    assert_eq!(texts(&board, 80, 24)[1], "db   build  1s  w1 is silent");
    board.running[1].silent = false;
    assert_eq!(texts(&board, 80, 24)[1], "db   build  1s  w1, being cancelled");
    assert_eq!(texts(&board, 20, 24)[0], "web  build  1s  w1");
    board.running[0].name = "a-name-that-is-longer-than-its-column".into();
    let row = &texts(&board, 80, 24)[0];
    assert!(row.starts_with("a-name-that-is-longer-t…  build"), "{row}");
}

#[test]
fn a_part_of_the_total_that_does_not_fit_is_dropped_whole() {
    let mut board = Board { expected: 40, ..board(vec![running("web", 1)]) };
    board.waiting.insert("queued".into(), 20);
    board.ended = vec![(Mood::Good, "built".into(), 16), (Mood::Bad, "build-failed".into(), 3)];
    let total = |columns| texts(&board, columns, 2).remove(0);
    let whole =
        "[#########           ] 19/40  16 built  3 build-failed  1 running  20 waiting  1m 30s";
    assert_eq!(total(whole.len() + 1), whole);
    let narrow = "[##   ] 19/40  16 built  3 build-failed  1 running  20 waiting  1m 30s";
    assert_eq!(total(whole.len()), narrow);
    assert_eq!(total(narrow.len() + 1), narrow);
    let parts: Vec<&str> = narrow.split("  ").collect();
    for columns in 20..=narrow.len() {
        let row = total(columns);
        let (kept, mark) = row.rsplit_once("  ").expect("parts");
        assert_eq!(mark, "…", "{columns}: {row}");
        let kept: Vec<&str> = kept.split("  ").collect();
        assert_eq!(kept, parts[..kept.len()], "{columns}: {row}");
    }
    assert_eq!(total(10), "[##   ] …");
}
