//! A broker as `producer setup --print-nats-config` renders it, keys as `producer keys new` makes
//! them, and a pool in which everybody has a role. Nobody here may do more than the roles say: the
//! harness itself uses the admin's key.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    NixStore, Output, Repo, Spawned, eventually,
    pool::REPO,
    process::{binary, command, find, run},
    scratch::scratch,
};

const DEADLINE: Duration = Duration::from_secs(120);
const START_DEADLINE: Duration = Duration::from_secs(60);

/// One nats-server with a rendered config and nothing else.
#[derive(Debug)]
pub struct KeyedServer {
    process: Spawned,
    config: PathBuf,
    /// Everything it says of its ports.
    ports: Value,
    dir: PathBuf,
}

impl KeyedServer {
    /// Starts a server with this config, in a folder of its own.
    #[track_caller]
    pub fn start(dir: &Path, config: &str) -> Self {
        let server = dir.join("server.conf");
        fs::write(&server, config).expect("a writable folder");
        let mut program = command(find("nats-server"));
        program.arg("-c").arg(&server).arg("--ports_file_dir").arg(dir);
        let process = Spawned::start("nats-server", &mut program, dir);
        let file = dir.join(format!("nats-server_{}.ports", process.id()));
        let ports = eventually("the ports file of nats-server", START_DEADLINE, || {
            serde_json::from_slice(&fs::read(&file).ok()?).ok()
        });
        Self { process, config: server, ports, dir: dir.to_owned() }
    }

    /// Where clients connect, by IP address.
    pub fn address(&self) -> String {
        let url = self.ports["nats"][0].as_str().expect("a client port");
        let port = url.rsplit(':').next().expect("a port");
        format!("127.0.0.1:{port}")
    }

    /// Everything it has logged.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// What it denied so far.
    pub fn violations(&self) -> Vec<String> {
        let log = self.log();
        log.lines().filter(|line| line.contains("Violation")).map(str::to_owned).collect()
    }

    /// Takes another config over without a restart, as an operator does after a change of keys.
    #[track_caller]
    pub fn reload(&self, config: &str) {
        let before = self.log().matches("Reloaded server configuration").count();
        fs::write(&self.config, config).expect("a writable folder");
        let pid = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a process"), Signal::HUP).expect("it runs");
        eventually("the server to take its config", START_DEADLINE, || {
            (self.log().matches("Reloaded server configuration").count() > before).then_some(())
        });
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

/// What a keyed pool is to be.
#[derive(Clone, Debug)]
pub struct KeyedOptions<'a> {
    /// Further lines of `[server]`, or tables after it.
    pub server: String,
    /// Further lines of nats-server config.
    pub nats: &'a str,
    /// What clients need to know of the server's certificate.
    pub ca_file: Option<PathBuf>,
}

/// Name, role and classes of everybody in a keyed pool. `other` is a second submitter, `mallory` a
/// worker whom no gate should trust, `arm` a worker of another class.
pub const HOLDERS: [(&str, &str, &str); 9] = [
    ("admin", "admin", ""),
    ("ci", "submitter", ""),
    ("other", "submitter", ""),
    ("gate", "gate", ""),
    ("reader", "reader", ""),
    ("ops", "operator", ""),
    ("w1", "worker", "x86_64-linux"),
    ("mallory", "worker", "x86_64-linux"),
    ("arm", "worker", "aarch64-linux"),
];

/// A pool in which everybody has a role, on a server with exactly the rendered config.
#[derive(Debug)]
pub struct KeyedPool {
    pub server: KeyedServer,
    pub repo: Repo,
    pub store: NixStore,
    /// The repo's table in all configs, where it is not to be read from its folder by anybody.
    pub repo_lines: Option<String>,
    keys: Keys,
    ca_file: Option<PathBuf>,
}

/// Keys in files, as their holders have them.
#[derive(Debug)]
pub struct Keys {
    dir: TempDir,
    publics: BTreeMap<String, String>,
}

impl Keys {
    /// Makes a pair for each name by `producer keys new`.
    #[track_caller]
    pub fn new<'a>(holders: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut keys = Self { dir: scratch(), publics: BTreeMap::new() };
        for (name, role) in holders {
            let mut producer = command(binary("producer"));
            producer.args(["keys", "new", role, name, "--out"]).arg(keys.dir.path());
            let made = run(&mut producer, DEADLINE).expect_code(0);
            keys.publics.insert(name.to_owned(), made.stdout.trim().to_owned());
        }
        keys
    }

