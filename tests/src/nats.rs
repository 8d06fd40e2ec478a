//! A private nats-server: own port, own store, durable on every write as in production. Three of
//! them make a cluster.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    time::Duration,
};

use async_nats::jetstream;
use tempfile::TempDir;
use tokio::net::TcpSocket;

use crate::{
    poll::eventually,
    process::{Spawned, command, find},
    scratch::scratch,
};

/// Acknowledged is on disk, as in production; and what a server does that nobody told so.
const SYNC_ALWAYS: &str = "always";
const SYNC_LAZY: &str = "2m";

/// To start and to read its store again, on a machine busy with other tests.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// For one to answer or confirm: also one that has thousands of writes before that.
pub(crate) const ANSWER_WAIT: Duration = Duration::from_secs(60);

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

#[derive(Debug)]
pub struct NatsServer {
    process: Option<Spawned>,
    port: u16,
    extra: String,
    sync: &'static str,
    /// Bound but not listening, from the first kill on: while the server is down nobody else gets
    /// its ports, and clients are refused as by a machine whose server is down.
    reservations: Vec<TcpSocket>,
    dir: TempDir,
}

impl NatsServer {
    /// Starts a server on a port that it chooses itself.
    pub fn start() -> Self {
        Self::start_with("")
    }

    /// Three servers that replicate to each other. Each knows the others before they are up, so
    /// their ports are chosen first.
    pub fn start_cluster(extra: &str) -> Vec<Self> {
        let sockets = || -> Vec<TcpSocket> { (0..3).map(|_| reserve(ANY_PORT)).collect() };
        let (clients, routes) = (sockets(), sockets());
        let routes_list: Vec<String> = routes
            .iter()
            .map(|route| format!("\"nats-route://127.0.0.1:{}\"", port_of(route)))
            .collect();
        let routes_list = routes_list.join(", ");
        let node = |(number, (client, route)): (usize, (TcpSocket, TcpSocket))| {
            let cluster = format!(
                "server_name: n{number}\ncluster {{\n  name: nbp\n  \
                 listen: \"127.0.0.1:{}\"\n  routes: [{routes_list}]\n}}\n{extra}",
                port_of(&route)
            );
            let dir = scratch();
            let port = port_of(&client);
            let sync = SYNC_ALWAYS;
            let process = Some(launch(dir.path(), i32::from(port), sync, &cluster));
            Self { process, port, extra: cluster, sync, reservations: vec![client, route], dir }
        };
        let nodes: Vec<Self> = clients.into_iter().zip(routes).enumerate().map(node).collect();
        for node in &nodes {
            node.wait_until_it_listens();
        }
        nodes
    }

    /// The same as [`Self::start`] with further lines of server config: accounts, TLS, limits.
    pub fn start_with(extra: &str) -> Self {
        Self::start_syncing(SYNC_ALWAYS, extra)
    }

    /// The same with the server's default: what it has acknowledged may be lost with the machine.
    pub fn start_lazy(extra: &str) -> Self {
        Self::start_syncing(SYNC_LAZY, extra)
    }

    fn start_syncing(sync: &'static str, extra: &str) -> Self {
        let dir = scratch();
        let process = launch(dir.path(), -1, sync, extra);
        let ports = dir.path().join(format!("nats-server_{}.ports", process.id()));
        let port = eventually("the ports file of nats-server", START_DEADLINE, || {
            port_in(&fs::read(&ports).ok()?)
        });
        let process = Some(process);
        let extra = extra.to_owned();
        Self { process, port, extra, sync, reservations: Vec::new(), dir }
    }

    pub fn url(&self) -> String {
        format!("nats://{}", self.address())
    }

    /// A connection of its own, for streams.
    pub async fn jetstream(&self) -> jetstream::Context {
        patient(connect(&[&self.url()]).await, ANSWER_WAIT)
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.running().id()
    }

    pub fn store_dir(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    /// What the server has logged so far, over all its lives.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("nats-server.log")).expect("its log file")
    }

