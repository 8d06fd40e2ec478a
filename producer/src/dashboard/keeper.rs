//! Keeps the model up to date: a first reading, the newest first, then every write as it comes.
//!
//! No consumer and no right to write is needed: pokes and a clock say when to look, and what is
//! looked at comes from the leader. A broker that goes away costs a new reading; what was known
//! stays on the page until then.

use std::{collections::HashMap, time::Duration};

use bus::{Bus, Change, Error, Link, Pokes};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use proto::{JobKey, RunRecord, gate::GateRun, subject, topology::Bucket};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{
    model::{GATES_KEPT, InHand, Model},
    reading::{self, READS_AT_ONCE, newest, next},
    shared::Shared,
};

/// Runs read at the start, the newest ones: more than the columns of many repositories.
const RUNS_READ: usize = 1_000;
/// Jobs read between two looks of the page.
const BATCH: usize = 256;
/// Changes taken in one go, so that others have a turn.
const CHANGES_AT_ONCE: usize = 500;
/// Between two looks without a poke: a run and a request make none that a reader may hear.
const LOOK: Duration = Duration::from_secs(1);
/// Between two looks at the queue and the living workers, when nothing else has changed.
const POOL_LOOK: Duration = Duration::from_secs(5);
/// The same when something has: a job that was taken is not queued any more.
const POOL_LOOK_SOON: Duration = Duration::from_secs(2);
/// Between two looks at what running builds said last, while somebody looks.
const LINES_LOOK: Duration = Duration::from_secs(2);
/// Running builds whose last line is shown.
const LINES_MAX: usize = 50;
/// Before a broker that did not answer is asked again.
const RETRY: Duration = Duration::from_secs(1);

/// Where in the buckets it is.
#[derive(Clone, Copy, Debug, Default)]
struct Places {
    runs: u64,
    requests: u64,
    results: u64,
    gates: u64,
}

pub(crate) struct Keeper {
    bus: Bus,
    shared: Shared,
    places: Places,
    /// `places` are those of the broker.
    placed: bool,
    /// The queue was looked at then, and a job has moved since.
    pool_seen: Instant,
    moved: bool,
}

/// What moves it.
enum Event {
    Link(Link),
    Poked,
    Look,
    Lines,
}

impl Keeper {
    pub(crate) fn new(bus: Bus, shared: Shared) -> Self {
        let (places, pool_seen) = (Places::default(), Instant::now());
        Self { bus, shared, places, placed: false, pool_seen, moved: false }
    }