    pub fn seed_file(&self, name: &str) -> PathBuf {
        self.dir.path().join(format!("{name}.nk"))
    }

    #[track_caller]
    pub fn public(&self, name: &str) -> &str {
        self.publics.get(name).unwrap_or_else(|| panic!("nobody is called {name}"))
    }

    /// `[keys.<name>]` for the keys file.
    #[track_caller]
    pub fn table(&self, name: &str, role: &str, classes: &str) -> String {
        let public = self.public(name);
        let classes = match classes {
            "" => String::new(),
            some => format!("classes = {:?}\n", some.split(',').collect::<Vec<_>>()),
        };
        format!("[keys.{name}]\nrole = {role:?}\npublic = {public:?}\n{classes}")
    }

    /// What `producer setup --print-nats-config` makes of a keys file.
    #[track_caller]
    pub fn rendered(&self, file: &str, args: &[&str]) -> String {
        let path = self.dir.path().join("keys.toml");
        fs::write(&path, file).expect("a writable folder");
        let mut producer = command(binary("producer"));
        producer.args(["setup", "--print-nats-config", "--keys"]).arg(path).args(args);
        run(&mut producer, DEADLINE).expect_code(0).stdout
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }
}

impl KeyedPool {
    /// A broker that the admin has set up, a repository, a store, and no worker.
    #[track_caller]
    pub fn start() -> Self {
        Self::start_with(&KeyedOptions { server: String::new(), nats: "", ca_file: None })
    }

    #[track_caller]
    pub fn start_with(options: &KeyedOptions<'_>) -> Self {
        let keys = Keys::new(HOLDERS.map(|(name, role, _)| (name, role)));
        let config = Self::config(&keys, &options.server, &[]) + options.nats;
        let server = KeyedServer::start(keys.dir(), &config);
        let ca_file = options.ca_file.clone();
        let (repo, store) = (Repo::new(), NixStore::new());
        let pool = Self { server, repo, store, repo_lines: None, keys, ca_file };
        pool.producer("admin", &["setup", "--ack-wait", "2s"]).expect_code(0);
        pool
    }

    /// The rendered config, without the keys of `revoked`.
    #[track_caller]
    fn config(keys: &Keys, server: &str, revoked: &[&str]) -> String {
        let store = keys.dir().join("store");
        let mut file = format!(
            "[server]\nname = \"nats1\"\nlisten = \"127.0.0.1:-1\"\nmonitor = \"127.0.0.1:-1\"\n\
             store_dir = {store:?}\n{server}\n"
        );
        for (name, role, classes) in HOLDERS {
            if !revoked.contains(&name) {
                file += &keys.table(name, role, classes);
            }
        }
        keys.rendered(&file, &[])
    }

    /// Takes the keys of `names` away from the running server.
    #[track_caller]
    pub fn revoke(&self, names: &[&str]) {
        // A reload does not move ports.
        let config = Self::config(&self.keys, "", names).replace(
            "127.0.0.1:-1\"\n# Monitoring",
            &format!("{}\"\n# Monitoring", self.server.address()),
        );
        self.server.reload(&config);
    }

    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    pub fn url(&self) -> String {
        format!("nats://{}", self.server.address())
    }

    /// Any producer command in somebody's name, to its end.
    #[track_caller]
    pub fn producer(&self, name: &str, args: &[&str]) -> Output {
        run(self.client("producer", name, "").args(args), DEADLINE)
    }

    /// `gate check --repo homelab --json` in the gate's name; `table` is its `[gate]`.
    #[track_caller]
    pub fn gate_check(&self, table: &str, args: &[&str]) -> Output {
        let mut gate = self.client("gate", "gate", &format!("[gate]\n{table}\n"));
        run(gate.args(["check", "--repo", REPO, "--json"]).args(args), DEADLINE)
    }

    /// A program with somebody's key, for tests that need other arguments.
    pub fn client(&self, program: &str, name: &str, tables: &str) -> Command {
        self.client_with(program, name, &format!("{tables}{}", self.repo_table()))
    }

