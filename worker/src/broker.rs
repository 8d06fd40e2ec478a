//! A private nats-server as a child: the embedded broker of `worker standalone`.
//!
//! It listens on loopback only, keeps its data in the worker's data folder, is started again when
//! it dies, and ends with the worker, however that ends. It knows nothing of jobs.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{
    process::{Child, ChildStdin, Command},
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use crate::nix::process::Supervisor;

/// Time to come up: recovering a large store takes a while.
const START_WAIT: Duration = Duration::from_secs(60);
/// Pause before a broker that died is started again.
const RESTART_PAUSE: Duration = Duration::from_secs(1);
/// Time to end by itself before the supervisor kills it, and a little more.
const STOP_WAIT: Duration = Duration::from_secs(10);

/// Why there is no broker.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// The data folder cannot be written.
    #[error("write {path}: {source}")]
    Write {
        /// What.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Another standalone worker uses the folder.
    #[error("lock {path}: another `worker standalone` is running on this data folder")]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// The program is not there.
    #[error("start {program}: {source}; install nats-server or name it by --nats-server")]
    Spawn {
        /// Which program.
        program: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It ended before it listened.
    #[error(
        "start {program}: it ended at once: {said}; \
         install nats-server or name it by --nats-server, or see {log}"
    )]
    Ended {
        /// Which program.
        program: PathBuf,
        /// Its last words.
        said: String,
        /// All that it said.
        log: PathBuf,
    },
    /// It did not come up.
    #[error("start the broker: it did not listen within {} s; see {log}", START_WAIT.as_secs())]
    NotUp {
        /// What it said.
        log: PathBuf,
    },
}

/// Where the broker's data is and how it is run.
#[derive(Clone, Debug)]
pub struct BrokerConfig {
    /// Everything it keeps.
    pub data_dir: PathBuf,
    /// The program, by path or by name.
    pub program: PathBuf,
    /// Loopback port; 0 lets the server choose one.
    pub port: u16,
}

/// A running private broker.
pub struct Broker {
    url: String,
    stop: CancellationToken,
    watching: JoinHandle<()>,
    /// Held for as long as the broker runs.
    _lock: File,
}

impl Broker {
    /// Starts it and waits until it listens; writes its URL to `nats-url` in the data folder.
    ///
    /// # Errors
    /// See [`BrokerError`].
    pub async fn start(
        config: &BrokerConfig,
        supervisor: &Supervisor,
        tasks: &TaskTracker,
    ) -> Result<Self, BrokerError> {
        let dir = &config.data_dir;
        std::fs::create_dir_all(dir).map_err(write_error(dir))?;
        let lock = lock(dir)?;
        let url_file = dir.join("nats-url");
        // An old one would send people to a port where nobody listens.
        std::fs::remove_file(&url_file).ok();
        let mut process = Process { config: config.clone(), supervisor: supervisor.clone() };
        let mut running = process.spawn()?;
        let url = running.listening(config).await?;
        // From now on it keeps the port it has chosen.
        process.config.port = url.rsplit(':').next().and_then(|it| it.parse().ok()).unwrap_or(0);
        std::fs::write(&url_file, format!("{url}\n")).map_err(write_error(&url_file))?;
        info!(%url, "the private broker is up");
        let stop = CancellationToken::new();
        let watching = tasks.spawn(watch(process, running, stop.clone()));
        Ok(Self { url, stop, watching, _lock: lock })
    }

    /// Where it listens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Ends it cleanly: it syncs its stores first.
    pub async fn stop(self) {
        self.stop.cancel();
        if self.watching.await.is_err() {
            warn!("the private broker was not ended cleanly");
        }
    }
}

fn write_error(path: &Path) -> impl FnOnce(std::io::Error) -> BrokerError {
    let path = path.to_owned();
    move |source| BrokerError::Write { path, source }
}

fn lock(dir: &Path) -> Result<File, BrokerError> {
    let path = dir.join("lock");
    let lock = File::create(&path).map_err(write_error(&path))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(std::fs::TryLockError::WouldBlock) => Err(BrokerError::Locked { path }),
        Err(std::fs::TryLockError::Error(source)) => Err(BrokerError::Write { path, source }),
    }
}

