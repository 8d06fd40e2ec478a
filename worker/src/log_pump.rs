//! From log lines to numbered chunks.
//!
//! Pure: it is given the time and hands out chunks, as the JSON that travels: a line is written
//! once, and never held as a value of its own. Head and tail of a long log are kept: the first part
//! of the limit passes live, the last one waits in a ring until the end. It does not know the
//! broker, nor who speaks.

use std::{borrow::Cow, collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use proto::log::{ChunkWriter, write_text};

/// Largest chunk. A quarter of the broker's default message limit.
pub const CHUNK_BYTES_MAX: usize = 256 << 10;
/// A line waits at most this long for others: a live tail should feel live.
pub const CHUNK_AGE_MAX: Duration = Duration::from_millis(250);
/// Longest line; the rest of a longer one is cut. Even if JSON needs six bytes for each of its
/// bytes (control characters), it fits in a chunk.
const LINE_BYTES_MAX: usize = 32 << 10;
/// The tail waits in memory, so it is not half of a large limit; the head is the larger then.
const TAIL_BYTES_MAX: usize = 8 << 20;

/// A part of a log, ready to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Its number in the attempt, from 0, without holes.
    pub seq: u64,
    /// A [`proto::log::LogChunk`].
    pub json: Bytes,
}

/// Makes the chunks of one attempt.
#[derive(Debug)]
pub struct LogPump {
    seq: u64,
    /// Never without a line.
    open: Option<Open>,
    /// Lines dropped before the first of `open`.
    dropped: u64,
    /// Size of the newest chunk: the next one is likely as large.
    newest: usize,
    /// Memory of a chunk that is through.
    spare: Vec<u8>,
    head_left: usize,
    tail: Tail,
    /// Lines that fell out of the ring, or were dropped before the first in it.
    tail_dropped: u64,
    ended: bool,
}

/// A chunk that is being filled.
#[derive(Debug)]
struct Open {
    chunk: ChunkWriter,
    since: Duration,
}

/// The last lines, as JSON, one after the other.
#[derive(Debug)]
struct Tail {
    json: VecDeque<u8>,
    /// Bytes of each line.
    lines: VecDeque<u32>,
    /// Who said how many of them in a row.
    said: VecDeque<Said>,
    /// In all: see [`Tail::cost`].
    bytes: usize,
    bytes_max: usize,
    /// Where a line is written before there is room for it.
    new: Vec<u8>,
}

#[derive(Debug)]
struct Said {
    drv: Option<Arc<str>>,
    lines: usize,
}

/// What a line takes beside its text, and what naming a derivation once takes beside its path: in
/// memory, which is more than in JSON.
const LINE_BYTES: usize = size_of::<u32>();
const NAMING_BYTES: usize = size_of::<Said>() + 2 * size_of::<usize>();

impl LogPump {
    /// Keeps about `keep_max` bytes of log: half of them from its end, but no more than fit in
    /// memory, the rest from its head.
    pub fn new(keep_max: u64) -> Self {
        let keep_max = usize::try_from(keep_max).unwrap_or(usize::MAX);
        let tail = (keep_max / 2).min(TAIL_BYTES_MAX);
        Self {
            seq: 0,
            open: None,
            dropped: 0,
            newest: 0,
            spare: Vec::new(),
            head_left: keep_max - tail,
            tail: Tail::new(tail),
            tail_dropped: 0,
            ended: false,
        }
    }

    /// Takes a line. `now` is on any clock that only goes forward.
    pub fn push(&mut self, now: Duration, drv: Option<&str>, text: &str) -> Option<Chunk> {
        let text = cut(text, LINE_BYTES_MAX);
        let chunk = match self.in_tail() {
            true => {
                self.tail_dropped += self.tail.push(drv, &text);
                None
            }
            false => self.push_to_head(now, drv, &text),
        };
        chunk.or_else(|| self.tick(now))
    }

    /// Counts lines that were lost before the next one pushed.
    pub fn dropped(&mut self, lines: u64) -> Option<Chunk> {
        if lines == 0 {
            return None;
        }
        if self.in_tail() {
            // One mark, between head and tail, stands for all gaps from there on: lines of the
            // tail are worth more than the exact place of a gap among them.
            self.tail_dropped += lines;
            return None;
        }
        // A gap belongs before the first line of a chunk, so what is there goes out first.
        let chunk = self.open.is_some().then(|| self.flush(false));
        self.dropped += lines;
        chunk
    }

    /// Hands out what has waited long enough. To be called when it is [`Self::due`].
    pub fn tick(&mut self, now: Duration) -> Option<Chunk> {
        self.due().is_some_and(|due| due <= now).then(|| self.flush(false))
    }

    /// Takes back the memory of a chunk that is through: a new one's would have to be zeroed first.
    pub fn reuse(&mut self, chunk: Chunk) {
        // Somebody may still hold it, and a copy of it is of no use.
        if chunk.json.is_unique() {
            self.spare = chunk.json.into();
        }
    }

    /// When to hand out what is there, if anything is.
    pub fn due(&self) -> Option<Duration> {
        self.open.as_ref().map(|open| open.since + CHUNK_AGE_MAX)
    }

    /// The head is full: lines wait in the tail until the end.
    pub fn in_tail(&self) -> bool {
        self.head_left == 0
    }

    /// Hands out the next of the rest; the last one is marked `end`, after it there is none. To be
    /// called until none comes. A log without a line, and without a lost one, has no chunk.
    pub fn end(&mut self, now: Duration) -> Option<Chunk> {
        if self.ended {
            return None;
        }
        if self.tail_dropped > 0 {
            let chunk = self.open.is_some().then(|| self.flush(false));
            self.dropped += std::mem::take(&mut self.tail_dropped);
            if chunk.is_some() {
                return chunk;
            }
        }
        while let Some((drv, line)) = self.tail.pop() {
            if let Some(chunk) = self.add(now, drv.as_deref(), &line) {
                return Some(chunk);
            }
        }
        self.ended = true;
        let silent = self.seq == 0 && self.open.is_none() && self.dropped == 0;
        (!silent).then(|| self.flush(true))
    }

