//! Reading what happened, from some place in the stream on, then what comes.
//!
//! An event is named by its place in the stream, and a live message is only a hint to read on: so
//! nothing is missed and nothing comes twice, also when the broker restarts in between. It knows no
//! form of output; `render::events` does.

use std::time::Duration;

use bus::{Bus, StoredEvent};

use crate::{
    error::Error,
    outage::{Outage, retried},
};

/// Looks without a hint.
const POLL: Duration = Duration::from_secs(1);

/// What one look came to.
pub(crate) enum Next {
    Event(StoredEvent),
    /// A message that no client can read: its place, and why.
    Unreadable(u64, String),
}

/// A place in the stream.
pub(crate) struct Reader<'a> {
    bus: &'a Bus,
    filter: &'a str,
    from: u64,
}

impl<'a> Reader<'a> {
    /// Reads events on subjects that match `filter`, from place `from` on.
    pub(crate) fn new(bus: &'a Bus, filter: &'a str, from: u64) -> Self {
        Self { bus, filter, from }
    }

    /// The next event that is kept; none when there are no more. Waits for a broker that is away.
    pub(crate) async fn next(&mut self) -> Result<Option<Next>, bus::Error> {
        let answer = retried(|| self.bus.next_event(self.filter, self.from)).await;
        self.took(answer)
    }

    fn took(
        &mut self,
        answer: Result<Option<StoredEvent>, bus::Error>,
    ) -> Result<Option<Next>, bus::Error> {
        let (sequence, next) = match answer {
            Ok(None) => return Ok(None),
            Ok(Some(event)) => (event.sequence, Next::Event(event)),
            Err(bus::Error::Undecodable { revision, reason, .. }) => {
                (revision, Next::Unreadable(revision, reason))
            }
            Err(error) => return Err(error),
        };
        self.from = sequence + 1;
        Ok(Some(next))
    }

    /// Gives what is kept and then what comes, for ever. `show` ends it by an error, `say` is told
    /// of outages.
    pub(crate) async fn follow(
        mut self,
        mut show: impl FnMut(Next) -> Result<(), Error>,
        say: impl Fn(&str),
    ) -> Result<(), Error> {
        let mut pokes = self.bus.pokes(self.filter).await?;
        let mut outage = Outage::default();
        loop {
            pokes.clear();
            let answer = self.bus.next_event(self.filter, self.from).await;
            let (next, change) = outage.pass(self.took(answer))?;
            if let Some(change) = change {
                say(change.text());
            }
            match next.flatten() {
                Some(next) => show(next)?,
                None => drop(tokio::time::timeout(POLL, pokes.next()).await),
            }
        }
    }
}