/// Keeps it running until told to stop.
async fn watch(process: Process, mut running: Running, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return running.stop().await,
            _ = running.child.wait() => warn!("the private broker died, starting it again"),
        }
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(RESTART_PAUSE) => {}
            }
            match process.spawn() {
                Ok(again) => {
                    running = again;
                    break;
                }
                Err(error) => warn!("the private broker does not start: {error}"),
            }
        }
    }
}

/// How to start it.
struct Process {
    config: BrokerConfig,
    supervisor: Supervisor,
}

/// It, running under the supervisor: closing its stdin ends it, and so does our own death.
struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Process {
    fn spawn(&self) -> Result<Running, BrokerError> {
        let dir = &self.config.data_dir;
        let conf = dir.join("nats-server.conf");
        std::fs::write(&conf, self.server_config()).map_err(write_error(&conf))?;
        remove_ports_files(dir);
        let log = log_file(dir);
        let log =
            File::options().create(true).append(true).open(&log).map_err(write_error(&log))?;
        let again = log.try_clone().map_err(write_error(dir))?;
        let mut command: Command = self.supervisor.command(&self.config.program);
        command.arg("-c").arg(&conf).arg("--ports_file_dir").arg(dir);
        command.stdin(Stdio::piped()).stdout(log).stderr(again).process_group(0);
        let failed = |source| BrokerError::Spawn { program: self.config.program.clone(), source };
        let mut child = command.spawn().map_err(failed)?;
        let stdin = child.stdin.take();
        Ok(Running { child, stdin })
    }

    /// Acked means fsynced: the queue is small and its loss is not (reference: the server's default
    /// is to sync every two minutes).
    fn server_config(&self) -> String {
        let port = if self.config.port == 0 { -1 } else { i32::from(self.config.port) };
        let store = serde_json::json!(self.config.data_dir.join("jetstream"));
        format!(
            "# Written by `worker standalone` at every start; changes are lost.\n\
             server_name: nix-build-pool-standalone\n\
             listen: \"127.0.0.1:{port}\"\n\
             max_payload: 1MB\n\
             jetstream {{\n  store_dir: {store}\n  max_mem: 64MB\n  max_file: 16GB\n  \
             sync_interval: always\n}}\n"
        )
    }
}

fn log_file(dir: &Path) -> PathBuf {
    dir.join("nats-server.log")
}

fn ports_files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    paths.filter(|path| path.extension().is_some_and(|it| it == "ports")).collect()
}

fn remove_ports_files(dir: &Path) {
    for path in ports_files(dir) {
        std::fs::remove_file(path).ok();
    }
}

impl Running {
    /// Waits until it has told its port, and gives the URL.
    async fn listening(&mut self, config: &BrokerConfig) -> Result<String, BrokerError> {
        let dir = &config.data_dir;
        let give_up = Instant::now() + START_WAIT;
        while Instant::now() < give_up {
            if let Some(url) = ports_files(dir).iter().find_map(|path| told_url(path)) {
                return Ok(url);
            }
            // There is no event to wait for but its end.
            if timeout(Duration::from_millis(20), self.child.wait()).await.is_ok() {
                let (program, log) = (config.program.clone(), log_file(dir));
                return Err(BrokerError::Ended { program, said: last_words(&log), log });
            }
        }
        Err(BrokerError::NotUp { log: log_file(dir) })
    }

    async fn stop(mut self) {
        drop(self.stdin.take());
        if timeout(STOP_WAIT, self.child.wait()).await.is_err() {
            warn!("the private broker does not end");
        }
    }
}

/// The last line of a log, also of the supervisor that could not start the program.
fn last_words(log: &Path) -> String {
    let log = std::fs::read(log).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    log.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("nothing").to_owned()
}

/// `{"nats":["nats://127.0.0.1:4222"]}`, possibly half-written.
fn told_url(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let ports: serde_json::Value = serde_json::from_str(&text).ok()?;
    Some(ports.get("nats")?.get(0)?.as_str()?.to_owned())
}
