//! The metrics by name, each with its help, registered once and with a zero wherever the labels
//! are known: so "nothing happened" differs from "nobody counts". docs/operate.md has the table.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError, atomic::AtomicU64},
};

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Metric, Registry},
};
use proto::{FailureKind, Finished, InfraKind, Phase, Staff, Timestamp};

use super::{own_classes, pool, really_built};
use crate::{admission::Reason, config::Config};

pub(super) type Labels = Vec<(&'static str, String)>;
pub(super) type Value = Gauge<f64, AtomicU64>;
type Counters = Family<Labels, Counter>;
type Values = Family<Labels, Value>;
type Histograms = Family<Labels, Histogram, fn() -> Histogram>;

/// From a host that was only linked to the default wall deadline of four hours.
const BUILD_BUCKETS: [f64; 12] =
    [5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0, 14400.0];
/// Fetching takes less than a second, building hours.
const PHASE_BUCKETS: [f64; 12] =
    [0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0, 14400.0];
const WAIT_BUCKETS: [f64; 10] =
    [1.0, 5.0, 30.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 14400.0, 86400.0];

const PHASES: [Phase; 5] = [Phase::Fetch, Phase::Evaluate, Phase::Build, Phase::Push, Phase::Root];

pub(super) struct Families {
    pub(super) registry: Registry,
    builds: Counters,
    build_duration: Histograms,
    last_build_duration: Values,
    phase_duration: Histograms,
    queue_wait: Histogram,
    last_success: Values,
    jobs_waiting: Values,
    queue_oldest: Values,
    store_free_bytes: Values,
    store_free_inodes: Values,
    admission_paused: Values,
    pub(super) builds_in_progress: Value,
    pub(super) retries: Counters,
    pub(super) redeliveries: Counter,
    pub(super) fenced: Counter,
    pub(super) buried: Counter,
    pub(super) events_dropped: Counter,
    /// Without labels; no series while they may not be counted.
    pub(super) dead_letters: Values,
    pub(super) draining: Value,
    pub(super) broker_connected: Value,
    pub(super) swept: Value,
    /// Classes that were told of, to be told with a zero when nothing of them waits any more.
    classes: Mutex<BTreeSet<String>>,
    /// Hosts with a `last_success`: one that nobody asks for any more goes away.
    successes: Mutex<BTreeSet<(String, String)>>,
}

pub(super) fn labels<const N: usize>(labels: [(&'static str, &str); N]) -> Labels {
    labels.map(|(name, value)| (name, value.to_owned())).to_vec()
}

/// A time as Prometheus has it.
pub(super) fn seconds(at: Timestamp) -> f64 {
    float(at.0) / 1000.0
}

#[expect(clippy::cast_precision_loss, reason = "nothing here comes near 2^53")]
pub(super) fn float(number: u64) -> f64 {
    number as f64
}

fn since(ms: u64) -> f64 {
    float(ms) / 1000.0
}

/// How builds can end, in the words of `Outcome::name`.
pub(super) fn outcomes() -> impl Iterator<Item = &'static str> {
    let failures = FailureKind::ALL.into_iter().map(FailureKind::name);
    ["built", "infra-failed", "cancelled", "superseded"].into_iter().chain(failures)
}

impl Families {
    pub(super) fn new(config: &Config) -> Self {
        let mut new = Self::registered(config);
        new.begin(config);
        new
    }

    fn registered(config: &Config) -> Self {
        let name = [("worker", config.name.to_string())].into_iter();
        let more = config.labels.iter().map(|(name, value)| (name.as_str(), value.clone()));
        let own = name.chain(more).map(|(name, value)| (name.to_owned().into(), value.into()));
        let mut registry = Registry::with_prefix_and_labels("nbp", own);
        let mut book = Book(&mut registry);
        let histogram: fn() -> Histogram = || Histogram::new(BUILD_BUCKETS);
        let phases: fn() -> Histogram = || Histogram::new(PHASE_BUCKETS);
        Self {
            builds: book.add("builds", "Jobs that this worker ended"),
            build_duration: book.with(
                "build_duration_seconds",
                "From the last claim to the end of jobs that were really built or failed",
                Family::new_with_constructor(histogram),
            ),
            last_build_duration: book
                .add("last_build_duration_seconds", "The same, of the newest one of each host"),
            phase_duration: book.with(
                "phase_duration_seconds",
                "Time in each phase of the attempts that ended jobs",
                Family::new_with_constructor(phases),
            ),
            queue_wait: book.with(
                "queue_wait_seconds",
                "From the publish of a message to its claim",
                Histogram::new(WAIT_BUCKETS),
            ),
            last_success: book.add(
                "last_success_timestamp_seconds",
                "When each host that is asked for was built last, by any worker; 0: never",
            ),
            jobs_waiting: book
                .add("jobs_waiting", "Jobs in nobody's hands, by who could take them"),
            queue_oldest: book
                .add("queue_oldest_seconds", "Age of the job that has waited longest"),
            store_free_bytes: book.add("store_free_bytes", "Free bytes for builds"),
            store_free_inodes: book.add("store_free_inodes", "Free inodes for builds"),
            admission_paused: book.add("admission_paused", "1: no new jobs are taken, and why"),
            builds_in_progress: book.add("builds_in_progress", "Builds under way"),
            retries: book.add("retries", "Attempts that met a fault of the infrastructure"),
            redeliveries: book
                .add("redeliveries", "Claims of jobs that an earlier attempt did not end"),
            fenced: book.add("fenced", "Jobs that were lost to another worker while building"),
            buried: book.add("buried", "Dead letters that this worker wrote"),
            events_dropped: book.add("events_dropped", "Events that the broker did not take"),
            dead_letters: book.add("dead_letters", "Dead letters that nobody has looked after"),
            draining: book.add("draining", "1: it was told to stop and takes nothing new"),
            broker_connected: book.add("broker_connected", "1: connected to the broker"),
            swept: book.add("swept_timestamp_seconds", "When the queue was looked at last"),
            classes: Mutex::default(),
            successes: Mutex::default(),
            registry,
        }
    }

    /// What does not change, and a zero for all that may happen.
    fn begin(&mut self, config: &Config) {
        let mut book = Book(&mut self.registry);
        let info: Values = book.add("build_info", "The version of the program");
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        info.get_or_create(&labels(version)).set(1.0);
        let slots: Value = book.add("slots", "Builds that may be under way at once");
        slots.set(super::count(config.slots));
        let bytes: Values = book.add("store_wanted_bytes", "Free bytes below which it pauses");
        let inodes: Values = book.add("store_wanted_inodes", "Free inodes below which it pauses");
        for place in &config.admission.places {
            let place_label = labels([("place", place.label)]);
            bytes.get_or_create(&place_label).set(float(place.bytes_free_min));
            inodes.get_or_create(&place_label).set(float(config.admission.inodes_free_min));
        }
        for repo in config.repos.keys() {
            drop(self.build_duration.get_or_create(&labels([("repo", repo.as_str())])));
        }
        for phase in PHASES {
            drop(self.phase_duration.get_or_create(&labels([("phase", phase.name())])));
        }
        for kind in InfraKind::ALL {
            drop(self.retries.get_or_create(&labels([("reason", kind.name())])));
        }
        for reason in Reason::ALL {
            self.paused(reason, false);
        }
        let idle = own_classes(config).map(|class| (class.to_string(), pool::Waiting::default()));
        self.queue(idle.collect());
    }

    /// A zero for every end that the host's builds may come to.
    pub(super) fn know(&self, repo: &str, host: &str) {
        // Each job asks for it twice, and there are some twenty series to a host.
        if self.builds.get(&of_build(repo, host, "built")).is_some() {
            return;
        }
        for outcome in outcomes() {
            drop(self.builds.get_or_create(&of_build(repo, host, outcome)));
        }
    }

    /// A job ended; `finished` is its result, where this worker wrote it.
    pub(super) fn finished(
        &self,
        repo: &str,
        host: &str,
        outcome: &str,
        finished: Option<&Finished>,
    ) {
        self.know(repo, host);
        self.builds.get_or_create(&of_build(repo, host, outcome)).inc();
        let Some(finished) = finished else { return };
        let of_host = labels([("repo", repo), ("host", host)]);
        if outcome == "built" {
            self.last_success.get_or_create(&of_host).set(seconds(finished.at));
            self.remembered(|known| {
                known.insert((repo.to_owned(), host.to_owned()));
            });
        }
        // What ended without a claim took no time, and what was there already says nothing.
        if finished.worker.is_none() {
            return;
        }
        self.queue_wait.observe(since(finished.queue_ms));
        for time in &finished.phases {
            let phase = labels([("phase", time.phase.name())]);
            self.phase_duration.get_or_create(&phase).observe(since(time.ms));
        }
        let failed = FailureKind::ALL.iter().any(|kind| kind.name() == outcome);
        if failed || really_built(&finished.outcome) {
            let took = since(finished.build_ms);
            self.build_duration.get_or_create(&labels([("repo", repo)])).observe(took);
            self.last_build_duration.get_or_create(&of_host).set(took);
        }
    }

    pub(super) fn paused(&self, reason: Reason, paused: bool) {
        let value = if paused { 1.0 } else { 0.0 };
        self.admission_paused.get_or_create(&labels([("reason", reason.name())])).set(value);
    }

    pub(super) fn measured(&self, place: &str, bytes: u64, inodes: Option<u64>) {
        let place = labels([("place", place)]);
        self.store_free_bytes.get_or_create(&place).set(float(bytes));
        if let Some(inodes) = inodes {
            self.store_free_inodes.get_or_create(&place).set(float(inodes));
        }
    }

    /// What waits of each class. One that is not named has nothing that waits.
    pub(super) fn queue(&self, queue: Vec<(String, pool::Waiting)>) {
        let mut classes = self.classes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: BTreeMap<String, pool::Waiting> =
            classes.iter().map(|class| (class.clone(), pool::Waiting::default())).collect();
        for (class, waiting) in queue {
            let sum = all.entry(class).or_default();
            sum.oldest = sum.oldest.max(waiting.oldest);
            for (staff, jobs) in waiting.jobs {
                *sum.jobs.entry(staff).or_default() += jobs;
            }
        }
        for (class, waiting) in &all {
            let of_class = labels([("class", class)]);
            self.queue_oldest.get_or_create(&of_class).set(waiting.oldest.as_secs_f64());
            for staff in Staff::ALL {
                let jobs = waiting.jobs.get(&staff).copied().unwrap_or_default();
                let key = labels([("class", class.as_str()), ("reason", staff.name())]);
                self.jobs_waiting.get_or_create(&key).set(float(jobs));
            }
        }
        *classes = all.into_keys().collect();
    }

    /// The newest success of every host that is asked for.
    pub(super) fn successes(&self, hosts: BTreeMap<(String, String), f64>) {
        let of_host =
            |(repo, host): &(String, String)| labels([("repo", repo), ("host", host.as_str())]);
        self.remembered(|known| {
            for gone in known.iter().filter(|host| !hosts.contains_key(*host)) {
                self.last_success.remove(&of_host(gone));
            }
            for (host, at) in &hosts {
                self.last_success.get_or_create(&of_host(host)).set(*at);
            }
            *known = hosts.into_keys().collect();
        });
    }

    /// What a sweep saw of the pool is no longer true. Classes are known still: the next sweep tells
    /// of them again.
    pub(super) fn forget_pool(&self) {
        self.jobs_waiting.clear();
        self.queue_oldest.clear();
        self.dead_letters.clear();
        self.remembered(|known| {
            self.last_success.clear();
            known.clear();
        });
    }

    fn remembered(&self, change: impl FnOnce(&mut BTreeSet<(String, String)>)) {
        change(&mut self.successes.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

fn of_build(repo: &str, host: &str, outcome: &str) -> Labels {
    labels([("repo", repo), ("host", host), ("outcome", outcome)])
}

/// A registry that gives back what it registers.
struct Book<'a>(&'a mut Registry);

impl Book<'_> {
    fn add<M: Metric + Clone + Default>(&mut self, name: &str, help: &str) -> M {
        self.with(name, help, M::default())
    }

    fn with<M: Metric + Clone>(&mut self, name: &str, help: &str, metric: M) -> M {
        self.0.register(name, help, metric.clone());
        metric
    }
}
