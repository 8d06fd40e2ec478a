//! The way of a log from those who speak to the one who stores it.
//!
//! It never blocks a build: what finds no room is dropped and counted. Lines become chunks where
//! they are said, so that what waits is only what travels, and its memory is known to the byte. It
//! does not know the broker.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use crate::log_pump::{Chunk, LogPump};

/// Log that may wait for a slow broker, per build, whatever others have waiting: some seconds of
/// an honest log.
const OWN_BYTES_MAX: usize = 4 << 20;
/// And beyond that, of all builds of a worker together: half a second of a log that is written as
/// fast as Nix can. With it, a tail and itself a worker stays below 64 MiB.
const SHARED_BYTES_MAX: usize = 20 << 20;
/// Once lines are dropped, they are until there is room for this much: few large gaps are better
/// than many small ones.
const ROOM_AGAIN: usize = 1 << 20;

/// Memory that the logs of all builds share.
#[derive(Clone, Debug)]
pub struct LogRoom(Arc<AtomicUsize>);

/// Where a build puts its log lines.
#[derive(Clone, Debug)]
pub struct LogSink(Option<Arc<Inlet>>);

/// Where they come out as chunks.
#[derive(Debug)]
pub struct LogChunks(Arc<Way>);

/// A sink that is written to. Not to be held for long: meanwhile no chunk comes out.
#[derive(Debug)]
pub struct Lines<'a>(Option<Writing<'a>>);

#[derive(Debug)]
struct Writing<'a> {
    state: MutexGuard<'a, State>,
    news: &'a Notify,
    now: Duration,
    known: Known,
}

/// What the other end has heard of, or has heard enough to look for.
#[derive(Clone, Copy, Debug)]
struct Known {
    ready: bool,
    begun: bool,
}

/// Closes the way when the last sink is gone.
#[derive(Debug)]
struct Inlet(Arc<Way>);

#[derive(Debug)]
struct Way {
    start: Instant,
    state: Mutex<State>,
    /// A chunk is there, one has begun, or there will be none any more.
    news: Notify,
}

#[derive(Debug)]
struct State {
    pump: LogPump,
    ready: VecDeque<Chunk>,
    /// Bytes of chunks that are not done yet.
    waiting: usize,
    /// How many of them are in the shared room.
    shared: usize,
    room: LogRoom,
    /// There was no room, and there is not enough again.
    full: bool,
    /// Lines dropped since then.
    dropped: u64,
    closed: bool,
}

impl Default for LogRoom {
    fn default() -> Self {
        Self(Arc::new(AtomicUsize::new(SHARED_BYTES_MAX)))
    }
}

impl LogRoom {
    fn take(&self, bytes: usize) -> bool {
        let less = |left: usize| left.checked_sub(bytes);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    fn left(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl LogSink {
    /// A sink that keeps `keep_max` bytes of log, as [`LogPump::new`] says, and its other end.
    pub fn new(keep_max: u64, room: &LogRoom) -> (Self, LogChunks) {
        let state = State {
            pump: LogPump::new(keep_max),
            ready: VecDeque::new(),
            waiting: 0,
            shared: 0,
            room: room.clone(),
            full: false,
            dropped: 0,
            closed: false,
        };
        let (start, state, news) = (Instant::now(), Mutex::new(state), Notify::new());
        let way = Arc::new(Way { start, state, news });
        (Self(Some(Arc::new(Inlet(Arc::clone(&way))))), LogChunks(way))
    }

    /// One for calls that say nothing worth keeping.
    pub fn mute() -> Self {
        Self(None)
    }

    /// A line of the worker's own.
    pub fn say(&self, text: impl AsRef<str>) {
        self.lines().add(None, text.as_ref());
    }

    /// For lines that come together.
    pub fn lines(&self) -> Lines<'_> {
        Lines(self.0.as_ref().map(|inlet| {
            let way = &inlet.0;
            let (state, now) = (way.state(), way.start.elapsed());
            let known = state.known();
            Writing { state, news: &way.news, now, known }
        }))
    }
}

impl Lines<'_> {
    /// Hands a line over, or drops and counts it.
    pub fn add(&mut self, drv: Option<&str>, text: &str) {
        if let Some(Writing { state, now, .. }) = &mut self.0 {
            state.add(*now, drv, text);
        }
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        let (now, before) = (self.state.known(), self.known);
        if (now.ready && !before.ready) || (now.begun && !before.begun) {
            self.news.notify_one();
        }
    }
}

impl Drop for Inlet {
    fn drop(&mut self) {
        self.0.state().closed = true;
        self.0.news.notify_one();
    }
}

impl LogChunks {
    /// The next chunk; none after the last one, which comes when all sinks are gone. Cancel-safe.
    pub async fn next(&mut self) -> Option<Chunk> {
        let way = &self.0;
        loop {
            let due = {
                let mut state = way.state();
                if let Some(chunk) = state.next(way.start.elapsed()) {
                    return Some(chunk);
                }
                if state.closed {
                    return None;
                }
                state.pump.due()
            };
            let news = way.news.notified();
            match due {
                Some(due) => drop(timeout_at(way.start + due, news).await),
                None => news.await,
            }
        }
    }

    /// A chunk needs no room any more. To be called once for each.
    pub fn done(&self, chunk: Chunk) {
        let mut state = self.0.state();
        state.left(chunk.json.len());
        state.pump.reuse(chunk);
    }
}

impl Way {
    fn state(&self) -> MutexGuard<'_, State> {
        // Whoever panicked had no line half written that matters more than the rest of the log.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn known(&self) -> Known {
        Known { ready: !self.ready.is_empty(), begun: self.pump.due().is_some() }
    }

    fn add(&mut self, now: Duration, drv: Option<&str>, text: &str) {
        // A line of the tail needs no room here.
        if self.full && !self.pump.in_tail() {
            self.dropped += 1;
            return;
        }
        let gap = self.pump.dropped(std::mem::take(&mut self.dropped));
        let chunk = self.pump.push(now, drv, text);
        for chunk in gap.into_iter().chain(chunk) {
            self.came(&chunk);
            self.ready.push_back(chunk);
        }
    }

    fn next(&mut self, now: Duration) -> Option<Chunk> {
        if let Some(chunk) = self.ready.pop_front() {
            return Some(chunk);
        }
        let chunk = match self.closed {
            false => self.pump.tick(now),
            true => {
                let gap = self.pump.dropped(std::mem::take(&mut self.dropped));
                gap.or_else(|| self.pump.end(now))
            }
        };
        if let Some(chunk) = &chunk {
            self.came(chunk);
        }
        chunk
    }

    fn came(&mut self, chunk: &Chunk) {
        self.waiting += chunk.json.len();
        let missing = self.waiting.saturating_sub(OWN_BYTES_MAX + self.shared);
        if self.room.take(missing) {
            self.shared += missing;
        } else {
            self.full = true;
        }
    }

    fn left(&mut self, bytes: usize) {
        self.waiting = self.waiting.saturating_sub(bytes);
        let spare = self.shared.saturating_sub(self.waiting.saturating_sub(OWN_BYTES_MAX));
        self.shared -= spare;
        self.room.give_back(spare);
        let own = OWN_BYTES_MAX.saturating_sub(self.waiting);
        if own.saturating_add(self.room.left()) >= ROOM_AGAIN {
            self.full = false;
        }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.room.give_back(self.shared);
    }
}

#[cfg(test)]
mod tests;
