//! What waits is bounded in bytes, and what finds no room is counted where it is missing.

use proto::log::LogChunk;

use super::*;
use crate::log_pump::{CHUNK_AGE_MAX, CHUNK_BYTES_MAX};

const LINE: usize = 16 << 10;
const ALL: u64 = u64::MAX;

fn decoded(chunk: &Chunk) -> LogChunk {
    serde_json::from_slice(&chunk.json).expect("a chunk")
}

fn say_numbers(sink: &LogSink, numbers: std::ops::Range<usize>) {
    let mut lines = sink.lines();
    numbers.for_each(|number| lines.add(None, &format!("{number:0LINE$}")));
}

/// All that comes until the end: numbers, with none in the place of a gap, and its lines.
async fn rest(chunks: &mut LogChunks) -> (Vec<Option<usize>>, u64) {
    let (mut seen, mut dropped) = (Vec::new(), 0);
    while let Some(chunk) = chunks.next().await {
        let part = decoded(&chunk);
        chunks.done(chunk);
        if part.dropped > 0 {
            seen.push(None);
            dropped += part.dropped;
        }
        seen.extend(part.lines.iter().map(|line| line.text.parse().ok()));
    }
    (seen, dropped)
}

#[tokio::test]
async fn a_full_sink_drops_and_counts_and_the_gap_is_where_the_lines_are_missing() {
    let (sink, mut chunks) = LogSink::new(ALL, &LogRoom::default());
    let all = (OWN_BYTES_MAX + SHARED_BYTES_MAX) / LINE + 500;
    say_numbers(&sink, 0..all);
    let kept = {
        let state = chunks.0.state();
        let bytes: usize = state.ready.iter().map(|chunk| chunk.json.len()).sum();
        assert!(bytes <= OWN_BYTES_MAX + SHARED_BYTES_MAX + CHUNK_BYTES_MAX, "{bytes} wait");
        assert!(state.dropped > 400, "{}", state.dropped);
        all - usize::try_from(state.dropped).expect("few")
    };
    for _ in 0..2 * ROOM_AGAIN / CHUNK_BYTES_MAX {
        let chunk = chunks.next().await.expect("one that waits");
        chunks.done(chunk);
    }
    say_numbers(&sink, all..all + 3);
    drop(sink);

    let (seen, dropped) = rest(&mut chunks).await;
    let first = seen[0].expect("a line");
    let expected = (first..kept).map(Some).chain([None]).chain((all..all + 3).map(Some));
    assert_eq!(seen, expected.collect::<Vec<_>>());
    assert_eq!(dropped as usize, all - kept);
}

#[tokio::test]
async fn lines_that_are_missing_at_the_end_are_counted_too() {
    let (sink, mut chunks) = LogSink::new(ALL, &LogRoom::default());
    let all = (OWN_BYTES_MAX + SHARED_BYTES_MAX) / LINE + 500;
    say_numbers(&sink, 0..all);
    drop(sink);
    let (seen, dropped) = rest(&mut chunks).await;
    assert_eq!(seen.last(), Some(&None));
    assert_eq!(seen.len() - 1 + dropped as usize, all);
}

#[tokio::test]
async fn what_a_build_may_have_waiting_does_not_depend_on_the_others() {
    let room = LogRoom::default();
    let (greedy, waiting) = LogSink::new(ALL, &room);
    say_numbers(&greedy, 0..2 * (OWN_BYTES_MAX + SHARED_BYTES_MAX) / LINE);
    assert!(waiting.0.state().full && room.left() < CHUNK_BYTES_MAX);
    let (modest, mut chunks) = LogSink::new(ALL, &room);
    let lines = (OWN_BYTES_MAX - CHUNK_BYTES_MAX) / LINE - 1;
    say_numbers(&modest, 0..lines);
    drop(modest);
    assert_eq!(rest(&mut chunks).await, ((0..lines).map(Some).collect(), 0));
    drop((greedy, waiting));
    assert_eq!(room.left(), SHARED_BYTES_MAX, "all of it is given back");
}

#[tokio::test]
async fn the_tail_is_of_the_end_also_while_nothing_is_stored() {
    let keep = 2 * u64::try_from(8 * LINE).expect("few");
    let (sink, mut chunks) = LogSink::new(keep, &LogRoom::default());
    let all = 4 * (OWN_BYTES_MAX + SHARED_BYTES_MAX) / LINE;
    say_numbers(&sink, 0..all);
    drop(sink);
    let (seen, dropped) = rest(&mut chunks).await;
    assert_eq!((seen[0], seen[seen.len() - 1]), (Some(0), Some(all - 1)));
    assert_eq!(seen.iter().flatten().count() + dropped as usize, all);
}

#[tokio::test(start_paused = true)]
async fn a_live_tail_is_live_and_a_full_chunk_waits_for_nobody() {
    let (sink, mut chunks) = LogSink::new(ALL, &LogRoom::default());
    let reading = async {
        let mut came = Vec::new();
        let start = Instant::now();
        while let Some(chunk) = chunks.next().await {
            came.push((start.elapsed(), decoded(&chunk).lines.len()));
        }
        came
    };
    let second = Duration::from_secs(1);
    let saying = async {
        tokio::time::sleep(second).await;
        sink.say("one");
        tokio::time::sleep(second).await;
        say_numbers(&sink, 0..CHUNK_BYTES_MAX / LINE + 1);
        tokio::time::sleep(second).await;
        drop(sink);
    };
    let (came, ()) = tokio::join!(reading, saying);
    let ms = |ms: u64| Duration::from_millis(ms);
    let live: Vec<_> = came.iter().map(|(at, _)| *at).collect();
    // The timer is of whole milliseconds.
    let near = |at: &Duration, due: Duration| *at >= due && *at <= due + ms(2);
    let due = [second + CHUNK_AGE_MAX, 2 * second, 2 * second + CHUNK_AGE_MAX, 3 * second];
    assert!(live.len() == 4 && live.iter().zip(due).all(|(at, due)| near(at, due)), "{came:?}");
    assert_eq!(came[0].1 + came[1].1 + came[2].1, 1 + CHUNK_BYTES_MAX / LINE + 1);
}

#[tokio::test]
async fn a_mute_sink_takes_all_and_keeps_nothing() {
    LogSink::mute().say("one");
}
