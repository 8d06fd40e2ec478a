//! Following a run to its end. Leaving it cancels nothing.
//!
//! A change of a record is a hint to read again from the leader; a slow poll catches what no hint
//! came for. A host that has ended counts as ended: a later asking of somebody else is not ours.

use std::{
    collections::{BTreeSet, HashSet},
    time::Duration,
};

use bus::Bus;
use display::Live;
use futures_util::{StreamExt as _, stream};
use options::Console;
use proto::{Class, ExitCode, JobKey, RunRecord, subject, topology::Bucket};
use stand::{Around, HostStatus, Place, Queue, Stand};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{Instant, MissedTickBehavior, interval, interval_at},
};

use crate::{
    error::Error,
    outage::Outage,
    progress::{Progress, standing},
    snapshot,
};

/// How the following ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Every host has ended.
    Complete,
    /// The caller's time was up.
    TimedOut,
    /// The person left, or the program was told to stop.
    Left,
}

/// Between two looks at every host that has not ended.
const POLL: Duration = Duration::from_secs(5);
/// Between two signs of life.
const HEARTBEAT: Duration = Duration::from_secs(30);
/// Between two sweeps of one's own run (DESIGN 5.12).
const HEAL: Duration = Duration::from_secs(120);
/// Jobs swept at once.
const HEALS_AT_ONCE: usize = 8;

/// What moves it.
enum Event {
    Poked(Option<String>),
    Poll,
    Heartbeat,
    Heal,
}

/// Which hosts that have ended by the first look are told of.
#[derive(Clone, Copy, Debug)]
pub(crate) enum News<'a> {
    /// None: they may have ended days ago.
    None,
    /// All that were asked for just now, but those whose answer was there before.
    AllBut(&'a BTreeSet<JobKey>),
}

struct Follow<'a> {
    bus: &'a Bus,
    run: &'a RunRecord,
    news: News<'a>,
    hosts: Vec<HostStatus>,
    around: Around,
    outage: Outage,
    looked: bool,
    progress: Progress<'a>,
}

