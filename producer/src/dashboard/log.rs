//! A job's log for the page: its end, its lines that hold a word, and what comes. It is read from
//! the leader by place in the stream, so a page that was away reads on where it was.

use std::collections::VecDeque;

use bus::{Bus, Error, StoredChunk};
use proto::{Epoch, JobKey};

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

/// Lines that hold a word, with their numbers in the log.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) lines: Vec<(usize, Piece)>,
    /// How many there are in all.
    pub(crate) all: usize,
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

/// Reads the whole log of an attempt for the lines that hold `word`, in any case of letters.
pub(crate) async fn search(
    bus: &Bus,
    job: &JobKey,
    epoch: Epoch,
    word: &str,
) -> Result<Found, Error> {
    let (mut place, mut walk, mut number) = (0, LogWalk::at(epoch, 0), 0);
    let word = word.to_lowercase();
    let mut found = Found::default();
    while let Some(more) = next(bus, job, epoch, &mut walk, &mut place).await? {
        for piece in more {
            number += 1;
            let Piece::Line(line) = &piece else { continue };
            if line.labelled().to_lowercase().contains(&word) {
                found.all += 1;
                if found.lines.len() < FOUND_MAX {
                    found.lines.push((number, piece));
                }
            }
        }
    }
    Ok(found)
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
