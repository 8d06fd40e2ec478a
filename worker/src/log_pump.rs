//! From log lines to numbered chunks.
//!
//! Pure: it is given the time and hands out chunks. Head and tail of a long log are kept: the first
//! part of the limit passes live, the last one waits in a ring until the end. It does not know
//! the broker. [`LogSink`] is the way in: it never blocks a build, it drops and counts.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use proto::{
    V1,
    log::{LogChunk, LogLine},
};
use tokio::sync::mpsc;

/// Largest chunk, by estimate of its JSON. A quarter of the broker's default message limit.
pub const CHUNK_BYTES_MAX: usize = 256 << 10;
/// A line waits at most this long for others: a live tail should feel live.
pub const CHUNK_AGE_MAX: Duration = Duration::from_millis(250);
/// Longest line; the rest of a longer one is cut. Even if JSON needs six bytes for each of its
/// bytes (control characters), it fits in a chunk.
const LINE_BYTES_MAX: usize = 32 << 10;
/// JSON around a line, without drv and text.
const LINE_OVERHEAD: usize = 24;
/// Room for the chunk's own fields.
const CHUNK_OVERHEAD: usize = 128;

/// Text that may wait for a slow broker, per build: some seconds of an honest log.
const WAITING_BYTES_MAX: usize = 4 << 20;
/// The tail waits in memory, so it is not half of a large limit; the head is the larger then.
const TAIL_BYTES_MAX: usize = 8 << 20;

/// Where a build puts its log lines.
#[derive(Clone, Debug)]
pub struct LogSink {
    lines: mpsc::Sender<LogLine>,
    dropped: Arc<AtomicU64>,
    waiting: Arc<AtomicUsize>,
}

/// Where they come out.
#[derive(Debug)]
pub struct LogLines {
    lines: mpsc::Receiver<LogLine>,
    waiting: Arc<AtomicUsize>,
}

impl LogLines {
    /// The next line; none when all sinks are gone. Cancel-safe.
    pub async fn recv(&mut self) -> Option<LogLine> {
        let line = self.lines.recv().await?;
        self.waiting.fetch_sub(line.text.len(), Ordering::Relaxed);
        Some(line)
    }
}