    fn push_to_head(&mut self, now: Duration, drv: Option<&str>, text: &str) -> Option<Chunk> {
        let mut chunk = None;
        loop {
            let left = self.head_left;
            let open = self.opened(now);
            let room = open.room();
            if let Some(size) = open.chunk.line(drv, text, room.min(left)) {
                self.head_left -= size;
                return chunk;
            }
            // The next chunk has room for any line.
            if room >= left {
                break;
            }
            chunk = Some(self.flush(false));
        }
        self.open.take_if(|open| open.chunk.lines() == 0);
        // Once the head is full it stays so: a short line after a long one would be out of order.
        self.head_left = 0;
        self.tail_dropped += self.tail.push(drv, text);
        chunk
    }

    /// Puts a written line into the open chunk, or into the next one.
    fn add(&mut self, now: Duration, drv: Option<&str>, line: &[u8]) -> Option<Chunk> {
        let open = self.opened(now);
        let room = open.room();
        if open.chunk.written(drv, line, room).is_some() {
            return None;
        }
        let chunk = self.flush(false);
        self.opened(now).chunk.written(drv, line, usize::MAX);
        Some(chunk)
    }

    fn opened(&mut self, now: Duration) -> &mut Open {
        let (seq, dropped, newest) = (self.seq, self.dropped, self.newest);
        let spare = &mut self.spare;
        self.open.get_or_insert_with(|| {
            // A little more than the last one, or the last lines of each would move all others.
            let bytes = (newest + newest / 8).min(CHUNK_BYTES_MAX);
            let mut memory = std::mem::take(spare);
            // A large one is not kept for a log that has become quiet.
            if memory.capacity() / 4 > bytes {
                memory = Vec::new();
            }
            memory.reserve(bytes);
            Open { chunk: ChunkWriter::new(seq, dropped, memory), since: now }
        })
    }

    fn flush(&mut self, end: bool) -> Chunk {
        let chunk = self.open.take().map(|open| open.chunk);
        let chunk = chunk.unwrap_or_else(|| ChunkWriter::new(self.seq, self.dropped, Vec::new()));
        let json = Bytes::from(chunk.finish(end));
        let seq = self.seq;
        self.seq += 1;
        self.dropped = 0;
        self.newest = json.len();
        Chunk { seq, json }
    }
}

impl Open {
    /// Bytes that one more line may take. A chunk takes any line as its first.
    fn room(&self) -> usize {
        let taken = self.chunk.bytes() + ChunkWriter::END_BYTES_MAX;
        if self.chunk.lines() == 0 { usize::MAX } else { CHUNK_BYTES_MAX.saturating_sub(taken) }
    }
}

impl Tail {
    fn new(bytes_max: usize) -> Self {
        let (json, lines, said) = (VecDeque::new(), VecDeque::new(), VecDeque::new());
        Self { json, lines, said, bytes: 0, bytes_max, new: Vec::new() }
    }

    /// Adds a line; gives how many fell out at the other end.
    fn push(&mut self, drv: Option<&str>, text: &str) -> u64 {
        self.new.clear();
        write_text(&mut self.new, text);
        let mut fell = 0;
        while self.bytes + self.cost(drv) > self.bytes_max {
            fell += 1;
            if self.lines.is_empty() {
                return fell;
            }
            self.drop_first();
        }
        if self.json.capacity() == 0 {
            // Never more than that, which doubling would not know.
            self.json.reserve_exact(self.bytes_max);
        }
        self.bytes += self.cost(drv);
        match self.said.back_mut().filter(|last| last.drv.as_deref() == drv) {
            Some(last) => last.lines += 1,
            None => self.said.push_back(Said { drv: drv.map(Arc::from), lines: 1 }),
        }
        self.lines.push_back(u32::try_from(self.new.len()).unwrap_or(u32::MAX));
        self.json.extend(&self.new);
        fell
    }

    /// Bytes of the new line: its own, its size, and who says it, if that is not who spoke last.
    fn cost(&self, drv: Option<&str>) -> usize {
        let goes_on = self.said.back().is_some_and(|last| last.drv.as_deref() == drv);
        self.new.len() + LINE_BYTES + if goes_on { 0 } else { naming(drv) }
    }

    fn pop(&mut self) -> Option<(Option<Arc<str>>, Vec<u8>)> {
        let bytes = *self.lines.front()? as usize;
        let line = self.json.iter().take(bytes).copied().collect();
        let drv = self.said.front().and_then(|first| first.drv.clone());
        self.drop_first();
        Some((drv, line))
    }

    fn drop_first(&mut self) {
        let bytes = self.lines.pop_front().unwrap_or_default() as usize;
        self.json.drain(..bytes);
        self.bytes -= bytes + LINE_BYTES;
        if let Some(first) = self.said.front_mut() {
            first.lines -= 1;
        }
        if let Some(gone) = self.said.pop_front_if(|first| first.lines == 0) {
            self.bytes -= naming(gone.drv.as_deref());
        }
    }
}

fn naming(drv: Option<&str>) -> usize {
    NAMING_BYTES + drv.map_or(0, str::len)
}

fn cut(text: &str, bytes_max: usize) -> Cow<'_, str> {
    match text.len() > bytes_max {
        true => format!("{}…", &text[..text.floor_char_boundary(bytes_max)]).into(),
        false => text.into(),
    }
}

#[cfg(test)]
mod tests;
