//! The live display: a row for each host that is being built, why others wait, and a total, at the
//! bottom of a terminal.
//!
//! [`board`] is what there is to show, `frame` makes rows of it, `details` asks the broker for what
//! the records do not have, and `telemetry::screen` puts the rows on the terminal. It decides
//! nothing, and without a terminal there is none of it.

pub mod board;
mod details;
mod frame;

use std::{
    convert::Infallible,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bus::Bus;
use options::Console;
use telemetry::screen;
use tokio::time::{MissedTickBehavior, interval};

pub use board::{Board, Mood, Running};

use self::{details::Details, frame::Size};

/// Between two looks at whether something is to be drawn: what changes is seen at once, and clocks
/// go on.
const REDRAW: Duration = Duration::from_millis(250);
/// Between two rounds of questions about the shown hosts.
const ASK: Duration = Duration::from_secs(2);

/// The rows of one following; dropped, it takes them away.
#[derive(Debug)]
pub struct Live {
    colours: bool,
    utf8: bool,
    shown: Mutex<Shown>,
}

#[derive(Debug, Default)]
struct Shown {
    board: Board,
    details: Details,
}

impl Live {
    /// A live display if somebody watches: messages go to a terminal, and are wanted.
    pub fn on(console: &Console) -> Option<Self> {
        let watched = !console.is_quiet() && console.watched() && screen::size().is_some();
        watched.then(|| Self {
            colours: console.paints_messages(),
            utf8: console.utf8(),
            shown: Mutex::default(),
        })
    }

    /// Shows this from now on.
    pub fn show(&self, mut board: Board) {
        board.running.sort_by(|a, b| (a.since, &a.name).cmp(&(b.since, &b.name)));
        self.shown().board = board;
    }

    /// Draws for as long as it is polled.
    pub async fn keep(&self, bus: &Bus) -> Infallible {
        let drawing = async {
            let mut redraw = interval(REDRAW);
            redraw.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                redraw.tick().await;
                self.draw();
            }
        };
        let asking = async {
            let mut ask = interval(ASK);
            ask.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ask.tick().await;
                let questions = self.questions();
                let answers = details::ask(bus, questions).await;
                self.shown().details.learn(answers);
            }
        };
        tokio::join!(drawing, asking).0
    }

    fn draw(&self) {
        let Some(size) = self.size() else { return };
        let rows = {
            let shown = self.shown();
            let mut board = shown.board.clone();
            for row in &mut board.running {
                shown.details.tell(row);
            }
            frame::frame(&board, size, bus::clock::now())
        };
        screen::draw(rows);
    }

    fn questions(&self) -> Vec<(proto::JobKey, proto::Epoch, bool)> {
        let lines = self.size().map_or(0, |size| size.lines);
        let shown = self.shown();
        let rows = &shown.board.running;
        shown.details.questions(&rows[..rows.len().min(lines)])
    }

    fn size(&self) -> Option<Size> {
        let (columns, lines) = screen::size()?;
        Some(Size { columns, lines, colours: self.colours, utf8: self.utf8 })
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        screen::draw(Vec::new());
    }
}