impl LogSink {
    /// A sink with room for `lines` lines, its other end, and the count of lines that found no
    /// room; whoever reads the lines feeds the count to [`LogPump::dropped`].
    pub fn new(lines: usize) -> (Self, LogLines, Arc<AtomicU64>) {
        let (sender, receiver) = mpsc::channel(lines.max(1));
        let (dropped, waiting) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicUsize::new(0)));
        let lines = LogLines { lines: receiver, waiting: Arc::clone(&waiting) };
        (Self { lines: sender, dropped: Arc::clone(&dropped), waiting }, lines, dropped)
    }

    /// Hands a line over, or drops and counts it.
    pub fn send(&self, line: LogLine) {
        // Counted before it can be taken out. One that is too much is let go at once.
        let bytes = line.text.len();
        let waiting = self.waiting.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if waiting > WAITING_BYTES_MAX || self.lines.try_send(line).is_err() {
            self.waiting.fetch_sub(bytes, Ordering::Relaxed);
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A line of the worker's own.
    pub fn say(&self, text: impl Into<String>) {
        self.send(LogLine { drv: None, text: text.into() });
    }
}

/// Makes the chunks of one attempt.
#[derive(Debug)]
pub struct LogPump {
    seq: u64,
    lines: Vec<LogLine>,
    bytes: usize,
    since: Duration,
    /// Lines dropped before the first of `lines`.
    dropped: u64,
    head_left: usize,
    tail: VecDeque<LogLine>,
    tail_bytes: usize,
    tail_bytes_max: usize,
    /// Lines that fell out of the ring, or were dropped before the first in it.
    tail_dropped: u64,
    ended: bool,
}

impl LogPump {
    /// Keeps about `keep_max` bytes of log: half of them from its end, but no more than fit in
    /// memory, the rest from its head.
    pub fn new(keep_max: u64) -> Self {
        let keep_max = usize::try_from(keep_max).unwrap_or(usize::MAX);
        let tail = (keep_max / 2).min(TAIL_BYTES_MAX);
        Self {
            seq: 0,
            lines: Vec::new(),
            bytes: CHUNK_OVERHEAD,
            since: Duration::ZERO,
            dropped: 0,
            head_left: keep_max - tail,
            tail: VecDeque::new(),
            tail_bytes: 0,
            tail_bytes_max: tail,
            tail_dropped: 0,
            ended: false,
        }
    }

    /// Takes a line. `now` is on any clock that only goes forward.
    pub fn push(&mut self, now: Duration, mut line: LogLine) -> Option<LogChunk> {
        cut(&mut line.text, LINE_BYTES_MAX);
        let size = size(&line);
        // Once the head is full it stays so: a short line after a long one would be out of order.
        if size > self.head_left {
            self.head_left = 0;
            self.keep_in_tail(line, size);
            return self.tick(now);
        }
        self.head_left -= size;
        self.add(now, line, size).or_else(|| self.tick(now))
    }

    /// Counts lines that were lost before the next one pushed.
    pub fn dropped(&mut self, now: Duration, lines: u64) -> Option<LogChunk> {
        if lines == 0 {
            return None;
        }
        if self.head_left == 0 {
            // One mark, between head and tail, stands for all gaps from there on: lines of the
            // tail are worth more than the exact place of a gap among them.
            self.tail_dropped += lines;
            return self.tick(now);
        }
        // A gap belongs before the first line of a chunk, so what is there goes out first.
        let chunk = (!self.lines.is_empty()).then(|| self.flush());
        self.dropped += lines;
        chunk
    }

    /// Hands out what has waited long enough. To be called about every [`CHUNK_AGE_MAX`].
    pub fn tick(&mut self, now: Duration) -> Option<LogChunk> {
        let old = now.saturating_sub(self.since) >= CHUNK_AGE_MAX;
        (!self.lines.is_empty() && old).then(|| self.flush())
    }

    /// Hands out the next of the rest; the last one is marked `end`, after it there is none. To be
    /// called until none comes.
    pub fn end(&mut self, now: Duration) -> Option<LogChunk> {
        if self.ended {
            return None;
        }
        if self.tail_dropped > 0 {
            let chunk = (!self.lines.is_empty()).then(|| self.flush());
            self.dropped += std::mem::take(&mut self.tail_dropped);
            if chunk.is_some() {
                return chunk;
            }
        }
        while let Some(line) = self.tail.pop_front() {
            let size = size(&line);
            if let Some(chunk) = self.add(now, line, size) {
                return Some(chunk);
            }
        }
        self.ended = true;
        Some(LogChunk { end: true, ..self.flush() })
    }

    fn add(&mut self, now: Duration, line: LogLine, size: usize) -> Option<LogChunk> {
        let full = self.bytes + size > CHUNK_BYTES_MAX && !self.lines.is_empty();
        let chunk = full.then(|| self.flush());
        if self.lines.is_empty() {
            self.since = now;
        }
        self.bytes += size;
        self.lines.push(line);
        chunk
    }

    fn keep_in_tail(&mut self, line: LogLine, bytes: usize) {
        self.tail_bytes += bytes;
        self.tail.push_back(line);
        while self.tail_bytes > self.tail_bytes_max {
            let Some(oldest) = self.tail.pop_front() else { break };
            self.tail_bytes -= size(&oldest);
            self.tail_dropped += 1;
        }
    }

    fn flush(&mut self) -> LogChunk {
        let seq = self.seq;
        self.seq += 1;
        self.bytes = CHUNK_OVERHEAD;
        LogChunk {
            v: V1,
            seq,
            dropped: std::mem::take(&mut self.dropped),
            lines: std::mem::take(&mut self.lines),
            end: false,
        }
    }
}

/// Estimate of a line's JSON, never below the truth.
fn size(line: &LogLine) -> usize {
    let drv = line.drv.as_deref().map_or(0, |drv| escaped(drv) + LINE_OVERHEAD);
    escaped(&line.text) + drv + LINE_OVERHEAD
}

fn escaped(text: &str) -> usize {
    let byte = |byte: u8| match byte {
        0..=0x1f => "\\u0000".len(),
        b'"' | b'\\' => 2,
        _ => 1,
    };
    text.bytes().map(byte).sum()
}

fn cut(text: &mut String, bytes_max: usize) {
    if text.len() > bytes_max {
        text.truncate(text.floor_char_boundary(bytes_max));
        text.push('…');
    }
}

#[cfg(test)]
mod tests;
