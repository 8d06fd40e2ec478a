//! `worker run` and `worker standalone`: connects, waits for its consumers, runs the loop, and
//! leaves in order.

use std::{
    fs::{File, TryLockError},
    path::Path,
    sync::Arc,
    time::Duration,
};

use bus::{Bus, Endpoint, SweepScope, clock, clock::ServerClock};
use proto::{Class, Instance, topology};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use crate::{
    admission,
    broker::{Broker, BrokerConfig},
    build::{BuildContext, Builder},
    config::Config,
    error::Error,
    event_loop::{EventLoop, LoopEnd, StopOrder},
    hands::{Hands, Tools},
    machine::{Machine, Settings},
    metrics::{self, Metrics},
    nix::process::Supervisor,
    presence::{self, Who},
    roots::Keeper,
    service::{Service, ServiceArgs},
    serving::Serving,
    sweeper::Sweeper,
    teller::Teller,
};

/// Pause between two looks for consumers that are not set up yet.
const SETUP_AGAIN: Duration = Duration::from_secs(2);

/// A service manager that waits for `ready` waits no longer than this for the broker: a worker whose
/// broker is away is up, and must hold up neither a boot nor an upgrade.
const READY_WAIT: Duration = Duration::from_secs(10);

/// Time for events and logs to leave after the last job is settled.
const FLUSH_WAIT: Duration = Duration::from_secs(10);

/// Runs until a stop order; a second one ends at once.
///
/// # Errors
/// See [`Error`]. A broker that is away is none: the worker waits for it.
pub async fn run(
    config: Config,
    nats: &options::Broker,
    service: &ServiceArgs,
    stop: mpsc::Receiver<StopOrder>,
) -> Result<(), Error> {
    let endpoint = endpoint(&config, nats);
    let mode = Mode { standalone: false, service: Service::of(service) };
    work(config, endpoint, mode, prepare, stop).await
}

/// [`run`] with another builder than Nix: measures the path around a build.
///
/// # Errors
/// See [`Error`].
pub async fn run_with(
    config: Config,
    nats: &options::Broker,
    builder: Arc<dyn Builder>,
    stop: mpsc::Receiver<StopOrder>,
) -> Result<(), Error> {
    let endpoint = endpoint(&config, nats);
    let mode = Mode { standalone: false, service: Service::default() };
    work(config, endpoint, mode, |_| Ok(builder), stop).await
}

/// Starts a private broker, sets it up, and runs on it.
///
/// # Errors
/// See [`Error`].
pub async fn standalone(
    config: Config,
    broker: BrokerConfig,
    service: &ServiceArgs,
    mut stop: mpsc::Receiver<StopOrder>,
) -> Result<(), Error> {
    let service = Service::of(service);
    let tasks = TaskTracker::new();
    let supervisor = Supervisor::this_program();
    let broker = tokio::select! {
        broker = Broker::start(&broker, &supervisor, &tasks) => broker?,
        // What was started ends with its supervisor's stdin.
        Some(StopOrder) = stop.recv() => return stopped_early(),
    };
    let nats =
        options::Broker { nats_url: Some(broker.url().to_owned()), ..options::Broker::default() };
    let endpoint = Endpoint { nkey_file: None, ca_file: None, ..endpoint(&config, &nats) };
    let ready = tokio::select! {
        ready = set_up(&config, &endpoint) => ready.map(|()| true),
        Some(StopOrder) = stop.recv() => Ok(false),
    };
    let worked = match ready {
        Ok(true) => work(config, endpoint, Mode { standalone: true, service }, prepare, stop).await,
        Ok(false) => stopped_early(),
        Err(error) => Err(error),
    };
    broker.stop().await;
    worked
}

