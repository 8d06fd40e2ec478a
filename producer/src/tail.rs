//! Reading a job's log from the stream: what is kept, then what comes.
//!
//! History and live are one: chunks are read from the leader by their place in the stream, and a
//! live message is only a hint to read on. So nothing is missed between the two and nothing comes
//! twice. It knows no form of output; `render::log` does.

use std::{collections::VecDeque, time::Duration};

use bus::{Bus, StoredChunk};
use options::Console;
use proto::{Epoch, JobKey, subject};
use stand::{Around, HostStatus, Look};
use tokio::time::Instant;

use crate::{error::Error, outage::Outage, render::log::LogText, snapshot};

/// Which part of which log.
#[derive(Clone, Copy)]
pub(crate) struct Tail<'a> {
    pub(crate) bus: &'a Bus,
    pub(crate) job: &'a JobKey,
    /// The attempt to begin with.
    pub(crate) from: Epoch,
    /// Only so many of the lines that are kept.
    pub(crate) last: Option<usize>,
}

/// A finished job's last chunks are published around its end: after this, none will come.
const LAST_CHUNK_WITHIN: Duration = Duration::from_secs(3);
/// Looks without a hint.
const POLL: Duration = Duration::from_secs(1);

/// Prints what is kept of one attempt.
pub(crate) async fn kept(tail: Tail<'_>, log: LogText, console: &mut Console) -> Result<(), Error> {
    let mut reader = Reader::new(tail, log, Some(tail.from));
    while let Some(lines) = reader.next().await? {
        reader.print(lines, console)?;
    }
    reader.print_held(console)
}

/// Prints what is kept from one attempt on, then what comes, until the job has ended.
pub(crate) async fn follow(
    tail: Tail<'_>,
    log: LogText,
    console: &mut Console,
) -> Result<(), Error> {
    let mut pokes = tail.bus.pokes(&subject::log_of_job(tail.job)).await?;
    let mut reader = Reader::new(tail, log, None);
    let mut outage = Outage::default();
    let mut heard = Instant::now();
    let mut ended_since = None;
    loop {
        pokes.clear();
        // First the state, then the log: an end that is seen has its log before it.
        let pass = async {
            let ended = ended(tail).await?;
            Ok((ended, reader.batch().await?))
        };
        let (pass, change) = outage.pass(pass.await)?;
        if let Some(change) = change {
            console.say(change.text());
        }
        if let Some((ended, lines)) = pass {
            if !lines.is_empty() {
                heard = Instant::now();
            }
            reader.print(lines, console)?;
            if reader.more {
                continue;
            }
            reader.print_held(console)?;
            let since = ended.map(|epoch| *ended_since.get_or_insert((epoch, Instant::now())));
            if ended.is_none() {
                ended_since = None;
            }
            if let Some((epoch, since)) = since {
                let whole = reader.log.shown() == Some((epoch, true));
                let quiet = heard.max(since).elapsed() > LAST_CHUNK_WITHIN;
                if whole || quiet {
                    return Ok(());
                }
            }
        }
        tokio::time::timeout(POLL, pokes.next()).await.ok();
    }
}

/// The epoch in which the job ended, if it did.
async fn ended(tail: Tail<'_>) -> Result<Option<Epoch>, bus::Error> {
    let seen = snapshot::seen(tail.bus, tail.job).await?;
    let epoch = seen.record.value.as_ref().map_or(Epoch(0), |record| record.epoch);
    // Neither the class nor the workers matter to whether it ended.
    let Some(class) = seen.request.value.as_ref().map(|request| request.class.clone()) else {
        let ended = seen.record.value.as_ref().is_none_or(|record| record.outcome().is_some());
        return Ok(ended.then_some(epoch));
    };
    let look = Look { around: &Around::default(), now: bus::clock::now() };
    let status = HostStatus::of(tail.job.clone(), &class, &seen, look);
    Ok(status.finished().map(|_| epoch))
}

struct Reader<'a> {
    tail: Tail<'a>,
    log: LogText,
    only: Option<Epoch>,
    sequence: u64,
    more: bool,
    /// With `--tail`, lines that are held back until the kept ones are all read.
    held: Option<VecDeque<String>>,
}

/// Chunks between two looks at the state of the job.
const CHUNKS_AT_ONCE: usize = 64;

impl<'a> Reader<'a> {
    fn new(tail: Tail<'a>, log: LogText, only: Option<Epoch>) -> Self {
        let held = tail.last.map(|_| VecDeque::new());
        Self { tail, log, only, sequence: 0, more: false, held }
    }

    /// The lines of the next chunk; `None` when there is none yet.
    async fn next(&mut self) -> Result<Option<Vec<String>>, bus::Error> {
        let Tail { bus, job, from, .. } = self.tail;
        let stored: StoredChunk = match bus.next_log(job, self.only, self.sequence).await {
            Ok(None) => return Ok(None),
            Ok(Some(stored)) => stored,
            Err(bus::Error::Undecodable { revision, reason, .. }) => {
                tracing::warn!(%job, "a chunk cannot be read: {reason}");
                self.sequence = revision + 1;
                return Ok(Some(vec![self.log.unreadable()]));
            }
            Err(error) => return Err(error),
        };
        self.sequence = stored.sequence + 1;
        let wanted = stored.epoch >= from;
        Ok(Some(if wanted { self.log.lines(stored) } else { Vec::new() }))
    }

    /// The lines of the next chunks, as many as one look is good for.
    async fn batch(&mut self) -> Result<Vec<String>, bus::Error> {
        let mut lines = Vec::new();
        self.more = true;
        for _ in 0..CHUNKS_AT_ONCE {
            match self.next().await {
                Ok(Some(next)) => lines.extend(next),
                Ok(None) => {
                    self.more = false;
                    break;
                }
                // What was read is shown; the next pass reads on from there.
                Err(error) if lines.is_empty() || !error.transient() => return Err(error),
                Err(_) => break,
            }
        }
        Ok(lines)
    }

    fn print(&mut self, lines: Vec<String>, console: &mut Console) -> Result<(), Error> {
        let Some(held) = &mut self.held else {
            return Ok(console.stream(&lines.concat())?);
        };
        held.extend(lines);
        let spare = held.len().saturating_sub(self.tail.last.unwrap_or_default());
        held.drain(..spare);
        Ok(())
    }

    /// Everything kept was read: from here on nothing is held back.
    fn print_held(&mut self, console: &mut Console) -> Result<(), Error> {
        let held = self.held.take().unwrap_or_default();
        Ok(console.stream(&held.into_iter().collect::<String>())?)
    }
}
