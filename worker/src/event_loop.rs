//! The loop around the machine: sockets, timers, child exits and signals become events, effects go
//! to the hands. It decides nothing.

use std::{pin::Pin, time::Duration};

use bus::{Bus, Link, clock, clock::ServerClock};
use proto::{Class, Presence, event::WorkerChange, subject};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, Sleep, timeout},
};
use tracing::{info, warn};

use crate::{
    admission::{Look, Reason, Trouble},
    hands::Hands,
    machine::{
        Machine,
        io::{Effect, Event, Now},
    },
    metrics::Metrics,
    presence::{self, Sample, Who},
    service::Service,
};

/// An order to stop. The first one drains, the second one ends at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StopOrder;

/// How the loop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoopEnd {
    /// All is settled.
    Drained,
    /// A second order came; builds were cut off.
    Cut,
}

/// Answers that are taken between two looks at everything else: orders, timers, the watchdog.
const EVENTS_AT_ONCE: usize = 64;

/// Time for the last acks and naks to leave.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// The loop and what it runs.
pub(crate) struct EventLoop {
    pub(crate) bus: Bus,
    pub(crate) machine: Machine,
    pub(crate) hands: Hands,
    pub(crate) who: Who,
    pub(crate) clock: ServerClock,
    /// What room this computer has, and why there is none for another job, if so.
    pub(crate) room: watch::Receiver<Look>,
    /// Classes that are set up only now.
    pub(crate) classes: mpsc::Receiver<Class>,
    /// Who started us, if it wants to hear of us.
    pub(crate) service: Service,
    pub(crate) metrics: Metrics,
    pub(crate) start: Instant,
}

impl EventLoop {
    /// Runs until drained or cut off.
    ///
    /// # Errors
    /// When the broker's client is closed.
    pub(crate) async fn run(
        mut self,
        mut stop: mpsc::Receiver<StopOrder>,
    ) -> Result<LoopEnd, bus::Error> {
        let mut pokes = self.bus.pokes(subject::CANCEL_ALL).await?;
        let mut link = self.bus.link();
        let mut beat = presence::Beat::new(&self.machine);
        let (samples, mut sampled) = mpsc::channel::<Sample>(1);
        let mut presence = presence::Putter::new(self.bus.clone(), samples);
        let mut watchdog = self.service.watchdog();
        let mut stop_orders = 0;
        let mut timer = std::pin::pin!(tokio::time::sleep_until(self.start));
        self.begin();
        loop {
            self.metrics.beat();
            self.say_status();
            let timed = self.set(timer.as_mut());
            let event = tokio::select! {
                event = self.hands.next() => event,
                poke = pokes.next() => {
                    let Some(poke) = poke else { return Err(bus::Error::Closed) };
                    match subject::cancelled_job(&poke) {
                        Some(job) => Event::CancelPoked(job),
                        None => continue,
                    }
                }
                // One timer for all leases, retries and limits.
                () = &mut timer, if timed => Event::Tick,
                Some(StopOrder) = stop.recv() => {
                    stop_orders += 1;
                    if stop_orders > 1 {
                        return Ok(LoopEnd::Cut);
                    }
                    info!("told to stop: finishing what is running");
                    self.service.stopping();
                    self.metrics.draining();
                    beat.at_once();
                    self.hands.tell(WorkerChange::Draining);
                    Event::Drain
                }
                () = watchdog.due() => {
                    // Here and nowhere else: a loop that hangs is one that is restarted.
                    self.service.alive();
                    continue;
                }
                () = beat.due() => {
                    presence.put(self.presence());
                    beat.told(&self.machine);
                    continue;
                }
                Some(Sample { sent, answered, stored }) = sampled.recv() => {
                    self.clock.observe(sent, answered, stored);
                    match self.pausing() {
                        Some(event) => event,
                        None => continue,
                    }
                }
                Ok(()) = self.room.changed() => match self.pausing() {
                    Some(event) => event,
                    None => continue,
                },
                Some(class) = self.classes.recv() => self.serves(class),
                Ok(()) = link.changed() => {
                    self.linked(*link.borrow_and_update());
                    continue;
                }
            };
            if self.steps(event) {
                self.end(presence).await;
                return Ok(LoopEnd::Drained);
            }
            beat.look(&self.machine);
        }
    }

