//! What an open page is told: that something changed, and the lines of the log it shows.
//!
//! "Changed" carries nothing: the page fetches itself again, so one that was slow or away misses
//! nothing. Lines are read from the leader when the client has taken the ones before. So a client
//! has no queue here that could grow.

use std::{convert::Infallible, time::Duration};

use axum::response::sse;
use bus::{Bus, Pokes};
use futures_util::{Stream, stream};
use proto::{Epoch, JobKey, subject};
use serde::Serialize;
use telemetry::plain;
use tokio::{
    sync::{OwnedSemaphorePermit, watch},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    log,
    page::{self, Look},
    shared::{Shared, Shows, Versions},
};
use crate::render::log::{LogWalk, Piece};

/// Between two hints to one page.
const HINTS_APART: Duration = Duration::from_millis(500);
/// Looks at a log without a poke.
const LOG_LOOK: Duration = Duration::from_secs(1);
/// Lines in one event.
const LINES_AT_ONCE: usize = 2_000;

/// An open page.
pub(crate) struct Live {
    shared: Shared,
    changes: watch::Receiver<Versions>,
    /// What the page shows, and which of it.
    shows: Shows,
    shown: u64,
    /// What it was told last of the pool.
    standing: Option<String>,
    next_hint: Instant,
    log: Option<Log>,
    stop: CancellationToken,
    _place: OwnedSemaphorePermit,
}

/// A log that it follows.
pub(crate) struct Log {
    pub(crate) bus: Bus,
    pub(crate) job: JobKey,
    pub(crate) epoch: Epoch,
    pub(crate) walk: LogWalk,
    pub(crate) place: u64,
    pub(crate) pokes: Pokes,
}

/// A line as the page's script takes it. It becomes text there, never markup.
#[derive(Serialize)]
struct Line {
    #[serde(skip_serializing_if = "Option::is_none")]
    drv: Option<String>,
    text: String,
    mark: bool,
}

impl Log {
    /// Follows an attempt's log from a place of the stream on.
    pub(crate) async fn follow(
        bus: &Bus,
        job: JobKey,
        epoch: Epoch,
        (place, chunk): (u64, u64),
    ) -> Result<Self, bus::Error> {
        let pokes = bus.pokes(&subject::log(&job, epoch)).await?;
        let walk = LogWalk::at(epoch, chunk);
        Ok(Self { bus: bus.clone(), job, epoch, walk, place, pokes })
    }

    /// What there is to read now; without an answer of the broker that is nothing.
    async fn read(&mut self) -> Option<sse::Event> {
        self.pokes.clear();
        let mut lines: Vec<Line> = Vec::new();
        while lines.len() < LINES_AT_ONCE {
            let Self { bus, job, epoch, walk, place, .. } = self;
            match log::next(bus, job, *epoch, walk, place).await {
                Ok(Some(pieces)) => lines.extend(pieces.into_iter().map(Line::of)),
                Ok(None) => break,
                Err(error) => {
                    tracing::debug!("{error}");
                    break;
                }
            }
        }
        let id = format!("{}.{}", self.place, self.walk.next_chunk());
        let event = sse::Event::default().event("log").id(id);
        // JSON has no line break of its own, which would end the event.
        let data = serde_json::to_string(&lines).ok().filter(|_| !lines.is_empty());
        data.map(|data| event.data(data))
    }

    /// Its last line was read.
    fn ended(&self) -> bool {
        self.walk.shown().is_some_and(|(_, ended)| ended)
    }

    async fn poked(&mut self) {
        timeout(LOG_LOOK, self.pokes.next()).await.ok();
    }
}

/// What there is to tell a page of what it shows.
enum Hint {
    /// It has to fetch itself again.
    Changed(u64),
    /// How the pool stands, which its head says. Also the first word to every page.
    Standing(String),
}

/// For a page that comes when too many are live.
pub(crate) fn full() -> impl Stream<Item = Result<sse::Event, Infallible>> {
    stream::iter([Ok(sse::Event::default().event("full").data("too many pages are open"))])
}

impl Live {
    /// A page that shows something, and perhaps a log.
    pub(crate) fn new(
        shared: &Shared,
        (shows, shown): (Shows, u64),
        log: Option<Log>,
        place: OwnedSemaphorePermit,
        stop: CancellationToken,
    ) -> Self {
        let (shared, changes, next_hint) = (shared.clone(), shared.watch(), Instant::now());
        let standing = None;
        Self { shared, changes, shows, shown, standing, next_hint, log, stop, _place: place }
    }

    /// The events, until the client or the program goes.
    pub(crate) fn events(self) -> impl Stream<Item = Result<sse::Event, Infallible>> {
        stream::unfold(self, |mut live| async move {
            let stop = live.stop.clone();
            tokio::select! {
                event = live.next() => Some((Ok(event), live)),
                () = stop.cancelled() => None,
            }
        })
    }

    async fn next(&mut self) -> sse::Event {
        loop {
            if let Some(lines) = read(&mut self.log).await {
                return lines;
            }
            let Self { shared, changes, shows, shown, standing, .. } = self;
            let hint = hint(shared, changes, (shows, *shown), standing.as_deref(), self.next_hint);
            tokio::select! {
                hint = hint => return self.tell(hint),
                () = poked(&mut self.log) => {}
            }
        }
    }

    fn tell(&mut self, hint: Hint) -> sse::Event {
        if self.standing.is_some() {
            self.next_hint = Instant::now() + HINTS_APART;
        }
        match hint {
            Hint::Changed(mark) => {
                self.shown = mark;
                sse::Event::default().event("changed").data(mark.to_string())
            }
            Hint::Standing(standing) => {
                let event = sse::Event::default().event("standing").data(&standing);
                self.standing = Some(standing);
                event
            }
        }
    }
}

async fn read(log: &mut Option<Log>) -> Option<sse::Event> {
    let lines = log.as_mut()?.read().await;
    if log.as_ref().is_some_and(Log::ended) {
        *log = None;
    }
    lines
}

async fn poked(log: &mut Option<Log>) {
    match log {
        Some(log) => log.poked().await,
        None => std::future::pending().await,
    }
}

/// Waits until there is something to tell, and for its time.
async fn hint(
    shared: &Shared,
    changes: &mut watch::Receiver<Versions>,
    (shows, shown): (&Shows, u64),
    told: Option<&str>,
    not_before: Instant,
) -> Hint {
    sleep_until(not_before).await;
    loop {
        // First, so that what changes meanwhile wakes it.
        changes.mark_unchanged();
        // Other pages hear of the pool when they fetch themselves.
        if told.is_none() || matches!(shows, Shows::Job(_)) {
            let now = bus::clock::now();
            let standing = shared.read(|model| page::standing(&Look { model, now }));
            if told != Some(standing.as_str()) {
                return Hint::Standing(standing);
            }
        }
        let mark = shared.mark(shows);
        if mark != shown {
            return Hint::Changed(mark);
        }
        if changes.changed().await.is_err() {
            // The model is gone, and the program with it.
            std::future::pending::<()>().await;
        }
        // Thousands may change at once: one look for all of them.
        tokio::time::sleep(HINTS_APART).await;
    }
}

impl Line {
    fn of(piece: Piece) -> Self {
        match piece {
            Piece::Mark(text) => Self { drv: None, text, mark: true },
            Piece::Line(line) => {
                let drv = line.drv.as_deref().map(proto::log::short_name);
                let drv = drv.map(|drv| plain(drv).into_owned());
                Self { drv, text: plain(&line.text).into_owned(), mark: false }
            }
        }
    }
}
