//! The story-level view: a broker, a repository, a store, and the programs of this workspace.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use async_nats::jetstream::{self, stream::LastRawMessageErrorKind};
use futures_util::{StreamExt as _, TryStreamExt as _};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{runtime::Runtime, time::timeout};

use crate::{
    Flake, NatsServer, NixStore, Output, Repo, Spawned,
    nats::{ANSWER_WAIT, connect, patient},
    poll::eventually,
    process::{binary, command, run, search_path},
    scratch::scratch,
};

/// For a command to end, builds it waits for included, on a machine busy with other tests.
const COMMAND_DEADLINE: Duration = Duration::from_secs(240);

/// For a broker that is there, or one of three, to answer; a question that got none is asked again.
const ANSWER_DEADLINE: Duration = Duration::from_secs(120);

/// For one of three to answer: it may not lead any more, and another one is asked then.
const LEADERS_ANSWER: Duration = Duration::from_secs(10);

/// For three brokers to elect one of them.
const LEADER_DEADLINE: Duration = Duration::from_secs(60);

/// The repo's name in every config the pool writes.
pub const REPO: &str = "homelab";

/// A build pool of one test. Workers are started by the test, and end before the pool does.
#[derive(Debug)]
pub struct Pool {
    pub nats: NatsServer,
    /// The other nodes of its cluster, if it is one.
    pub peers: Vec<NatsServer>,
    pub repo: Repo,
    /// The store of the producer, and of each worker that has none of its own.
    pub store: NixStore,
    runtime: Runtime,
    dir: TempDir,
    below_repo: String,
    env: Vec<(String, String)>,
}

#[derive(Clone, Debug)]
pub struct PoolOptions {
    /// Arguments of `producer setup`. A short `ack_wait` makes lost leases come soon.
    pub setup: Vec<String>,
    /// Further lines of nats-server config.
    pub nats: String,
    /// Further TOML below the repo's table, in the configs of all programs.
    pub repo: String,
    /// Three brokers that replicate everything to each other, not one.
    pub cluster: bool,
    /// Variables of all programs, for those that the environment alone configures.
    pub env: Vec<(String, String)>,
}

#[derive(Clone, Debug)]
pub struct WorkerOptions<'a> {
    pub slots: u32,
    pub systems: Vec<&'a str>,
    /// A store of its own, as a worker on another machine has.
    pub store: Option<&'a NixStore>,
    /// A folder with programs that come before all others of these names.
    pub programs: Option<&'a Path>,
    /// The broker under another address, such as that of a [`crate::Tap`].
    pub nats_url: Option<&'a str>,
    /// What `[nix] store` says instead of its store.
    pub store_uri: Option<&'a str>,
    pub drain_timeout: &'a str,
    pub max_attempts: u32,
    pub delay_min: &'a str,
    pub delay_max: &'a str,
    /// The `[admission]` table. A machine that runs tests may have little room.
    pub admission: &'a str,
    /// Further lines of the `[nix]` table.
    pub nix: &'a str,
    /// Further lines of the `[worker]` table.
    pub worker: &'a str,
    /// Further TOML after the tables above, with its own table headers.
    pub extra: String,
}

impl Default for PoolOptions {
    fn default() -> Self {
        let setup = ["--ack-wait", "2s"].map(str::to_owned).to_vec();
        Self { setup, nats: String::new(), repo: String::new(), cluster: false, env: Vec::new() }
    }
}

impl Default for WorkerOptions<'_> {
    fn default() -> Self {
        Self {
            slots: 2,
            systems: vec!["x86_64-linux"],
            store: None,
            programs: None,
            nats_url: None,
            store_uri: None,
            drain_timeout: "30s",
            max_attempts: 3,
            delay_min: "100ms",
            delay_max: "500ms",
            admission: "store_free = \"64MiB\"\nbuild_free = \"64MiB\"\ninodes_free = 100",
            nix: "",
            worker: "",
            extra: String::new(),
        }
    }
}

impl Pool {
    /// A broker with its streams, an empty repository, an empty store, and no worker.
    #[track_caller]
    pub fn start() -> Self {
        Self::start_with(&PoolOptions::default())
    }

