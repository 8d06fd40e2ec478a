//! The real worker with builds replaced by nothing: its loop, machine, hands and bus are the real
//! ones.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use proto::{Built, JobKey, Repo, Revision};
use tempfile::TempDir;
use tests::scratch;
use tokio::{
    sync::{Notify, mpsc},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use worker::{
    build::{BuildEnd, Builder, Ended, Limits, Notice, Task},
    config::Config,
    event_loop::StopOrder,
    log_sink::LogSink,
    mirror::MirrorError,
};

use crate::broker::{REPO, SYSTEM};

/// The first argument of a process that takes a job and never ends it.
pub(crate) const HOLD: &str = "--hold";

/// A build that is built at once, or never.
pub(crate) struct NoOp {
    ends: bool,
    begun: Mutex<Vec<(JobKey, Instant)>>,
    another: Notify,
}

impl NoOp {
    pub(crate) fn ending() -> Arc<Self> {
        Arc::new(Self { ends: true, begun: Mutex::default(), another: Notify::new() })
    }

    pub(crate) fn holding() -> Arc<Self> {
        Arc::new(Self { ends: false, begun: Mutex::default(), another: Notify::new() })
    }

    /// What was begun so far, each when its claim stood.
    pub(crate) fn begun(&self) -> Vec<(JobKey, Instant)> {
        self.begun.lock().expect("no build panics").clone()
    }

    /// When the claim of this job stood.
    pub(crate) async fn claimed(&self, job: &JobKey) -> Instant {
        loop {
            let another = self.another.notified();
            let last = self.begun.lock().expect("no build panics").last().cloned();
            match last {
                Some((begun, at)) if begun == *job => return at,
                _ => another.await,
            }
        }
    }

    /// Until so many are begun.
    pub(crate) async fn until_begun(&self, count: usize) {
        loop {
            let another = self.another.notified();
            if self.begun.lock().expect("no build panics").len() >= count {
                return;
            }
            another.await;
        }
    }
}

impl Builder for NoOp {
    fn log_keep_max(&self, _repo: &Repo) -> u64 {
        Limits::DEFAULT.log_keep_max
    }

    fn build(
        &self,
        task: Task,
        _notices: mpsc::Sender<Notice>,
        _log: LogSink,
        stop: CancellationToken,
    ) -> BoxFuture<'_, Ended> {
        self.begun.lock().expect("no build panics").push((task.job.clone(), Instant::now()));
        self.another.notify_waiters();
        Box::pin(async move {
            let end = match self.ends {
                true => BuildEnd::Built(built(&task.job)),
                false => {
                    stop.cancelled().await;
                    BuildEnd::Stopped
                }
            };
            Ended { end, phases: Vec::new() }
        })
    }

    fn replaces<'a>(
        &'a self,
        _job: &'a JobKey,
        _old: Option<&'a Revision>,
    ) -> BoxFuture<'a, Result<bool, MirrorError>> {
        Box::pin(std::future::ready(Ok(true)))
    }
}

/// A result of the usual size.
pub(crate) fn built(job: &JobKey) -> Built {
    let host = &job.host;
    Built {
        out_path: format!("/nix/store/0c0cq8ffgqmfnyvi0kk29wh0s5a1y3yi-nixos-system-{host}-26.05"),
        drv_path: format!("/nix/store/1d1dq8ffgqmfnyvi0kk29wh0s5a1y3yi-nixos-system-{host}.drv"),
        closure_bytes: 2_147_483_648,
        reused: false,
        work: None,
        diff: None,
    }
}

/// A worker in this process.
pub(crate) struct Worker {
    stop: mpsc::Sender<StopOrder>,
    running: JoinHandle<()>,
    _dir: TempDir,
}

impl Worker {
    pub(crate) fn start(url: &str, slots: usize, builder: Arc<dyn Builder>) -> Self {
        let dir = scratch();
        let config = config(dir.path(), "bench", url, slots);
        let (stop, stopped) = mpsc::channel(2);
        #[expect(clippy::disallowed_methods, reason = "its handle is awaited by `stop`")]
        let running = tokio::spawn(run(config, builder, stopped));
        Self { stop, running, _dir: dir }
    }

    /// As a service manager stops it: what it has in hand goes back.
    pub(crate) async fn stop(self) {
        self.stop.send(StopOrder).await.expect("it runs");
        self.running.await.expect("a worker that ends in order");
    }
}

async fn run(config: PathBuf, builder: Arc<dyn Builder>, stop: mpsc::Receiver<StopOrder>) {
    let config = Config::load(&config).expect("a config of ours");
    let nats = options::Broker::default();
    worker::run::run_with(config, &nats, builder, stop).await.expect("a worker that runs");
}

/// Writes the config of such a worker and gives its file.
pub(crate) fn config(dir: &Path, name: &str, url: &str, slots: usize) -> PathBuf {
    let state = dir.join(name);
    fs::create_dir_all(&state).expect("a writable temporary folder");
    let text = format!(
        "[nats]\nurl = \"{url}\"\n[worker]\nname = \"{name}\"\nstate_dir = {state:?}\n\
         systems = [\"{SYSTEM}\"]\nslots = {slots}\ndrain_timeout = \"1s\"\n\
         [admission]\nstore_free = \"1MiB\"\nbuild_free = \"1MiB\"\ninodes_free = 1\n\
         [repos.{REPO}]\nurl = \"file:///nowhere.git\"\nrefs = [\"master\"]\n\
         default_ref = \"master\"\n"
    );
    let file = dir.join(format!("{name}.toml"));
    fs::write(&file, text).expect("a writable temporary folder");
    file
}

/// `--hold CONFIG`: a worker process of its own that holds what it takes until it is killed.
pub(crate) fn hold(config: &str) {
    let (_never, stop) = mpsc::channel(1);
    runtime().block_on(run(PathBuf::from(config), NoOp::holding(), stop));
}

/// As the programs have it.
pub(crate) fn runtime() -> tokio::runtime::Runtime {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(2).enable_all().build().expect("a runtime")
}

/// No lease of a round runs out.
pub(crate) const LONG: Duration = Duration::from_secs(60);