/// What `producer setup` does on a broker of one's own; changes of an operator are left alone. What
/// a former life was building is handed out again.
async fn set_up(config: &Config, endpoint: &Endpoint) -> Result<(), Error> {
    let bus = Bus::connect(endpoint).await?;
    let defaults = topology::CLASSES_DEFAULT.iter().filter_map(|class| class.parse().ok());
    let mut classes: Vec<Class> = config.classes.iter().cloned().chain(defaults).collect();
    classes.sort();
    classes.dedup();
    let choices = topology::Choices { replicas: 1, classes, ack_wait: topology::ACK_WAIT_DEFAULT };
    let done = bus.reconcile(&choices, false).await?;
    for created in &done.created {
        info!("created {created}");
    }
    for drift in &done.drift {
        warn!("left as it is: {drift}");
    }
    for job in bus.take_up(&config.name).await? {
        info!(job = %job.job, "{}: is taken up from a former life", job.job.host);
    }
    bus.close().await;
    Ok(())
}

/// A worker waits for its broker for ever.
fn endpoint(config: &Config, nats: &options::Broker) -> Endpoint {
    nats.endpoint(&config.nats, format!("nbp-worker-{}", config.name), None)
}

/// How a worker is run.
struct Mode {
    /// With a broker of its own.
    standalone: bool,
    service: Service,
}

async fn work(
    config: Config,
    endpoint: Endpoint,
    mode: Mode,
    prepare: impl FnOnce(&Config) -> Result<Arc<dyn Builder>, Error>,
    mut stop: mpsc::Receiver<StopOrder>,
) -> Result<(), Error> {
    let Mode { standalone, mut service } = mode;
    let _lock = lock(&config.state_dir)?;
    let builder = prepare(&config)?;
    let (news, logs) = (TaskTracker::new(), TaskTracker::new());
    let stop_watching = CancellationToken::new();
    let metrics = Metrics::new(&config);
    // Before the broker is there: that it is not is what somebody may want to know.
    if let Some(address) = config.listen {
        metrics::listen(address, &metrics, stop_watching.clone(), &news).await?;
    }
    let connected = tokio::select! {
        connected = reach(&config, &endpoint, &mut service) => connected?,
        Some(StopOrder) = stop.recv() => {
            service.stopping();
            return stopped_early();
        }
    };
    let (bus, mut serving) = connected;
    let instance = Instance(uuid::Uuid::now_v7());
    let settings =
        Settings { key: bus.signer(), ..settings(&config, instance, &serving, standalone) };
    let machine = Machine::new(settings);
    let who = who(&config, instance, serving.classes.clone());
    let mut clock = ServerClock::default();
    if let Some(sample) = presence::put(&bus, &who.presence(&machine)).await {
        clock.observe(sample.sent, sample.answered, sample.stored);
    }
    metrics.connected(true);
    let teller = Teller::start(bus.clone(), metrics.clone(), &news);
    let (admission, stop_looking) = (config.admission.clone(), stop_watching.clone());
    let room = admission::watch(admission, metrics.clone(), stop_looking, &news).await;
    let sweeper = sweeper(&bus, &config, &teller, &metrics);
    news.spawn(sweeper.run(stop_watching.clone()));
    Keeper::new(&config, stop_watching.clone()).watch(&news);
    let classes = serving.watch(bus.clone(), config.sweep_every, stop_watching.clone(), &news);
    let tools = Tools {
        bus: bus.clone(),
        builder,
        worker: config.name.clone(),
        instance,
        teller,
        metrics: metrics.clone(),
        logs: logs.clone(),
    };
    let hands = Hands::new(tools);
    info!(worker = %config.name, slots = config.slots, "ready for jobs");
    let event_loop = EventLoop {
        bus: bus.clone(),
        machine,
        hands,
        who,
        clock,
        room,
        classes,
        service,
        metrics,
        start: Instant::now(),
    };
    let ended = event_loop.run(stop).await;
    stop_watching.cancel();
    let ended = ended?;
    if ended == LoopEnd::Drained {
        flush(&bus, &news, &logs).await;
    }
    info!(?ended, "stopped");
    Ok(())
}