    #[track_caller]
    pub fn start_with(options: &PoolOptions) -> Self {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        runtime.worker_threads(1).enable_all();
        let mut brokers = match options.cluster {
            true => NatsServer::start_cluster(&options.nats),
            false => vec![NatsServer::start_with(&options.nats)],
        };
        let pool = Self {
            nats: brokers.remove(0),
            peers: brokers,
            repo: Repo::new(),
            store: NixStore::new(),
            runtime: runtime.build().expect("a runtime"),
            dir: scratch(),
            below_repo: options.repo.clone(),
            env: options.env.clone(),
        };
        let mut setup: Vec<&str> = vec!["setup"];
        setup.extend(options.setup.iter().map(String::as_str));
        if options.cluster {
            setup.extend(["--replicas", "3"]);
            pool.wait_for_a_leader();
        }
        pool.producer(&setup).expect_code(0);
        pool
    }

    /// The addresses of all its brokers, with commas between.
    pub fn nats_url(&self) -> String {
        let all = std::iter::once(&self.nats).chain(&self.peers);
        all.map(NatsServer::url).collect::<Vec<_>>().join(",")
    }

    /// A cluster that is just up has nobody yet who could make a stream.
    fn wait_for_a_leader(&self) {
        eventually("a leader of the cluster", LEADER_DEADLINE, || {
            // Nobody says no before there is one: the question just gets no answer.
            let asked = async { self.jetstream().await.query_account().await.ok() };
            self.block_on(async { timeout(Duration::from_millis(500), asked).await.ok().flatten() })
        });
    }

    /// Commits a flake to a branch and returns the revision.
    pub fn commit(&self, branch: &str, flake: &Flake) -> String {
        self.repo.commit(branch, &flake.files())
    }

    /// Starts `worker run`. Drop it, or the pool, to kill it.
    #[track_caller]
    pub fn worker(&self, name: &str) -> Spawned {
        self.worker_with(name, &WorkerOptions::default())
    }

    #[track_caller]
    pub fn worker_with(&self, name: &str, options: &WorkerOptions<'_>) -> Spawned {
        let mut worker = self.worker_command("run", name, options);
        Spawned::start(name, &mut worker, self.dir.path())
    }

    /// `worker run` or `worker doctor` with the config of a worker, for tests that change their
    /// surroundings.
    #[track_caller]
    pub fn worker_command(
        &self,
        command: &str,
        name: &str,
        options: &WorkerOptions<'_>,
    ) -> Command {
        let store = options.store.unwrap_or(&self.store);
        let config = self.config(name, &self.worker_config(name, options, store));
        let mut worker = self.program("worker", store);
        worker.arg(command).arg("--config").arg(config);
        if let Some(programs) = options.programs {
            worker.env("PATH", search_path(&[programs]));
        }
        worker
    }

    /// The state folder of a worker.
    pub fn state_of(&self, worker: &str) -> PathBuf {
        self.dir.path().join(format!("state-{worker}"))
    }

    /// Any other worker command with the config of a worker that was started, to its end.
    #[track_caller]
    pub fn worker_with_config_of(&self, name: &str, args: &[&str]) -> Output {
        let config = self.dir.path().join(format!("{name}.toml"));
        run(
            self.program("worker", &self.store).args(args).arg("--config").arg(config),
            COMMAND_DEADLINE,
        )
    }

    /// `producer submit --repo homelab` with these arguments, to its end.
    #[track_caller]
    pub fn submit(&self, args: &[&str]) -> Output {
        self.producer(&[&["submit", "--repo", REPO], args].concat())
    }

    /// Any producer command, to its end.
    #[track_caller]
    pub fn producer(&self, args: &[&str]) -> Output {
        run(self.client("producer").args(args), COMMAND_DEADLINE)
    }

    /// A producer command that runs beside the test.
    #[track_caller]
    pub fn spawn_producer(&self, name: &str, args: &[&str]) -> Spawned {
        Spawned::start(name, self.client("producer").args(args), self.dir.path())
    }

    /// `gate check --repo homelab --json` with these arguments.
    #[track_caller]
    pub fn gate_check(&self, args: &[&str]) -> Output {
        self.gate(&[&["check", "--repo", REPO, "--json"], args].concat())
    }

    /// Any gate command, to its end.
    #[track_caller]
    pub fn gate(&self, args: &[&str]) -> Output {
        run(self.client("gate").args(args), COMMAND_DEADLINE)
    }

