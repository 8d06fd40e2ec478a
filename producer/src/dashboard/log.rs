//! A job's log for the page: its end, its lines that hold a word, and what comes. It is read from
//! the leader by place in the stream, so a page that was away reads on where it was.

use std::collections::VecDeque;

use bus::{Bus, Error, StoredChunk};
use proto::{Epoch, JobKey};
use tokio::time::{Instant, timeout_at};

use crate::render::log::{LogWalk, Piece, unreadable};

/// Lines on the page at first; the whole log is one link away.
pub(crate) const LINES_SHOWN: usize = 500;
/// Chunks that are taken for the end of a log until they have enough lines: one may hold thousands
/// of lines, or a single one.
const CHUNKS_SHOWN: [u64; 3] = [8, 40, 200];
/// Lines that a search shows.
pub(crate) const FOUND_MAX: usize = 200;
/// Bytes of one line on the page. Nobody reads on, and a browser should not have to.
const LINE_BYTES_MAX: usize = 4 << 10;

/// The end of an attempt's log.
#[derive(Debug, Default)]
pub(crate) struct LogEnd {
    pub(crate) pieces: Vec<Piece>,
    /// There is more before it.
    pub(crate) cut: bool,
    /// Where to read on: the place in the stream, and the number of the next chunk.
    pub(crate) from: (u64, u64),
    /// Nothing comes any more.
    pub(crate) ended: bool,
}

/// Lines before and after one that was found, to know it by.
const NEAR: usize = 2;

/// Lines that hold a word, and those near them.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// In the order of the log, each once: at most [`FOUND_MAX`] hits and [`NEAR`] on either side.
    pub(crate) lines: Vec<Shown>,
    /// How many hits there are in all.
    pub(crate) all: usize,
    /// How many lines were looked at.
    pub(crate) searched: usize,
    /// They are all lines there are, so far.
    pub(crate) whole: bool,
}

/// A line of a search.
#[derive(Debug)]
pub(crate) struct Shown {
    /// Of the log, from 1.
    pub(crate) number: usize,
    pub(crate) piece: Piece,
    /// It holds the word.
    pub(crate) hit: bool,
}

/// A search over the lines of a log as they come.
struct Search {
    /// In lower case.
    word: String,
    before: VecDeque<(usize, Piece)>,
    /// Lines that still belong to the last hit.
    after: usize,
    found: Found,
}

impl Search {
    fn new(word: &str) -> Self {
        let (word, before, found) = (word.to_lowercase(), VecDeque::new(), Found::default());
        Self { word, before, after: 0, found }
    }

    fn take(&mut self, piece: Piece) {
        let found = &mut self.found;
        found.searched += 1;
        let number = found.searched;
        let hit = match &piece {
            Piece::Line(line) => line.labelled().to_lowercase().contains(&self.word),
            Piece::Mark(_) => false,
        };
        found.all += usize::from(hit);
        if hit && found.all <= FOUND_MAX {
            let near = self.before.drain(..);
            found.lines.extend(near.map(|(number, piece)| Shown { number, piece, hit: false }));
            found.lines.push(Shown { number, piece, hit });
            self.after = NEAR;
        } else if self.after > 0 {
            found.lines.push(Shown { number, piece, hit });
            self.after -= 1;
        } else {
            self.before.push_back((number, piece));
            self.before.drain(..self.before.len().saturating_sub(NEAR));
        }
    }
}

/// One chunk, and where to read on. `None`: there is none yet.
pub(crate) async fn next(
    bus: &Bus,
    job: &JobKey,
    epoch: Epoch,
    walk: &mut LogWalk,
    place: &mut u64,
) -> Result<Option<Vec<Piece>>, Error> {
    match bus.next_log(job, Some(epoch), *place).await {
        Ok(None) => Ok(None),
        Ok(Some(stored)) => {
            *place = stored.sequence + 1;
            Ok(Some(walk.pieces(stored).into_iter().map(short).collect()))
        }
        Err(Error::Undecodable { revision, .. }) => {
            *place = revision + 1;
            Ok(Some(vec![unreadable()]))
        }
        Err(error) => Err(error),
    }
}

/// Reads the end of an attempt's log without reading all of it.
pub(crate) async fn end(bus: &Bus, job: &JobKey, epoch: Epoch) -> Result<LogEnd, Error> {
    let newest = match bus.last_log(job, epoch).await {
        Ok(None) => return Ok(LogEnd::default()),
        Ok(Some(newest)) => Some(newest),
        Err(Error::Undecodable { .. }) => None,
        Err(error) => return Err(error),
    };
    let mut end = LogEnd::default();
    for chunks in CHUNKS_SHOWN {
        let first = match &newest {
            Some(newest) => first_shown(bus, job, epoch, newest, chunks).await?,
            None => None,
        };
        end = read_from(bus, job, epoch, first.as_ref()).await?;
        if end.pieces.len() >= LINES_SHOWN || first.is_none_or(|first| first.chunk.seq == 0) {
            break;
        }
    }
    Ok(end)
}

