//! The worker's config file: `RawConfig` as written, [`Config`] as used.
//!
//! Every default is a named constant with its reason. What no file can say (paths that must exist,
//! a broker that must answer) is not checked here; `worker doctor` does.

mod cache;
mod labels;
mod telemetry;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use proto::{Class, Repo, WorkerName, record::ATTEMPTS_KEPT, token::TokenError};
use serde::Deserialize;
use settings::{Feature, LimitsTable, NatsTable, RepoTable, SettingsError, Size, Span, class_with};

use crate::{
    admission::{Admission, Place},
    build::Limits,
};

/// Two builds at once: one mostly waits for downloads or links while the other compiles.
pub const SLOTS_DEFAULT: usize = 2;
/// One evaluation at once: a NixOS host takes some GiB of memory.
pub const EVAL_SLOTS_DEFAULT: usize = 1;
/// Most builds end within it; a restart of the service should not wait longer.
pub const DRAIN_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10 * 60);
/// A broker that is upgraded or fails over is back by then.
pub const ORPHAN_GRACE_DEFAULT: Duration = Duration::from_secs(15 * 60);
/// For a second opinion of another worker: by then one of them has had a free slot, or there is none.
pub const AVOID_MAX_DEFAULT: Duration = Duration::from_secs(10 * 60);
/// A job that fell between two writes is found within minutes; the sweep itself is some reads.
pub const SWEEP_EVERY_DEFAULT: Duration = Duration::from_secs(2 * 60);
/// Whoever asks about a run or retries it does so within a month.
pub const KEEP_REQUESTS_DEFAULT: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Infrastructure that fails three times in a row needs a person.
pub const MAX_ATTEMPTS_DEFAULT: usize = 3;
/// A dropped connection is over by then.
pub const DELAY_MIN_DEFAULT: Duration = Duration::from_secs(10);
/// Whoever waits for a verdict should not wait much longer for a retry than for a build.
pub const DELAY_MAX_DEFAULT: Duration = Duration::from_secs(10 * 60);
/// The running system, the one before, and one more to go back to.
pub const KEEP_GENERATIONS_DEFAULT: usize = 3;
/// A person has looked at a red update by then, and a green one has landed and is asked for anew.
pub const CANDIDATES_FOR_DEFAULT: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// A NixOS host brings one to four GiB of new paths with a large update.
pub const STORE_FREE_DEFAULT: u64 = 5 << 30;
/// What a large builder unpacks and links.
pub const BUILD_FREE_DEFAULT: u64 = 2 << 30;
/// A large closure is some hundred thousand files.
pub const INODES_FREE_DEFAULT: u64 = 50_000;
/// As Hydra's builders have it.
pub const MEMORY_PRESSURE_DEFAULT: u8 = 80;
/// Where NixOS puts a service's state.
pub const STATE_DIR_DEFAULT: &str = "/var/lib/nix-build-pool";
/// All combinations of a system's features are classes: 64 of these.
pub const FEATURES_MAX: usize = 6;
/// What nearly every machine of such a pool is.
pub const SYSTEM_DEFAULT: &str = "x86_64-linux";

pub use self::cache::{Cache, CacheUrl, CacheUrlError, PUSH_SLOTS_DEFAULT};

/// The worker's configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// How to reach the broker.
    pub nats: NatsTable,
    /// Its name.
    pub name: WorkerName,
    /// What else is to be known of it.
    pub labels: BTreeMap<String, String>,
    /// Where its mirrors, homes and roots are.
    pub state_dir: PathBuf,
    /// What it can build: each system with any of its features.
    pub classes: Vec<Class>,
    /// Builds at once.
    pub slots: usize,
    /// Evaluations at once.
    pub eval_slots: usize,
    /// Time that running builds have after a stop was asked for.
    pub drain_timeout: Duration,
    /// Time that a build goes on without a broker.
    pub orphan_grace: Duration,
    /// Time that a job which asks to avoid this worker is left to others.
    pub avoid_max: Duration,
    /// Time between two sweeps, on average.
    pub sweep_every: Duration,
    /// Requests that nobody needs any more are kept this long.
    pub keep_requests: Duration,
    /// Becomes `NIX_REMOTE` of every Nix call.
    pub store: Option<String>,
    /// Binary caches that its builds may take paths from, beside those of the machine's Nix.
    pub substituters: Vec<String>,
    /// Public keys of whoever signs in those caches.
    pub trusted_public_keys: Vec<String>,
    /// Where results go; none when its store is the cache.
    pub cache: Option<Cache>,
    /// What the machine must have left to take another job.
    pub admission: Admission,
    /// How infrastructure faults are retried.
    pub retry: Retry,
    /// Where garbage-collector roots are.
    pub roots_dir: PathBuf,
    /// Generations kept per repo, host and branch.
    pub keep_generations: usize,
    /// Results of other branches than the tracked one are kept for so long.
    pub candidates_for: Duration,
    /// Where metrics and probes are served; nowhere when none.
    pub listen: Option<SocketAddr>,
    /// What it builds from. Never empty.
    pub repos: BTreeMap<Repo, RepoConfig>,
}