    /// A program with its config, for tests that need arguments or surroundings of their own.
    pub fn client(&self, program: &str) -> Command {
        let text = format!("[nats]\nurl = \"{}\"\n\n{}", self.nats_url(), self.repo_table());
        let config = self.config(program, &text);
        let mut command = self.program(program, &self.store);
        command.arg("--config").arg(config);
        command
    }

    /// A program with a config of its own, which says where the broker is already.
    pub fn client_with(&self, program: &str, tables: &str) -> Command {
        let text = format!("[nats]\nurl = \"{}\"\n\n{tables}", self.nats.url());
        let config = self.config(&format!("{program}-{}", fastrand::u64(..)), &text);
        let mut command = self.program(program, &self.store);
        command.arg("--config").arg(config);
        command
    }

    /// Starts a program of [`Pool::client_with`] beside the test.
    #[track_caller]
    pub fn spawn(&self, name: &str, command: &mut Command) -> Spawned {
        Spawned::start(name, command, self.dir.path())
    }

    /// All results in the bucket: job key to record.
    #[track_caller]
    pub fn results(&self) -> BTreeMap<String, Value> {
        self.bucket("nbp-results")
    }

    /// The result of one host of one revision.
    #[track_caller]
    pub fn result(&self, rev: &str, host: &str) -> Option<Value> {
        self.results().remove(&format!("{REPO}.{rev}.{host}"))
    }

    /// Everything in a bucket, read as JSON. A cluster that elects a leader is asked again.
    #[track_caller]
    pub fn bucket(&self, name: &str) -> BTreeMap<String, Value> {
        eventually(&format!("an answer about {name}"), ANSWER_DEADLINE, || {
            self.block_on(self.try_bucket(name))
        })
    }

    async fn try_bucket(&self, name: &str) -> Option<BTreeMap<String, Value>> {
        // Not by the client's own `keys`: that makes a consumer for each call.
        let stream = self.jetstream().await.get_stream(format!("KV_{name}")).await.ok()?;
        let prefix = format!("$KV.{name}.");
        let subjects = stream.info_with_subjects(format!("{prefix}>")).await.ok()?;
        let subjects: Vec<(String, usize)> = subjects.try_collect().await.ok()?;
        let mut records = BTreeMap::new();
        for (subject, _) in subjects {
            let message = match stream.get_last_raw_message_by_subject(&subject).await {
                Ok(message) => message,
                // A key may be gone between the two reads.
                Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => continue,
                Err(_) => return None,
            };
            if message.headers.get("KV-Operation").is_none() {
                let record = serde_json::from_slice(&message.payload).expect("a JSON record");
                records.insert(subject.replacen(&prefix, "", 1), record);
            }
        }
        Some(records)
    }

    /// All that a bucket still knows of each key, oldest first.
    #[track_caller]
    pub fn histories(&self, name: &str) -> BTreeMap<String, Vec<Value>> {
        let prefix = format!("$KV.{name}.");
        let mut histories: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for (subject, record) in self.stored(&format!("KV_{name}"), &format!("{prefix}>")) {
            histories.entry(subject.replacen(&prefix, "", 1)).or_default().push(record);
        }
        histories
    }

    /// What the events under `filter` say, oldest first.
    #[track_caller]
    pub fn events(&self, filter: &str) -> Vec<Value> {
        self.stored("NBP_EVENTS", filter).into_iter().map(|(_, event)| event).collect()
    }

    /// The dead letters, oldest first.
    #[track_caller]
    pub fn letters(&self) -> Vec<Value> {
        self.stored("NBP_DEAD", ">").into_iter().map(|(_, letter)| letter).collect()
    }

    /// The messages of a stream under `filter` with their subjects, oldest first.
    fn stored(&self, stream: &str, filter: &str) -> Vec<(String, Value)> {
        self.block_on(async {
            let stream = self.jetstream().await.get_stream(stream).await.expect("the stream");
            let config = jetstream::consumer::pull::OrderedConfig {
                filter_subject: filter.to_owned(),
                ..jetstream::consumer::pull::OrderedConfig::default()
            };
            let consumer = stream.create_consumer(config).await.expect("a consumer");
            let pending = consumer.cached_info().num_pending;
            let pending = usize::try_from(pending).expect("some");
            let messages = consumer.messages().await.expect("messages");
            let messages: Vec<_> = messages.take(pending).try_collect().await.expect("messages");
            let stored = |it: &jetstream::Message| {
                let value = serde_json::from_slice(&it.payload).expect("JSON");
                (it.subject.to_string(), value)
            };
            messages.iter().map(stored).collect()
        })
    }