    /// The same for a program that knows the repo in another way.
    pub fn client_with(&self, program: &str, name: &str, tables: &str) -> Command {
        let text = format!("{}{tables}", self.nats_table(name));
        let config = self.keys.dir().join(format!("{program}-{name}.toml"));
        fs::write(&config, text).expect("a writable folder");
        let mut command = command(binary(program));
        command.envs(self.store.env()).arg("--config").arg(config);
        command
    }

    /// Starts `worker run` under its own name and key, in its store; `extra` are further lines of
    /// `[worker]`.
    #[track_caller]
    pub fn worker_in(&self, name: &str, store: &NixStore, extra: &str) -> Spawned {
        let mut worker = self.worker_command("run", name, store, extra);
        Spawned::start(name, &mut worker, self.keys.dir())
    }

    /// `worker run` or `worker doctor` under its own name and key.
    #[track_caller]
    pub fn worker_command(
        &self,
        command: &str,
        name: &str,
        store: &NixStore,
        extra: &str,
    ) -> Command {
        let state = self.keys.dir().join(format!("state-{name}"));
        fs::create_dir_all(&state).expect("a writable folder");
        let text = format!(
            "{}[worker]\nname = {name:?}\nstate_dir = {state:?}\ndrain_timeout = \"30s\"\n{extra}\n\
             [admission]\nstore_free = \"64MiB\"\nbuild_free = \"64MiB\"\ninodes_free = 100\n\
             [nix]\nstore = {:?}\n[retry]\ndelay_min = \"100ms\"\ndelay_max = \"500ms\"\n{}",
            self.nats_table(name),
            store.uri(),
            self.repo_table(),
        );
        let config = self.keys.dir().join(format!("worker-{name}.toml"));
        fs::write(&config, text).expect("a writable folder");
        let mut worker = crate::process::command(binary("worker"));
        worker.envs(store.env()).arg(command).arg("--config").arg(config);
        worker
    }

    #[track_caller]
    pub fn worker(&self, name: &str, extra: &str) -> Spawned {
        self.worker_in(name, &self.store, extra)
    }

    fn nats_table(&self, name: &str) -> String {
        let ca_file = self.ca_file.as_ref().map(|file| format!("ca_file = {file:?}\n"));
        let (url, seed) = (self.url(), self.keys.seed_file(name));
        format!("[nats]\nurl = {url:?}\nnkey_file = {seed:?}\n{}\n", ca_file.unwrap_or_default())
    }

    fn repo_table(&self) -> String {
        if let Some(lines) = &self.repo_lines {
            return format!("[repos.{REPO}]\n{lines}\n");
        }
        let url = self.repo.url();
        format!("[repos.{REPO}]\nurl = {url:?}\nrefs = [\"master\", \"flake-update/*\"]\n")
    }

    /// A bare connection in somebody's name, and what the server says against it.
    pub async fn raw(&self, name: &str) -> (async_nats::Client, Complaints) {
        let seed = fs::read_to_string(self.keys.seed_file(name)).expect("its seed");
        let complaints = Complaints::default();
        let heard = complaints.clone();
        let client = async_nats::ConnectOptions::with_nkey(seed.trim().to_owned())
            .custom_inbox_prefix(format!("_INBOX_{}", self.keys.public(name)))
            .event_callback(move |event| {
                heard.0.lock().expect("nobody panics in it").push(event.to_string());
                std::future::ready(())
            })
            .connect(self.url())
            .await
            .expect("it may connect");
        (client, complaints)
    }

    /// A connection of the bus in somebody's name.
    pub async fn bus(&self, name: &str) -> bus::Bus {
        let endpoint = bus::Endpoint {
            url: self.url(),
            nkey_file: Some(self.keys.seed_file(name)),
            ca_file: self.ca_file.clone(),
            name: name.to_owned(),
            patience: Some(START_DEADLINE),
        };
        bus::Bus::connect(&endpoint).await.expect("it may connect")
    }
}

/// Events of a raw connection, as text.
#[derive(Clone, Debug, Default)]
pub struct Complaints(Arc<Mutex<Vec<String>>>);

impl Complaints {
    /// Whether one of them is a violation that names this subject, or what it is mapped to.
    pub fn name(&self, subject: &str) -> bool {
        let quoted =
            format!("\"{subject}\"").replace("\"$JS.API.", "API.").replace("\"$KV.", "KV.");
        let all = self.0.lock().expect("nobody panics in it");
        all.iter().any(|text| text.contains("Permissions Violation") && text.contains(&quoted))
    }
}
