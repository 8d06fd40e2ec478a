//! Carries the machine's effects out. Decides nothing: each effect becomes a future, and what comes
//! of it becomes the next event.
//!
//! What only asks the broker runs on the loop's own task: it takes microseconds between two answers,
//! less than handing it to another thread. Builds and what asks git are tasks of their own.

mod answers;

use std::{collections::HashMap, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use bus::{Bus, Delivery, Error, Pulled};
use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use proto::{
    Failure, InfraKind, Instance, JobKey, Record, Timestamp, V1, WorkerName,
    event::{DeadLetter, WorkerChange, WorkerEvent},
    subject::JobSubject,
};
use telemetry::span;
use tokio::{sync::mpsc, sync::oneshot, task::JoinSet};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{Instrument as _, Span, info, warn};

use self::answers::{answer, hint, written};
use crate::{
    attempts::Attempts,
    build::{BuildEnd, Builder, Earlier, Ended, Notice, Task},
    last_good,
    log_sink::{LogRoom, LogSink},
    log_task::LogTask,
    machine::io::{Delivered, DeliveryId, Effect, Event},
    metrics::Metrics,
    teller::{News, Teller, say},
};

/// A round of pulling that brings nothing ends after this long, and the next one begins. Each costs
/// four messages for each consumer, besides the server's signs each 5 s that the pull lives.
const PULL_WAIT: Duration = Duration::from_secs(40);

/// Notices of all builds that may wait for the loop; a build waits when it is full.
const NOTICES_WAITING: usize = 256;

/// Longest subject and payload kept in a dead letter.
const DEAD_SUBJECT_CHARS_MAX: usize = 1 << 10;
const DEAD_PAYLOAD_CHARS_MAX: usize = 64 << 10;

/// What a task came to.
enum Done {
    Event(Event),
    Pulled(Result<Pulled, Error>),
    Surplus(Vec<Delivery>),
    /// An ack was tried; the delivery comes back when it was not confirmed.
    Acked(DeliveryId, Option<Delivery>),
    /// Nothing that the machine asked about.
    Nothing,
}

/// The deliveries in hand and the work under way.
pub(crate) struct Hands {
    bus: Bus,
    builder: Arc<dyn Builder>,
    worker: WorkerName,
    instance: Instance,
    teller: Teller,
    metrics: Metrics,
    tasks: JoinSet<Done>,
    /// Questions to the broker, acks and naks.
    asked: FuturesUnordered<BoxFuture<'static, Done>>,
    /// Logs on their way; they may outlive their build.
    logs: TaskTracker,
    log_room: LogRoom,
    deliveries: HashMap<DeliveryId, Delivery>,
    builds: HashMap<DeliveryId, CancellationToken>,
    attempts: Attempts,
    notice: mpsc::Sender<(DeliveryId, Notice)>,
    noticed: mpsc::Receiver<(DeliveryId, Notice)>,
    stop_pull: Option<oneshot::Sender<()>>,
    /// Why the last round of pulling failed, if it did: said once, not in each round.
    pull_failed: Option<String>,
    next_id: u64,
}

/// What the hands need from their worker.
pub(crate) struct Tools {
    pub(crate) bus: Bus,
    pub(crate) builder: Arc<dyn Builder>,
    pub(crate) worker: WorkerName,
    pub(crate) instance: Instance,
    pub(crate) teller: Teller,
    pub(crate) metrics: Metrics,
    pub(crate) logs: TaskTracker,
}

impl Hands {
    pub(crate) fn new(tools: Tools) -> Self {
        let (notice, noticed) = mpsc::channel(NOTICES_WAITING);
        let Tools { bus, builder, worker, instance, teller, metrics, logs } = tools;
        Self {
            bus,
            builder,
            worker,
            instance,
            teller,
            metrics,
            tasks: JoinSet::new(),
            asked: FuturesUnordered::new(),
            logs,
            log_room: LogRoom::default(),
            deliveries: HashMap::new(),
            builds: HashMap::new(),
            attempts: Attempts::default(),
            notice,
            noticed,
            stop_pull: None,
            pull_failed: None,
            next_id: 0,
        }
    }

    /// The next event of anything under way. Pends for ever when nothing is. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Event {
        loop {
            let done = tokio::select! {
                // Notices first: a build's last notice comes before its end.
                biased;
                Some((id, notice)) = self.noticed.recv() => return Event::Noticed(id, notice),
                Some(done) = self.asked.next(), if !self.asked.is_empty() => Ok(done),
                Some(done) = self.tasks.join_next(), if !self.tasks.is_empty() => done,
                else => std::future::pending().await,
            };
            match done {
                Ok(Done::Event(event)) => {
                    if let Event::Ended(id, _) = &event {
                        self.builds.remove(id);
                        self.metrics.building(self.builds.len());
                    }
                    return event;
                }
                Ok(Done::Pulled(pulled)) => return self.pulled(pulled),
                Ok(Done::Surplus(none)) if none.is_empty() => {}
                Ok(Done::Surplus(surplus)) => return Event::Surplus(self.take_in_all(surplus)),
                Ok(Done::Acked(id, unconfirmed)) => {
                    let confirmed = unconfirmed.is_none();
                    if confirmed {
                        self.attempts.settled(id);
                    }
                    self.deliveries.extend(unconfirmed.map(|delivery| (id, delivery)));
                    return Event::Acked(id, confirmed);
                }
                Ok(Done::Nothing) => {}
                // An answer that never comes would hold a slot for ever. A worker that dies is
                // replaced, and its leases run out.
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    Err(cancelled) => warn!("a task was cancelled: {cancelled}"),
                },
            }
        }
    }

    /// An event that is there already, if there is one.
    pub(crate) fn ready(&mut self) -> Option<Event> {
        self.next().now_or_never()
    }

    /// Lets what is under way come to its end: the last naks and acks. Bounded by the caller.
    pub(crate) async fn finish(mut self) {
        while self.asked.next().await.is_some() {}
        while self.tasks.join_next().await.is_some() {}
    }

    /// Takes the open pull back, also when the machine did not ask: the connection is new.
    pub(crate) fn stop_pull(&mut self) {
        if let Some(stop) = self.stop_pull.take() {
            stop.send(()).ok();
        }
    }

    pub(crate) fn perform(&mut self, effect: Effect) {
        self.metrics.performed(&effect);
        match effect {
            Effect::Pull(consumers, most) => self.pull(consumers, most),
            Effect::StopPull => self.stop_pull(),
            Effect::ReadRecord(id, job) => {
                let results = self.bus.results();
                self.task(async move {
                    let read = results.get(&job.to_string()).await;
                    Event::RecordRead(id, answer(&job, read))
                });
            }
            Effect::ReadRequest(id, job) => {
                let requests = self.bus.requests();
                self.task(async move {
                    let read = requests.get(&job.to_string()).await;
                    Event::RequestRead(id, answer(&job, read))
                });
            }
            Effect::WriteRecord { id, job, record, expected } => {
                let results = self.bus.results();
                // Here and not in the machine: who vouches for a finish is no part of deciding it.
                let record = self.bus.signed(&job, *record);
                self.attempts.comes_to(id, &record.state);
                self.task(async move {
                    let put = results.put_if(&job.to_string(), &record, expected).await;
                    Event::RecordWritten(id, written(&job, put))
                });
            }
            Effect::Progress(id) => {
                // A flush of one small message; it queues while the broker is away.
                if let Some(progress) = self.deliveries.get(&id).map(Delivery::progress) {
                    self.ask(progress.map(|()| Done::Nothing));
                }
            }
            Effect::Ack(id) => self.ack(id),
            Effect::Nak(id, delay) => {
                let span = self.attempts.settles(id, "nak");
                self.attempts.settled(id);
                if let Some(delivery) = self.deliveries.remove(&id) {
                    self.ask(delivery.nak(delay).map(|()| Done::Nothing).instrument(span));
                }
            }
            Effect::Abandon(id) => {
                self.attempts.fenced(id);
                if let Some(delivery) = self.deliveries.remove(&id) {
                    delivery.abandon();
                }
            }
            Effect::Build { id, subject, record, plan, overrides } => {
                let last_good = self.last_good(&subject.job);
                let span = self.attempt(id, &subject, &record);
                let (job, epoch) = (subject.job, record.epoch);
                self.build(id, Task { job, epoch, plan, overrides, last_good }, span);
            }
            Effect::Kill(id) => {
                if let Some(stop) = self.builds.get(&id) {
                    stop.cancel();
                }
            }
            Effect::Tell { subject, epoch, what } => {
                say(&subject.job, epoch, &what);
                self.teller.tell(News::of(&self.worker, subject, epoch, what));
            }
            Effect::Bury { id, subject, record, reason } => {
                self.bury(id, &subject, &record, reason);
            }
            Effect::NoteGood(job, record) => self.note_good(job, record),
            Effect::Exit => {}
        }
    }

    /// Tells what happened to this worker.
    pub(crate) fn tell(&self, what: WorkerChange) {
        let (at, worker) = (bus::clock::now(), self.worker.clone());
        let event = WorkerEvent { v: V1, at, worker, instance: self.instance, what };
        self.teller.tell(News::Worker(event));
    }

    fn task(&mut self, work: impl Future<Output = Event> + Send + 'static) {
        self.ask(work.map(Done::Event));
    }

    fn ask(&mut self, work: impl Future<Output = Done> + Send + 'static) {
        self.asked.push(Box::pin(work));
    }

    fn pull(&mut self, consumers: Vec<String>, most: usize) {
        let bus = self.bus.clone();
        let (stop, stopped) = oneshot::channel();
        self.stop_pull = Some(stop);
        self.ask(async move { Done::Pulled(bus.pull(&consumers, most, PULL_WAIT, stopped).await) });
    }

    fn pulled(&mut self, pulled: Result<Pulled, Error>) -> Event {
        self.stop_pull = None;
        match pulled {
            Ok(Pulled { taken, rest }) => {
                if self.pull_failed.take().is_some() {
                    info!("pulling works again");
                }
                // Beside what has come: a job need not wait for what other pulls had under way.
                if !rest.is_empty() {
                    self.ask(async move { Done::Surplus(rest.surplus().await) });
                }
                Event::Pulled(self.take_in_all(taken))
            }
            Err(error) => {
                let why = error.to_string();
                if self.pull_failed.as_ref() != Some(&why) {
                    warn!("pulling failed: {why}");
                }
                self.pull_failed = Some(why);
                Event::PullFailed
            }
        }
    }

    fn take_in_all(&mut self, deliveries: Vec<Delivery>) -> Vec<Delivered> {
        deliveries.into_iter().filter_map(|delivery| self.take_in(delivery)).collect()
    }

    /// Gives a delivery its name; one that names no job is buried and acked here.
    fn take_in(&mut self, delivery: Delivery) -> Option<Delivered> {
        let subject = match JobSubject::parse(delivery.subject()) {
            Ok(subject) => subject,
            Err(error) => {
                self.bury_unknown(delivery, error.to_string());
                return None;
            }
        };
        self.next_id += 1;
        let id = DeliveryId(self.next_id);
        let published = delivery.published().unwrap_or(Timestamp(0));
        let waiting = delivery.waiting();
        let hint = hint(&subject, delivery.payload(), delivery.deliveries());
        let before = hint.as_ref().copied().unwrap_or_default();
        let poison = hint.err();
        self.deliveries.insert(id, delivery);
        Some(Delivered { id, subject, published, waiting, before, poison })
    }

    /// No job can ever be made of it, which is a reason to ack that never becomes untrue.
    fn bury_unknown(&mut self, mut delivery: Delivery, reason: String) {
        warn!("a message that names no job goes to the dead letters: {reason}");
        let letter = self.letter(delivery.subject(), delivery.payload(), reason);
        let (bus, metrics) = (self.bus.clone(), self.metrics.clone());
        // As the sweep names it: handed over again after a lost ack, or found by the sweep as well, it
        // is one letter still.
        let id = match delivery.sequence() {
            Some(sequence) => format!("unreadable.{sequence}"),
            None => uuid::Uuid::now_v7().to_string(),
        };
        self.ask(async move {
            if bus.publish_dead(None, &id, &letter).await.is_ok() {
                metrics.buried();
                delivery.ack().await.ok();
            }
            Done::Nothing
        });
    }

    fn bury(&mut self, id: DeliveryId, subject: &JobSubject, record: &Record, reason: String) {
        let mut letter = self.letter(&subject.subject(), b"", reason);
        letter.attempts.clone_from(&record.attempts);
        let (bus, job) = (self.bus.clone(), subject.job.clone());
        let name = format!("{job}.{}", record.epoch);
        self.task(async move {
            let stored = match bus.publish_dead(Some(&job), &name, &letter).await {
                Ok(()) => true,
                Err(error) => {
                    warn!(%job, "a dead letter could not be stored: {error}");
                    // What is refused for good must not hold the message for good.
                    matches!(error, Error::TooLarge { .. } | Error::Denied { .. })
                }
            };
            Event::Buried(id, stored)
        });
    }

    fn letter(&self, subject: &str, payload: &[u8], reason: String) -> DeadLetter {
        let cut = |text: &str, max: usize| text.chars().take(max).collect();
        DeadLetter {
            v: V1,
            at: bus::clock::now(),
            worker: self.worker.clone(),
            subject: cut(subject, DEAD_SUBJECT_CHARS_MAX),
            payload: cut(&String::from_utf8_lossy(payload), DEAD_PAYLOAD_CHARS_MAX),
            reason,
            attempts: Vec::new(),
        }
    }

    fn ack(&mut self, id: DeliveryId) {
        let Some(mut delivery) = self.deliveries.remove(&id) else { return };
        let span = self.attempts.settles(id, "ack");
        let acking = async move {
            match delivery.ack().await {
                Ok(()) => Done::Acked(id, None),
                Err(_) => Done::Acked(id, Some(delivery)),
            }
        };
        self.ask(acking.instrument(span));
    }

    fn note_good(&mut self, job: JobKey, record: Box<Record>) {
        let (bus, builder) = (self.bus.clone(), Arc::clone(&self.builder));
        self.tasks.spawn(async move {
            last_good::note(&bus, &*builder, &job, &record).await;
            Done::Nothing
        });
    }

    /// How the host's last good build is read. An answer that does not come costs a comparison.
    fn last_good(&self, job: &JobKey) -> Earlier {
        let (bucket, key) = (self.bus.last_good(), proto::last_good::key(&job.repo, &job.host));
        Earlier::new(move || async move { bucket.get(&key).await.ok()?.value })
    }

    fn attempt(&mut self, id: DeliveryId, subject: &JobSubject, record: &Record) -> Span {
        let delivery = self.deliveries.get(&id);
        self.attempts.begin(
            id,
            &span::Attempt {
                subject,
                epoch: record.epoch,
                number: record.attempts.len(),
                deliveries: delivery.map_or(1, Delivery::deliveries),
                worker: &self.worker,
                instance: self.instance,
                asked: delivery.and_then(Delivery::trace),
            },
        )
    }

    fn build(&mut self, id: DeliveryId, task: Task, span: Span) {
        let stop = CancellationToken::new();
        self.builds.insert(id, stop.clone());
        self.metrics.building(self.builds.len());
        let (job, epoch) = (task.job.clone(), task.epoch);
        let (log, chunks) = LogSink::new(self.builder.log_keep_max(&job.repo), &self.log_room);
        let bus = self.bus.clone();
        let mut log_task = LogTask { bus, job, epoch, chunks };
        let logs = self.logs.clone();
        let (notices, mut noticed) = mpsc::channel(1);
        let to_loop = self.notice.clone();
        let builder = Arc::clone(&self.builder);
        let attempt = async move {
            let building = builder.build(task, notices, log, stop);
            let forwarding = async {
                while let Some(notice) = noticed.recv().await {
                    to_loop.send((id, notice)).await.ok();
                }
            };
            let logging = async {
                if let Some(first) = log_task.first().await {
                    logs.spawn(log_task.run(first));
                }
            };
            // Whatever happens in a build, its job must hear of its end.
            let work = AssertUnwindSafe(async { tokio::join!(building, forwarding, logging).0 });
            let ended = work.catch_unwind().await.unwrap_or_else(|_| panicked());
            Done::Event(Event::Ended(id, ended))
        };
        self.tasks.spawn(attempt.instrument(span));
    }
}

/// The end of a build whose code failed. Its children end with their supervisors' stdin.
fn panicked() -> Ended {
    let failure = Failure::message("the worker's own code failed; its log says where");
    Ended { end: BuildEnd::Infra { kind: InfraKind::Unclassified, failure }, phases: Vec::new() }
}
