//! The chunker under any mix of lines, pauses and losses.

use proptest::prelude::*;
use proto::log::{LogChunk, LogLine};

use super::*;

const DRV: &str = "/nix/store/x.drv";

fn line(text: impl Into<String>) -> LogLine {
    LogLine { drv: Some(DRV.into()), text: text.into() }
}

/// Two lines of one, then of the next, then of Nix itself.
fn in_turn(number: usize, text: String) -> LogLine {
    let drv = [Some(DRV), Some("/nix/store/y.drv"), None][number / 2 % 3];
    LogLine { drv: drv.map(Into::into), text }
}

fn push(pump: &mut LogPump, now: Duration, line: &LogLine) -> Option<LogChunk> {
    pump.push(now, line.drv.as_deref(), &line.text).map(decoded)
}

fn decoded(chunk: Chunk) -> LogChunk {
    assert!(chunk.json.len() <= CHUNK_BYTES_MAX, "a chunk of {} bytes", chunk.json.len());
    let decoded: LogChunk = serde_json::from_slice(&chunk.json).expect("JSON");
    assert_eq!(decoded.seq, chunk.seq);
    decoded
}

/// What of the limit a line takes at most.
fn cost_max(line: &LogLine) -> usize {
    let text = serde_json::to_vec(&line.text).expect("JSON");
    text.len() + LINE_BYTES + naming(line.drv.as_deref())
}

/// More than a chunk takes beside its lines.
const FRAME_BYTES: usize = 100;

/// Pushes all lines, one per pause, and ends.
fn pump(keep_max: u64, lines: &[LogLine], pause: Duration) -> Vec<LogChunk> {
    let mut pump = LogPump::new(keep_max);
    let mut now = Duration::ZERO;
    let mut chunks = Vec::new();
    for line in lines {
        now += pause;
        chunks.extend(pump.tick(now).map(decoded));
        chunks.extend(push(&mut pump, now, line));
    }
    chunks.extend(std::iter::from_fn(|| pump.end(now)).map(decoded));
    assert!(pump.end(now).is_none(), "after the end there is nothing");
    chunks
}

#[track_caller]
fn check_form(chunks: &[LogChunk]) {
    for (at, chunk) in chunks.iter().enumerate() {
        assert_eq!(chunk.seq, at as u64, "numbers have no holes");
        assert_eq!(chunk.end, at + 1 == chunks.len(), "only the last is the end");
    }
}

fn flat(chunks: &[LogChunk]) -> Vec<LogLine> {
    chunks.iter().flat_map(|chunk| chunk.lines.clone()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn below_the_limit_no_line_is_lost_or_repeated(
        sizes in prop::collection::vec(0_usize..20_000, 0..80),
        pause in 0_u64..300,
    ) {
        let long = |(n, size): (usize, &usize)| in_turn(n, format!("{n}{}", "\u{1}".repeat(*size)));
        let lines: Vec<_> = sizes.iter().enumerate().map(long).collect();
        let chunks = pump(u64::MAX, &lines, Duration::from_millis(pause));
        check_form(&chunks);
        prop_assert_eq!(flat(&chunks), lines);
        prop_assert!(chunks.iter().all(|chunk| chunk.dropped == 0));
    }

    #[test]
    fn above_the_limit_head_and_tail_are_exact_and_the_rest_is_counted(
        sizes in prop::collection::vec(0_usize..500, 0..200),
        keep in 0_u64..40_000,
        pause in 0_u64..300,
    ) {
        let long = |(n, size): (usize, &usize)| in_turn(n, format!("{n}{}", "x".repeat(*size)));
        let lines: Vec<_> = sizes.iter().enumerate().map(long).collect();
        let chunks = pump(keep, &lines, Duration::from_millis(pause));
        check_form(&chunks);
        let marks: Vec<_> =
            chunks.iter().enumerate().filter(|(_, chunk)| chunk.dropped > 0).collect();
        prop_assert!(marks.len() <= 1, "one gap");
        let kept = flat(&chunks);
        let dropped = marks.first().map_or(0, |(_, chunk)| chunk.dropped);
        prop_assert_eq!(kept.len() as u64 + dropped, lines.len() as u64);
        let head = marks.first().map_or(kept.len(), |(at, _)| flat(&chunks[..*at]).len());
        prop_assert_eq!(&kept[..head], &lines[..head]);
        prop_assert_eq!(&kept[head..], &lines[lines.len() - (kept.len() - head)..]);
        let json = |chunk: &LogChunk| serde_json::to_vec(chunk).expect("JSON").len();
        let bytes: usize = chunks.iter().map(json).sum();
        prop_assert!(bytes as u64 <= keep + (chunks.len() * FRAME_BYTES) as u64);
        // Head and tail each have less room left than their next line takes.
        let line_max = lines.iter().map(cost_max).max().unwrap_or_default();
        let used: usize = kept.iter().map(cost_max).sum();
        prop_assert!(dropped == 0 || (used + 2 * line_max) as u64 >= keep);
    }
}

#[test]
fn a_line_waits_for_others_but_not_for_long() {
    let mut pump = LogPump::new(u64::MAX);
    let at = Duration::from_millis;
    assert_eq!((push(&mut pump, at(1000), &line("a")), pump.due()), (None, Some(at(1250))));
    assert_eq!(pump.tick(at(1249)), None);
    let chunk = pump.tick(at(1250)).map(decoded).expect("it is old enough");
    assert_eq!((chunk.seq, chunk.lines), (0, vec![line("a")]));
    assert_eq!((pump.tick(at(9000)), pump.due()), (None, None));
    let end = pump.end(at(9000)).map(decoded);
    assert!(end.is_some_and(|chunk| chunk.end && chunk.lines.is_empty()));
}

#[test]
fn lines_lost_outside_are_marked_where_they_were_lost() {
    let mut pump = LogPump::new(u64::MAX);
    let now = Duration::ZERO;
    assert_eq!(push(&mut pump, now, &line("a")), None);
    let first = pump.dropped(3).map(decoded).expect("what was there goes out");
    assert_eq!((first.dropped, first.lines), (0, vec![line("a")]));
    assert_eq!(pump.dropped(2), None);
    assert_eq!(push(&mut pump, now, &line("b")), None);
    let last = pump.end(now).map(decoded).expect("the end");
    assert_eq!((last.dropped, last.lines, last.end), (5, vec![line("b")], true));
}

#[test]
fn the_tail_of_a_large_limit_is_small() {
    let pump = LogPump::new(64 << 20);
    assert_eq!((pump.head_left, pump.tail.bytes_max), (56 << 20, TAIL_BYTES_MAX));
    let pump = LogPump::new(1 << 20);
    assert_eq!((pump.head_left, pump.tail.bytes_max), (1 << 19, 1 << 19));
}

#[test]
fn a_long_line_is_cut_between_characters() {
    let lines = [line("é".repeat(LINE_BYTES_MAX))];
    let chunks = pump(u64::MAX, &lines, Duration::ZERO);
    let text = &chunks[0].lines[0].text;
    assert!(text.ends_with("é…") && text.len() <= LINE_BYTES_MAX + "…".len());
}