/// Follows `run` until every host has ended, for `limit` at most.
pub(crate) async fn follow(
    bus: &Bus,
    run: &RunRecord,
    news: News<'_>,
    limit: Option<Duration>,
    console: &Console,
) -> Result<(Vec<HostStatus>, End), Error> {
    let unseen = |(job, class): (JobKey, &Class)| HostStatus::unseen(job, class.clone());
    let live = Live::on(console);
    let mut follow = Follow {
        bus,
        run,
        news,
        hosts: run.jobs().map(unseen).collect(),
        around: Around::default(),
        outage: Outage::default(),
        looked: false,
        progress: Progress::on(console, live.as_ref()),
    };
    let time_is_up = async {
        match limit {
            Some(limit) => tokio::time::sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    let drawing = async {
        match &live {
            Some(live) => live.keep(bus).await,
            None => std::future::pending().await,
        }
    };
    let end = tokio::select! {
        never = drawing => match never {},
        done = follow.until_complete() => done.map(|()| End::Complete)?,
        () = time_is_up => End::TimedOut,
        () = told_to_stop() => End::Left,
    };
    let Follow { hosts, .. } = follow;
    drop(live);
    match end {
        End::Complete | End::Left => {}
        End::TimedOut => console.say(&format!("time is up: {}", standing(&hosts))),
    }
    Ok((hosts, end))
}

/// Says how to come back, if somebody left: last, where a long table does not scroll it away.
pub(crate) fn say_how_to_come_back(run: &RunRecord, end: End, console: &Console) {
    if end == End::Left {
        let run = run.run;
        console
            .say(&format!("left; the builds go on, and `producer watch {run}` takes it up again"));
    }
}

/// SIGINT of a person, SIGTERM of whoever runs it as a service. Without a handler the default of the
/// system ends the program, and then nobody is told how the hosts stand.
async fn told_to_stop() {
    async fn heard(kind: SignalKind) {
        match signal(kind) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        }
    }
    tokio::select! {
        () = heard(SignalKind::interrupt()) => {}
        () = heard(SignalKind::terminate()) => {}
    }
}

/// The exit code of a command that waited.
pub(crate) fn exit_code(hosts: &[HostStatus], end: End) -> ExitCode {
    match end {
        End::Complete => stand::tally(hosts).exit_code(),
        End::TimedOut | End::Left => ExitCode::Undecided,
    }
}

impl Follow<'_> {
    async fn until_complete(&mut self) -> Result<(), Error> {
        let keys = format!("{}.{}.*", self.run.repo, self.run.revision);
        let mut pokes = self.bus.pokes(&subject::kv(Bucket::Results.name(), &keys)).await?;
        let (mut poll, mut heal) = (interval(POLL), interval(HEAL));
        let mut heartbeat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
        for every in [&mut poll, &mut heal, &mut heartbeat] {
            every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        while !stand::tally(&self.hosts).complete() {
            let event = tokio::select! {
                // The first poll comes before the first sweep, which goes by what it found.
                biased;
                _ = poll.tick() => Event::Poll,
                _ = heal.tick() => Event::Heal,
                _ = heartbeat.tick() => Event::Heartbeat,
                poked = pokes.next() => Event::Poked(poked),
            };
            match event {
                Event::Poll => self.look_at_all().await?,
                Event::Poked(Some(subject)) => {
                    // Many change at once: one look for all of them.
                    let more = std::iter::from_fn(|| pokes.another());
                    let poked: BTreeSet<String> = std::iter::once(subject).chain(more).collect();
                    self.look_at(&poked).await?;
                }
                // The client is closed. The poll finds out what that means.
                Event::Poked(None) => tokio::time::sleep(POLL).await,
                Event::Heal => self.heal().await,
                Event::Heartbeat => self.progress.heartbeat(&self.hosts),
            }
        }
        Ok(())
    }

    /// It ended between the ask and the first look.
    fn ended_just_now(&self, status: &HostStatus) -> bool {
        let news = match self.news {
            News::None => false,
            News::AllBut(known) => !known.contains(&status.job),
        };
        news && status.finished().is_some()
    }

    async fn look_at_all(&mut self) -> Result<(), Error> {
        // It only explains why a host waits: without an answer the last one stands.
        if let Ok(around) = stand::around::read(self.bus, self.run.hosts.values().cloned()).await {
            self.around = around;
        }
        let open = self.hosts.iter().enumerate().filter(|(_, status)| status.finished().is_none());
        self.refresh(open.map(|(at, _)| at).collect()).await
    }

    async fn look_at(&mut self, poked: &BTreeSet<String>) -> Result<(), Error> {
        let open = |status: &HostStatus| {
            let subject = || subject::kv(Bucket::Results.name(), &status.job.to_string());
            status.finished().is_none() && poked.contains(&subject())
        };
        let open = self.hosts.iter().enumerate().filter(|(_, status)| open(status));
        let open: Vec<usize> = open.map(|(at, _)| at).collect();
        match open.is_empty() {
            true => Ok(()),
            false => self.refresh(open).await,
        }
    }

    async fn refresh(&mut self, which: Vec<usize>) -> Result<(), Error> {
        let job = |at: &usize| (self.hosts[*at].job.clone(), self.hosts[*at].class.clone());
        let jobs = which.iter().map(job).collect();
        let read = snapshot::read(self.bus, jobs, &self.around).await;
        let (read, change) = self.outage.pass(read)?;
        if let Some(change) = change {
            self.progress.say(change.text());
        }
        let Some(read) = read else { return Ok(()) };
        let mut gone = Vec::new();
        for (at, after) in which.iter().copied().zip(read) {
            let before = std::mem::replace(&mut self.hosts[at], after);
            let after = &self.hosts[at];
            gone.extend(before.place().filter(|_| after.is_taken()).map(|it| (at, it)));
            if (self.looked || self.ended_just_now(after)) && before.phrase() != after.phrase() {
                self.progress.changed(&before, after);
            }
        }
        self.close_up(&gone, &which);
        if !std::mem::replace(&mut self.looked, true) {
            self.progress.heartbeat(&self.hosts);
        }
        self.progress.show(&self.hosts);
        Ok(())
    }

    /// Hosts of which some are ahead no more come nearer; `read` were judged by what is known now.
    fn close_up(&mut self, gone: &[(usize, Place)], read: &[usize]) {
        let gone: Vec<(Class, usize)> =
            gone.iter().map(|(at, it)| (self.hosts[*at].class.clone(), it.position)).collect();
        if gone.is_empty() {
            return;
        }
        let read: HashSet<&usize> = read.iter().collect();
        for (at, host) in self.hosts.iter_mut().enumerate() {
            let Stand::Queued(Queue::Served(Some(place))) = &mut host.stand else { continue };
            if !read.contains(&at) {
                let of_class = || gone.iter().filter(|(class, _)| *class == host.class);
                let ahead = of_class().filter(|(_, gone)| *gone < place.position).count();
                place.position = place.position.saturating_sub(ahead).max(1);
                place.of = place.of.saturating_sub(of_class().count()).max(place.position);
            }
        }
        let taken = self.hosts.iter().filter(|it| it.is_taken()).map(|it| &it.job).collect();
        self.around.take_out(&taken);
    }

    /// Puts back what a crash of a submit or a lost message left undone. Best effort: whether the
    /// broker answers is told by the looks.
    async fn heal(&self) {
        if self.run.by != *self.bus.identity() {
            return;
        }
        let open = self.hosts.iter().filter(|status| status.finished().is_none());
        let heals = open.map(|status| async {
            let healed = match status.stand {
                Stand::Queued(Queue::Unasked) => {
                    let ask = bus::ask_of(self.run, &status.class);
                    self.bus.ask(&status.job, &ask).await.map(|_| true)
                }
                _ => self.bus.heal(&status.job).await,
            };
            match healed {
                Ok(true) => tracing::info!(job = %status.job, "queued again"),
                Ok(false) => {}
                Err(error) => tracing::info!(job = %status.job, "not swept: {error}"),
            }
        });
        stream::iter(heals).buffer_unordered(HEALS_AT_ONCE).collect::<Vec<()>>().await;
    }
}