    fn linked(&mut self, link: Link) {
        self.metrics.connected(link == Link::Up);
        if link == Link::Down {
            // Pulls do not outlive a connection: begin anew on the next one.
            self.hands.stop_pull();
        }
    }

    fn begin(&mut self) {
        self.service.ready();
        match self.pausing() {
            Some(pause) => self.step(pause),
            None => {
                self.hands.tell(WorkerChange::Ready);
                self.step(Event::Tick)
            }
        };
    }

    async fn end(self, presence: presence::Putter) {
        if timeout(LAST_WORDS, self.hands.finish()).await.is_err() {
            warn!("the broker did not take the last acks in time; leases will run out");
        }
        presence.leave(&self.who).await;
    }

    /// One event through the machine, and those that are there already: waiting for one of many
    /// things costs more than most events. Says whether one of them was the end.
    fn steps(&mut self, event: Event) -> bool {
        let mut next = Some(event);
        for _ in 0..EVENTS_AT_ONCE {
            let Some(event) = next else { return false };
            if self.step(event) {
                return true;
            }
            next = self.hands.ready();
        }
        next.is_some_and(|last| self.step(last))
    }

    /// One event through the machine; says whether that was the end.
    fn step(&mut self, event: Event) -> bool {
        let now = self.now();
        let mut exit = false;
        for effect in self.machine.step(now, event) {
            exit |= matches!(effect, Effect::Exit);
            self.hands.perform(effect);
        }
        exit
    }

    /// Sets the timer to what the machine waits for; says whether it waits for any time.
    fn set(&self, timer: Pin<&mut Sleep>) -> bool {
        let deadline = self.machine.deadline().and_then(|at| self.start.checked_add(at));
        if let Some(deadline) = deadline.filter(|at| *at != timer.deadline()) {
            timer.reset(deadline);
        }
        deadline.is_some()
    }

    fn say_status(&mut self) {
        if self.service.listens() {
            let status = self.status();
            self.service.status(status);
        }
    }

    /// One line for who started us.
    fn status(&self) -> String {
        let jobs = self.machine.in_hand();
        let busy = format!("{jobs} of {} slots in use", self.who.slots);
        match self.machine.paused() {
            _ if self.machine.draining() => format!("draining: {jobs} jobs left"),
            Some(why) => format!("taking no new jobs: {why}; {busy}"),
            None => busy,
        }
    }

    /// What the registry is told. (Borrowed, not marked as seen: a turn is told by `changed`.)
    fn presence(&self) -> Presence {
        let room = self.room.borrow().room.clone();
        Presence { room: Some(room), ..self.who.presence(&self.machine) }
    }

    fn now(&self) -> Now {
        let local = clock::now();
        Now { mono: self.start.elapsed(), local, server: self.clock.at(clock::steady()) }
    }

    /// One more class, told to the registry with the next presence.
    fn serves(&mut self, class: Class) -> Event {
        self.who.classes.push(class.clone());
        Event::Serves(class)
    }

    /// An event if taking jobs is to stop or may go on again.
    fn pausing(&mut self) -> Option<Event> {
        let clock = self.clock.trouble(clock::steady(), clock::now());
        let clock = clock.map(|why| Trouble { reason: Reason::Clock, why });
        let trouble = clock.or_else(|| self.room.borrow_and_update().trouble.clone());
        if trouble.is_some() == self.machine.paused().is_some() {
            return None;
        }
        self.metrics.paused(trouble.as_ref().map(|it| it.reason));
        let why = trouble.map(|it| it.why);
        self.hands.tell(match &why {
            Some(why) => {
                warn!("taking no new jobs: {why}");
                WorkerChange::Paused { why: why.clone() }
            }
            None => {
                info!("taking jobs again");
                WorkerChange::Ready
            }
        });
        Some(Event::Paused(why))
    }
}
