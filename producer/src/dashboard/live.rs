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

use super::{log, shared::Shared};
use crate::render::log::{LogWalk, Piece};

/// Between two hints to one page.
const HINTS_APART: Duration = Duration::from_millis(500);
/// Looks at a log without a poke.
const LOG_LOOK: Duration = Duration::from_secs(1);
/// Lines in one event.
const LINES_AT_ONCE: usize = 2_000;

/// An open page.
pub(crate) struct Live {
    version: watch::Receiver<u64>,
    /// What the page shows.
    shown: u64,
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

impl Live {
    /// A page that shows `shown` and perhaps a log.
    pub(crate) fn new(
        shared: &Shared,
        shown: u64,
        log: Option<Log>,
        place: OwnedSemaphorePermit,
        stop: CancellationToken,
    ) -> Self {
        let (version, next_hint) = (shared.watch(), Instant::now());
        Self { version, shown, next_hint, log, stop, _place: place }
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
            tokio::select! {
                version = hint(&mut self.version, self.shown, self.next_hint) => {
                    self.shown = version;
                    self.next_hint = Instant::now() + HINTS_APART;
                    let event = sse::Event::default().event("changed");
                    return event.data(version.to_string());
                }
                () = poked(&mut self.log) => {}
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

/// Waits until there is another version than the one that is shown, and for its time.
async fn hint(version: &mut watch::Receiver<u64>, shown: u64, not_before: Instant) -> u64 {
    if version.wait_for(|version| *version != shown).await.is_err() {
        // The model is gone, and the program with it.
        std::future::pending::<()>().await;
    }
    sleep_until(not_before).await;
    *version.borrow_and_update()
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