    /// Runs until something is wrong that waiting does not mend.
    pub(crate) async fn keep(mut self) -> Result<(), Error> {
        let results = subject::kv(Bucket::Results.name(), ">");
        let mut pokes = self.bus.pokes(&results).await?;
        loop {
            let trouble = match self.read_all().await {
                Ok(()) => self.follow(&mut pokes).await,
                Err(error) => Err(error),
            };
            match trouble {
                Ok(()) => return Ok(()),
                Err(error) if error.transient() => {
                    if self.shared.away() {
                        tracing::warn!("{error}; still trying");
                    }
                    tokio::time::sleep(RETRY).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// One reading of everything, or of what is new after the broker was away. Each write that comes
    /// meanwhile is read again afterwards.
    async fn read_all(&mut self) -> Result<(), Error> {
        self.find_places().await?;
        self.shared.back();
        self.look_at_pool().await?;
        for run in newest(self.bus.runs(), "*.*", RUNS_READ).await? {
            self.take_run(&run);
        }
        self.read_unread().await?;
        let gates = newest(self.bus.gate_runs(), "run.*.*.*", GATES_KEPT);
        for gate in self.allowed("gate runs", gates).await?.unwrap_or_default() {
            self.take_gate(&gate);
        }
        self.shared.change(|model| model.reading.done = true);
        Ok(())
    }

    async fn find_places(&mut self) -> Result<(), Error> {
        let now = Places {
            runs: self.bus.runs().position().await?,
            requests: self.bus.requests().position().await?,
            results: self.bus.results().position().await?,
            gates: self.allowed("gate runs", self.bus.gate_runs().position()).await?.unwrap_or(0),
        };
        let before = self.places;
        if !std::mem::replace(&mut self.placed, true) {
            self.places = now;
        } else if now.runs < before.runs || now.results < before.results {
            tracing::warn!("the broker's streams are not those of before; reading all of them");
            self.shared.change(Model::clear);
            self.places = now;
        }
        // Else every write since is followed, also over an outage.
        Ok(())
    }

    async fn follow(&mut self, pokes: &mut Pokes) -> Result<(), Error> {
        let (mut look, mut lines) = (interval(LOOK), interval(LINES_LOOK));
        for every in [&mut look, &mut lines] {
            every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        let mut link = self.bus.link();
        loop {
            let event = tokio::select! {
                Ok(()) = link.changed() => Event::Link(*link.borrow_and_update()),
                _ = look.tick() => Event::Look,
                _ = lines.tick() => Event::Lines,
                poked = pokes.next() => match poked {
                    Some(_) => Event::Poked,
                    None => return Ok(()),
                },
            };
            match event {
                // Said at once, not when the next question was in vain.
                Event::Link(Link::Down) => {
                    let (operation, subject) = ("keep the connection", "the broker".to_owned());
                    return Err(Error::NoAnswer { operation, subject });
                }
                Event::Link(Link::Up) => {}
                Event::Poked => {
                    pokes.clear();
                    self.follow_results().await?;
                }
                Event::Look => self.look_at_all().await?,
                Event::Lines => self.look_at_lines().await?,
            }
        }
    }

    async fn look_at_all(&mut self) -> Result<(), Error> {
        let patience = if self.moved { POOL_LOOK_SOON } else { POOL_LOOK };
        if self.pool_seen.elapsed() >= patience {
            self.look_at_pool().await?;
        }
        while let Some(run) = next(&self.bus.runs(), &mut self.places.runs).await? {
            self.take_run(&run);
        }
        self.read_unread().await?;
        self.follow_results().await?;
        for _ in 0..CHANGES_AT_ONCE {
            let request = next(&self.bus.requests(), &mut self.places.requests).await?;
            let Some(Change { key, entry }) = request else { break };
            if let Ok(job) = key.parse::<JobKey>() {
                self.shared.change_if(|model| model.take_request(&job, entry));
            }
        }
        self.follow_gates().await
    }

    async fn follow_results(&mut self) -> Result<(), Error> {
        for _ in 0..CHANGES_AT_ONCE {
            let record = next(&self.bus.results(), &mut self.places.results).await?;
            let Some(Change { key, entry }) = record else { break };
            if let Ok(job) = key.parse::<JobKey>() {
                self.shared.change_if(|model| model.take_record(&job, entry));
                self.moved = true;
            }
        }
        Ok(())
    }

    async fn follow_gates(&mut self) -> Result<(), Error> {
        let mut place = self.places.gates;
        loop {
            let gate = self.allowed("gate runs", next(&self.bus.gate_runs(), &mut place)).await?;
            let Some(Some(gate)) = gate else { break };
            self.take_gate(&gate);
        }
        self.places.gates = place;
        Ok(())
    }

    async fn look_at_pool(&mut self) -> Result<(), Error> {
        (self.pool_seen, self.moved) = (Instant::now(), false);
        let around = stand::around::read(&self.bus, []).await?;
        self.shared.change_if(|model| model.take_pool(around));
        Ok(())
    }

    /// Reads what is of interest and not known, and tells how far it is.
    async fn read_unread(&self) -> Result<(), Error> {
        let mut unread = self.shared.read(|model| model.unread());
        let of = unread.len();
        while !unread.is_empty() {
            let rest = unread.split_off(unread.len().min(BATCH));
            let batch = std::mem::replace(&mut unread, rest);
            let read = batch.into_iter().map(|of| reading::job(&self.bus, of));
            let read: Vec<_> = stream::iter(read).buffered(READS_AT_ONCE).try_collect().await?;
            let read_so_far = of - unread.len();
            self.shared.change(|model| {
                for (job, class, seen) in read {
                    model.take_job(job, class, seen);
                }
                (model.reading.read, model.reading.of) = (read_so_far, of);
            });
        }
        Ok(())
    }

    async fn look_at_lines(&self) -> Result<(), Error> {
        if !self.shared.is_watched() {
            return Ok(());
        }
        let running = self.shared.read(|model| model.running(bus::clock::now()));
        let reads = running.into_iter().take(LINES_MAX).map(|it| self.last_line(it));
        let lines: Vec<_> = stream::iter(reads).buffered(READS_AT_ONCE).try_collect().await?;
        let lines: HashMap<JobKey, String> = lines.into_iter().flatten().collect();
        self.shared.change_lines_if(|model| model.take_last_lines(lines));
        Ok(())
    }

    async fn last_line(&self, of: InHand) -> Result<Option<(JobKey, String)>, Error> {
        let job = of.status.job;
        let chunk = match self.bus.last_log(&job, of.epoch).await {
            Err(Error::Undecodable { .. }) => None,
            other => other?,
        };
        let line = chunk.and_then(|stored| Some(stored.chunk.lines.last()?.labelled()));
        Ok(line.map(|line| (job, line)))
    }

    fn take_run(&self, change: &Change<RunRecord>) {
        // Only the key says who wrote it.
        let run = change.entry.value.as_ref().filter(|run| run.key() == change.key);
        if let Some(run) = run {
            self.shared.change_if(|model| model.take_run(run));
        }
    }

    fn take_gate(&self, change: &Change<GateRun>) {
        let key = |run: &GateRun| subject::gate_run_key(&run.repo, &run.base, run.id);
        let run = change.entry.value.as_ref().filter(|run| key(run) == change.key);
        if let Some(run) = run {
            self.shared.change_if(|model| model.take_gate(&change.key, run));
        }
    }

    /// `None` of what this identity has no right to: the page says so.
    async fn allowed<T>(
        &self,
        what: &'static str,
        read: impl Future<Output = Result<T, Error>>,
    ) -> Result<Option<T>, Error> {
        if self.shared.read(|model| model.denied.contains(what)) {
            return Ok(None);
        }
        match read.await {
            Err(error @ Error::Denied { .. }) => {
                tracing::warn!("the page has no {what}: {error}");
                self.shared.change_if(|model| model.denied.insert(what));
                Ok(None)
            }
            other => other.map(Some),
        }
    }
}