    /// Messages in a stream: what is queued, what is dead.
    #[track_caller]
    pub fn messages(&self, stream: &str) -> u64 {
        eventually(&format!("an answer about {stream}"), ANSWER_DEADLINE, || {
            self.block_on(async {
                let stream = self.jetstream().await.get_stream(stream).await.ok()?;
                Some(stream.cached_info().state.messages)
            })
        })
    }

    /// The subjects of the messages in a stream.
    #[track_caller]
    pub fn subjects(&self, stream: &str) -> Vec<String> {
        self.block_on(async {
            let stream = self.jetstream().await.get_stream(stream).await.expect("the stream");
            let subjects = stream.info_with_subjects(">").await.expect("its subjects");
            let subjects: Vec<(String, usize)> =
                subjects.try_collect().await.expect("its subjects");
            subjects.into_iter().map(|(subject, _)| subject).collect()
        })
    }

    /// Publishes any bytes on any subject, as a stranger would; waits until a stream has them.
    #[track_caller]
    pub fn publish(&self, subject: &str, payload: &[u8]) {
        self.block_on(async {
            // The connection must outlive the ack.
            let context = self.jetstream().await;
            let published = context.publish(subject.to_owned(), payload.to_vec().into()).await;
            published.expect("a connected client").await.expect("a stream that takes it");
        });
    }

    pub fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// A fresh connection: it owes nothing to what happened to the broker before.
    pub async fn connect(&self) -> async_nats::Client {
        let urls = self.nats_url();
        connect(&urls.split(',').collect::<Vec<_>>()).await
    }

    /// The same, for streams.
    pub async fn jetstream(&self) -> jetstream::Context {
        let patience = match self.peers.is_empty() {
            true => ANSWER_WAIT,
            false => LEADERS_ANSWER,
        };
        patient(self.connect().await, patience)
    }

    fn program(&self, name: &str, store: &NixStore) -> Command {
        let mut command = command(binary(name));
        command.envs(store.env()).envs(self.env.iter().cloned()).current_dir(self.dir.path());
        command
    }

    fn config(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(format!("{name}.toml"));
        // By a rename: submits at the same time write the same file.
        let mut file = tempfile::NamedTempFile::new_in(self.dir.path()).expect("a temporary file");
        std::io::Write::write_all(&mut file, text.as_bytes()).expect("a writable temporary file");
        file.persist(&path).expect("a writable temporary folder");
        path
    }

    fn worker_config(&self, name: &str, options: &WorkerOptions<'_>, store: &NixStore) -> String {
        let state = self.state_of(name);
        fs::create_dir_all(&state).expect("a writable temporary folder");
        format!(
            "[nats]\nurl = \"{}\"\n\n\
             [worker]\nname = {name:?}\nstate_dir = {state:?}\nsystems = {:?}\nslots = {}\n\
             drain_timeout = {:?}\n{}\n\n\
             [admission]\n{}\n\n[nix]\nstore = {:?}\n{}\n\
             [retry]\nmax_attempts = {}\ndelay_min = {:?}\ndelay_max = {:?}\n\n{}\n{}\n",
            options.nats_url.map_or_else(|| self.nats_url(), str::to_owned),
            options.systems,
            options.slots,
            options.drain_timeout,
            options.worker,
            options.admission,
            options.store_uri.map_or_else(|| store.uri(), str::to_owned),
            options.nix,
            options.max_attempts,
            options.delay_min,
            options.delay_max,
            self.repo_table(),
            options.extra,
        )
    }

    fn repo_table(&self) -> String {
        format!(
            "[repos.{REPO}]\nurl = {:?}\nrefs = [\"master\", \"flake-update/*\"]\n\
             default_ref = \"master\"\n{}",
            self.repo.url(),
            self.below_repo,
        )
    }
}