fn sweeper(bus: &Bus, config: &Config, teller: &Teller, metrics: &Metrics) -> Sweeper {
    Sweeper {
        bus: bus.clone(),
        worker: config.name.clone(),
        scope: SweepScope {
            classes: config.classes.clone(),
            keep_requests: config.keep_requests,
            successes: metrics.watched(),
        },
        every: config.sweep_every,
        teller: teller.clone(),
        metrics: metrics.clone(),
    }
}

/// Gives the last events and log lines their time, then leaves the broker.
async fn flush(bus: &Bus, news: &TaskTracker, logs: &TaskTracker) {
    news.close();
    logs.close();
    let flushed = async { tokio::join!(news.wait(), logs.wait()) };
    if timeout(FLUSH_WAIT, flushed).await.is_err() {
        warn!("some events or log lines could not be told in time");
    }
    bus.close().await;
}

fn stopped_early() -> Result<(), Error> {
    info!("told to stop before the broker was there");
    Ok(())
}

/// Connects, and keeps the service manager informed meanwhile.
async fn reach(
    config: &Config,
    endpoint: &Endpoint,
    service: &mut Service,
) -> Result<(Bus, Serving), Error> {
    service.status("waiting for the broker".to_owned());
    let mut connected = std::pin::pin!(connect(config, endpoint));
    let mut watchdog = service.watchdog();
    let waited_enough = Instant::now() + READY_WAIT;
    let mut told = false;
    loop {
        tokio::select! {
            connected = &mut connected => return connected,
            () = tokio::time::sleep_until(waited_enough), if !told => {
                told = true;
                service.ready();
            }
            () = watchdog.due() => service.alive(),
        }
    }
}

/// Connects and waits until the worker's systems are set up.
async fn connect(config: &Config, endpoint: &Endpoint) -> Result<(Bus, Serving), Error> {
    let bus = Bus::connect(endpoint).await?;
    let mut told = false;
    loop {
        match Serving::find(&bus, &config.classes).await {
            Ok(serving) => return Ok((bus, serving)),
            Err(error) if error.transient() => {
                if !told {
                    warn!("not set up yet, waiting: {error}");
                    told = true;
                }
                sleep(SETUP_AGAIN).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn who(config: &Config, instance: Instance, classes: Vec<Class>) -> Who {
    Who {
        worker: config.name.clone(),
        instance,
        classes,
        repos: config.repos.keys().cloned().collect(),
        slots: config.slots,
        labels: config.labels.clone(),
        since: clock::now(),
    }
}

fn settings(config: &Config, instance: Instance, serving: &Serving, standalone: bool) -> Settings {
    Settings {
        worker: config.name.clone(),
        instance,
        classes: serving.classes.clone(),
        repos: config.repos.keys().cloned().collect(),
        slots: config.slots,
        lease: serving.lease,
        attempts_max: config.retry.max_attempts,
        retry_delay_min: config.retry.delay_min,
        retry_delay_max: config.retry.delay_max,
        drain_timeout: config.drain_timeout,
        orphan_grace: config.orphan_grace,
        avoid_max: config.avoid_max,
        key: None,
        standalone,
        seed: fastrand::u64(..),
    }
}

/// Two workers in one state folder would take each other's roots and mirrors away.
fn lock(state_dir: &Path) -> Result<File, Error> {
    let path = state_dir.join("worker.lock");
    let failed = |source| Error::Folder { path: path.clone(), source };
    std::fs::create_dir_all(state_dir).map_err(failed)?;
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::Locked { path }),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

fn prepare(config: &Config) -> Result<Arc<dyn Builder>, Error> {
    let context = BuildContext::new(config, Supervisor::this_program());
    let context =
        context.map_err(|source| Error::Folder { path: config.state_dir.clone(), source })?;
    // What a former life held in use is in use no more.
    if let Err(error) = context.roots.forget_in_use() {
        warn!("roots of a former life stay: {error}");
    }
    Ok(Arc::new(context))
}