/// The lines from a chunk on, the last ones of them.
async fn read_from(
    bus: &Bus,
    job: &JobKey,
    epoch: Epoch,
    first: Option<&StoredChunk>,
) -> Result<LogEnd, Error> {
    let (mut place, number) = first.map_or((0, 0), |first| (first.sequence, first.chunk.seq));
    let (mut walk, mut cut) = (LogWalk::at(epoch, number), number > 0);
    let mut pieces = VecDeque::new();
    while let Some(more) = next(bus, job, epoch, &mut walk, &mut place).await? {
        pieces.extend(more);
        let spare = pieces.len().saturating_sub(LINES_SHOWN);
        pieces.drain(..spare);
        cut |= spare > 0;
    }
    let ended = walk.shown().is_some_and(|(_, ended)| ended);
    Ok(LogEnd { pieces: pieces.into(), cut, from: (place, walk.next_chunk()), ended })
}

/// The chunk to begin with, at least `chunks` before the newest one. The stream holds other logs in
/// between, so it is looked for in strides that double.
async fn first_shown(
    bus: &Bus,
    job: &JobKey,
    epoch: Epoch,
    newest: &StoredChunk,
    chunks: u64,
) -> Result<Option<StoredChunk>, Error> {
    let wanted = newest.chunk.seq.saturating_sub(chunks);
    let mut stride = chunks;
    loop {
        let place = newest.sequence.saturating_sub(stride);
        match bus.next_log(job, Some(epoch), place).await {
            Ok(Some(first)) if first.chunk.seq <= wanted || place == 0 => return Ok(Some(first)),
            Ok(None) => return Ok(None),
            Err(Error::Undecodable { .. }) if place == 0 => return Ok(None),
            Ok(Some(_)) | Err(Error::Undecodable { .. }) => stride = stride.saturating_mul(2),
            Err(error) => return Err(error),
        }
    }
}

/// Reads the log of an attempt for the lines that hold `word`, in any case of letters: the whole of
/// it, or what can be read `until` then.
pub(crate) async fn search(
    bus: &Bus,
    job: &JobKey,
    epoch: Epoch,
    word: &str,
    until: Instant,
) -> Result<Found, Error> {
    let (mut place, mut walk) = (0, LogWalk::at(epoch, 0));
    let mut search = Search::new(word);
    while let Ok(more) = timeout_at(until, next(bus, job, epoch, &mut walk, &mut place)).await {
        let Some(more) = more? else {
            search.found.whole = true;
            break;
        };
        more.into_iter().for_each(|piece| search.take(piece));
    }
    Ok(search.found)
}

fn short(piece: Piece) -> Piece {
    match piece {
        Piece::Line(mut line) if line.text.len() > LINE_BYTES_MAX => {
            line.text.truncate(line.text.floor_char_boundary(LINE_BYTES_MAX));
            line.text.push('…');
            Piece::Line(line)
        }
        piece => piece,
    }
}

#[cfg(test)]
mod tests {
    use proto::log::LogLine;

    use super::*;

    /// The numbers of the lines that a search for `x` shows, hits with a star.
    #[track_caller]
    fn check(lines: &[&str], shown: &str) -> usize {
        let mut search = Search::new("X");
        for text in lines {
            search.take(Piece::Line(LogLine { drv: None, text: (*text).to_owned() }));
        }
        let star = |it: &Shown| if it.hit { "*" } else { "" };
        let found = &search.found;
        let found_lines = found.lines.iter().map(|it| format!("{}{}", it.number, star(it)));
        assert_eq!(found_lines.collect::<Vec<_>>().join(" "), shown, "{lines:?}");
        found.all
    }

    #[test]
    fn what_was_found_has_the_lines_around_it_each_once() {
        assert_eq!(check(&["", "", ""], ""), 0);
        assert_eq!(check(&["a", "b", "c", "x", "d", "e", "f"], "2 3 4* 5 6"), 1);
        assert_eq!(check(&["X", "a", "x", "b", "c", "d"], "1* 2 3* 4 5"), 2);
        assert_eq!(check(&["x", "", "", "", "", "", "x"], "1* 2 3 5 6 7*"), 2);
    }

    #[test]
    fn a_search_has_an_end_and_still_counts() {
        let lines = vec!["x"; FOUND_MAX + 100];
        let mut search = Search::new("x");
        for text in &lines {
            search.take(Piece::Line(LogLine { drv: None, text: (*text).to_owned() }));
        }
        assert_eq!(search.found.all, lines.len());
        assert_eq!(search.found.lines.len(), FOUND_MAX + NEAR);
    }
}