/// A repository that is built from.
#[derive(Clone, Debug)]
pub struct RepoConfig {
    /// Where from, which branches, which hosts.
    pub table: RepoTable,
    /// What a build of it may use.
    pub limits: Limits,
}

/// How infrastructure faults are retried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Attempts that count, in all.
    pub max_attempts: usize,
    /// First upper bound of the delay.
    pub delay_min: Duration,
    /// Last upper bound of the delay.
    pub delay_max: Duration,
}

/// A config that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read or decoded.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// A key is missing or has a value that makes no sense.
    #[error("config file {}: {key}: {reason}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Table and key, e.g. `[worker] slots`.
        key: &'static str,
        /// What is wrong, with a valid example.
        reason: String,
    },
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawConfig {
    nats: NatsTable,
    worker: RawWorker,
    nix: RawNix,
    cache: cache::RawCache,
    limits: LimitsTable,
    admission: RawAdmission,
    retry: RawRetry,
    roots: RawRoots,
    telemetry: telemetry::RawTelemetry,
    repos: BTreeMap<Repo, RepoTable>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawWorker {
    name: Option<WorkerName>,
    labels: BTreeMap<String, String>,
    state_dir: Option<PathBuf>,
    systems: Option<Vec<Class>>,
    features: Vec<Feature>,
    slots: Option<usize>,
    eval_slots: Option<usize>,
    drain_timeout: Option<Span>,
    orphan_grace: Option<Span>,
    avoid_max: Option<Span>,
    sweep_every: Option<Span>,
    keep_requests: Option<Span>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawNix {
    store: Option<String>,
    substituters: Vec<String>,
    trusted_public_keys: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawAdmission {
    store_dir: Option<PathBuf>,
    store_free: Option<Size>,
    build_dir: Option<PathBuf>,
    build_free: Option<Size>,
    inodes_free: Option<u64>,
    memory_pressure: Option<u8>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawRetry {
    max_attempts: Option<usize>,
    delay_min: Option<Span>,
    delay_max: Option<Span>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawRoots {
    dir: Option<PathBuf>,
    keep_generations: Option<usize>,
    candidates_for: Option<Span>,
}

impl Config {
    /// Reads and checks the file at `path`.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::checked(settings::load(path)?, path)
    }

    /// Checks `text`; `path` is only for messages.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        Self::checked(settings::parse(text, path)?, path)
    }

    fn checked(raw: RawConfig, path: &Path) -> Result<Self, ConfigError> {
        let keyed = |(key, reason)| ConfigError::Key { path: path.to_owned(), key, reason };
        Self::try_from(raw).map_err(keyed)
    }

    /// Where the outputs of its store lie, if it is one of this machine and in a known place.
    pub fn store_dir(&self) -> Option<PathBuf> {
        let store = self.store.as_deref();
        let known = store.is_none_or(|store| match store.strip_prefix("local?root=") {
            Some(root) => !root.contains(['&', '%']),
            None => matches!(store, "auto" | "daemon" | "local") || store.starts_with('/'),
        });
        known.then(|| store_dir(store))
    }
}

type Wrong = (&'static str, String);

impl TryFrom<RawConfig> for Config {
    type Error = Wrong;

    fn try_from(raw: RawConfig) -> Result<Self, Wrong> {
        let worker = raw.worker;
        let missing = |key, example: &str| (key, format!("is missing, e.g. {example}"));
        let name = worker.name.ok_or_else(|| missing("[worker] name", "\"nix-cache01\""))?;
        if raw.repos.is_empty() {
            let example = "[repos.nixos-servers] with url = \"https://git.example/nixos-servers\"";
            return Err(missing("[repos]", example));
        }
        let state_dir = worker.state_dir.unwrap_or_else(|| STATE_DIR_DEFAULT.into());
        let roots_dir = raw.roots.dir.unwrap_or_else(|| state_dir.join("gcroots"));
        absolute("[worker] state_dir", &state_dir)?;
        absolute("[roots] dir", &roots_dir)?;
        let classes = classes(worker.systems, &worker.features)?;
        let keep_generations = raw.roots.keep_generations;
        let candidates_for = raw.roots.candidates_for;
        let limits = limits("[limits]", &raw.limits, &Limits::DEFAULT)?;
        let mut repos = BTreeMap::new();
        for (name, table) in raw.repos {
            let limits = self::limits("[repos.….limits]", &table.limits, &limits)?;
            repos.insert(name, RepoConfig { table, limits });
        }
        Ok(Self {
            nats: raw.nats,
            name,
            labels: labels::checked(worker.labels)?,
            state_dir,
            classes,
            slots: count("[worker] slots", worker.slots, SLOTS_DEFAULT)?,
            eval_slots: count("[worker] eval_slots", worker.eval_slots, EVAL_SLOTS_DEFAULT)?,
            // These may be zero: stop at once; give a job up as soon as the lease is out; take
            // what is to be avoided like any other.
            drain_timeout: worker.drain_timeout.map_or(DRAIN_TIMEOUT_DEFAULT, |span| span.0),
            orphan_grace: worker.orphan_grace.map_or(ORPHAN_GRACE_DEFAULT, |span| span.0),
            avoid_max: worker.avoid_max.map_or(AVOID_MAX_DEFAULT, |span| span.0),
            sweep_every: span("[worker] sweep_every", worker.sweep_every, SWEEP_EVERY_DEFAULT)?,
            keep_requests: span(
                "[worker] keep_requests",
                worker.keep_requests,
                KEEP_REQUESTS_DEFAULT,
            )?,
            admission: admission(raw.admission, raw.nix.store.as_deref())?,
            store: raw.nix.store,
            substituters: words("[nix] substituters", raw.nix.substituters)?,
            trusted_public_keys: words("[nix] trusted_public_keys", raw.nix.trusted_public_keys)?,
            cache: raw.cache.checked()?,
            retry: retry(&raw.retry)?,
            roots_dir,
            keep_generations: count(
                "[roots] keep_generations",
                keep_generations,
                KEEP_GENERATIONS_DEFAULT,
            )?,
            candidates_for: span("[roots] candidates_for", candidates_for, CANDIDATES_FOR_DEFAULT)?,
            listen: raw.telemetry.listen()?,
            repos,
        })
    }
}

/// Nix takes them as one text with blanks between.
fn words(key: &'static str, values: Vec<String>) -> Result<Vec<String>, Wrong> {
    let word = |value: &String| !value.is_empty() && !value.contains(char::is_whitespace);
    match values.iter().find(|value| !word(value)) {
        None => Ok(values),
        Some(value) => {
            let shown = proto::token::shown(value);
            Err((key, format!("{shown} is empty or holds a blank; it is a list of single words")))
        }
    }
}

/// What the table says, over what holds without it.
fn limits(key: &'static str, raw: &LimitsTable, or: &Limits) -> Result<Limits, Wrong> {
    let some = |name, value: Option<Span>, or: Duration| match value {
        Some(Span(Duration::ZERO)) => {
            Err((key, format!("{name} is zero, expected e.g. \"{}\"", Span(or))))
        }
        value => Ok(value.map_or(or, |span| span.0)),
    };
    let bytes = |value: Option<Size>, or: u64| value.map_or(or, |size| size.0);
    Ok(Limits {
        wall: some("wall", raw.wall, or.wall)?,
        silence: some("silence", raw.silence, or.silence)?,
        eval_wall: some("eval_wall", raw.eval_wall, or.eval_wall)?,
        eval_memory_max: bytes(raw.eval_memory_max, or.eval_memory_max),
        log_keep_max: bytes(raw.log_keep_max, or.log_keep_max),
        log_kill_max: bytes(raw.log_kill_max, or.log_kill_max),
    })
}

fn admission(raw: RawAdmission, store: Option<&str>) -> Result<Admission, Wrong> {
    let place = |(label, name), path, free: Option<Size>, default| Place {
        name,
        label,
        path,
        bytes_free_min: free.map_or(default, |size| size.0),
    };
    let store_dir = raw.store_dir.unwrap_or_else(|| store_dir(store));
    let build_dir = raw.build_dir.unwrap_or_else(std::env::temp_dir);
    absolute("[admission] store_dir", &store_dir)?;
    absolute("[admission] build_dir", &build_dir)?;
    let memory_pressure_max = raw.memory_pressure.unwrap_or(MEMORY_PRESSURE_DEFAULT);
    if memory_pressure_max > 100 {
        let reason = format!("is {memory_pressure_max}, expected percent, e.g. 80");
        return Err(("[admission] memory_pressure", reason));
    }
    Ok(Admission {
        places: vec![
            place(("store", "the store"), store_dir, raw.store_free, STORE_FREE_DEFAULT),
            place(("build", "the build folder"), build_dir, raw.build_free, BUILD_FREE_DEFAULT),
        ],
        inodes_free_min: raw.inodes_free.unwrap_or(INODES_FREE_DEFAULT),
        memory_pressure_max,
    })
}

/// Where a store's paths lie on this machine: `local?root=DIR` and a plain folder move them.
fn store_dir(store: Option<&str>) -> PathBuf {
    let parameters = store.and_then(|store| store.split_once('?')).map_or("", |(_, after)| after);
    let root = parameters.split('&').find_map(|parameter| parameter.strip_prefix("root="));
    let root = root.or(store.filter(|store| store.starts_with('/')));
    Path::new(root.unwrap_or("/")).join("nix/store")
}

fn retry(raw: &RawRetry) -> Result<Retry, Wrong> {
    let retry = Retry {
        max_attempts: count("[retry] max_attempts", raw.max_attempts, MAX_ATTEMPTS_DEFAULT)?,
        delay_min: span("[retry] delay_min", raw.delay_min, DELAY_MIN_DEFAULT)?,
        delay_max: span("[retry] delay_max", raw.delay_max, DELAY_MAX_DEFAULT)?,
    };
    if retry.max_attempts > ATTEMPTS_KEPT {
        let max = retry.max_attempts;
        let reason = format!("is {max}, but a job's record keeps {ATTEMPTS_KEPT} attempts at most");
        return Err(("[retry] max_attempts", reason));
    }
    match retry.delay_min > retry.delay_max {
        true => Err(("[retry] delay_max", "is shorter than delay_min".to_owned())),
        false => Ok(retry),
    }
}

fn classes(systems: Option<Vec<Class>>, features: &[Feature]) -> Result<Vec<Class>, Wrong> {
    let key = "[worker] systems";
    let wrong = |error: TokenError| (key, error.to_string());
    if features.len() > FEATURES_MAX {
        let many = features.len();
        let reason = format!("are {many}, expected at most {FEATURES_MAX} that builds ask for");
        return Err(("[worker] features", reason));
    }
    let systems = match systems {
        Some(systems) => systems,
        None => vec![SYSTEM_DEFAULT.parse().map_err(wrong)?],
    };
    let mut classes = BTreeSet::new();
    for system in &systems {
        if system.system() != system.as_str() || !system.as_str().contains('-') {
            let shown = proto::token::shown(system.as_str());
            return Err((key, format!("{shown} is no system, expected e.g. \"x86_64-linux\"")));
        }
        classes.insert(system.clone());
        for some in subsets(features) {
            let class = class_with(system.as_str(), &some);
            match class {
                Ok(class) => drop(classes.insert(class)),
                Err(error) if some.len() == 1 => return Err(wrong(error)),
                // Too long for a name: no job can ask for it either.
                Err(_) => {}
            }
        }
    }
    match classes.is_empty() {
        true => Err((key, "is empty, e.g. [\"x86_64-linux\"]".to_owned())),
        false => Ok(classes.into_iter().collect()),
    }
}

/// Each combination of features; whoever has two of them can build what needs either or both.
fn subsets(features: &[Feature]) -> Vec<Vec<Feature>> {
    let mut all = vec![Vec::new()];
    for feature in features {
        let with = |some: &Vec<Feature>| [&some[..], std::slice::from_ref(feature)].concat();
        all.extend(all.iter().map(with).collect::<Vec<_>>());
    }
    all
}

fn count(key: &'static str, value: Option<usize>, default: usize) -> Result<usize, Wrong> {
    match value {
        Some(0) => Err((key, format!("is 0, expected at least 1, e.g. {default}"))),
        value => Ok(value.unwrap_or(default)),
    }
}

fn span(key: &'static str, value: Option<Span>, default: Duration) -> Result<Duration, Wrong> {
    match value {
        Some(Span(Duration::ZERO)) => {
            Err((key, format!("is zero, expected e.g. \"{}\"", Span(default))))
        }
        value => Ok(value.map_or(default, |span| span.0)),
    }
}

fn absolute(key: &'static str, path: &Path) -> Result<(), Wrong> {
    match path.is_absolute() {
        true => Ok(()),
        false => Err((key, format!("{} is no absolute path", path.display()))),
    }
}

#[cfg(test)]
mod tests;