    /// Kills the server as a power cut would. Its store and its port stay.
    pub fn kill(&mut self) {
        let mut process = self.process.take().expect("the server runs");
        process.sigkill();
        if self.reservations.is_empty() {
            self.reservations.push(reserve(self.address()));
        }
    }

    /// Starts the server again on its port and store, killing it first when it runs.
    pub fn restart(&mut self) {
        if self.process.is_some() {
            self.kill();
        }
        self.launch_again();
    }

    /// Stops the server as an operator does before an upgrade, and starts it again: as one node
    /// of a cluster it hands over first what it leads.
    pub fn restart_cleanly(&mut self) {
        let mut process = self.process.take().expect("the server runs");
        process.sigterm();
        process.wait(START_DEADLINE);
        self.launch_again();
    }

    fn launch_again(&mut self) {
        let port = i32::from(self.port);
        self.process = Some(launch(self.dir.path(), port, self.sync, &self.extra));
        self.wait_until_it_listens();
    }

    fn wait_until_it_listens(&self) {
        eventually("nats-server to listen", START_DEADLINE, || {
            TcpStream::connect(self.address()).ok()
        });
    }

    /// Freezes the server: connections stay open and nothing answers.
    pub fn freeze(&self) {
        self.running().sigstop();
    }

    pub fn thaw(&self) {
        self.running().sigcont();
    }

    /// What a server with `http` in its config says of itself at this path.
    pub fn monitored(&self, path: &str) -> serde_json::Value {
        let ports = self.dir.path().join(format!("nats-server_{}.ports", self.running().id()));
        let ports: serde_json::Value =
            serde_json::from_slice(&fs::read(ports).expect("its ports file")).expect("JSON");
        let url = ports["monitoring"][0].as_str().expect("a server with http");
        let mut stream = TcpStream::connect(url.trim_start_matches("http://")).expect("connects");
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").expect("asks");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
        serde_json::from_str(body).expect("JSON")
    }

    fn running(&self) -> &Spawned {
        self.process.as_ref().expect("the server runs")
    }

    fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }
}

/// A new connection to one of these, with more patience than the client's 5 s.
pub(crate) async fn connect(urls: &[&str]) -> async_nats::Client {
    let options = async_nats::ConnectOptions::new().connection_timeout(ANSWER_WAIT);
    options.connect(urls).await.expect("a running broker")
}

/// The same for streams, which waits so long for an answer and for a confirmation.
pub(crate) fn patient(client: async_nats::Client, wait: Duration) -> jetstream::Context {
    jetstream::ContextBuilder::new().timeout(wait).build(client)
}

fn launch(dir: &Path, port: i32, sync: &str, extra: &str) -> Spawned {
    // The size is a limit for stream reservations, which must not depend on this machine's disk.
    let config = format!(
        r#"listen: "127.0.0.1:{port}"
ports_file_dir: {dir:?}
jetstream {{
  store_dir: {store:?}
  sync_interval: {sync}
  max_file_store: 1TB
}}
{extra}
"#,
        store = dir.join("store"),
    );
    let file = dir.join("nats-server.conf");
    fs::write(&file, config).expect("a writable temporary folder");
    Spawned::start("nats-server", command(find("nats-server")).arg("-c").arg(&file), dir)
}

/// The client port in a ports file, once that is written whole.
fn port_in(file: &[u8]) -> Option<u16> {
    let ports: serde_json::Value = serde_json::from_slice(file).ok()?;
    ports["nats"][0].as_str()?.rsplit(':').next()?.parse().ok()
}

fn reserve(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("a socket");
    // Both sides set it (nats-server does), or the server could not bind the port besides us.
    socket.set_reuseaddr(true).expect("a socket option");
    socket.bind(address).expect("the port of a server that is gone, or any");
    socket
}

fn port_of(socket: &TcpSocket) -> u16 {
    socket.local_addr().expect("a bound socket").port()
}
