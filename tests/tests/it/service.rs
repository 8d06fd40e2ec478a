//! What a service manager hears of a worker.

use std::{fs, os::unix::net::UnixDatagram, path::Path};

use tests::{
    NixStore, Pool, Spawned, eventually,
    process::{binary, command},
    scratch,
};

use crate::DEADLINE;

/// The end of the line that systemd would hold.
struct Manager {
    dir: tempfile::TempDir,
    socket: UnixDatagram,
    heard: String,
}

impl Manager {
    fn new() -> Self {
        let dir = scratch();
        let socket = UnixDatagram::bind(dir.path().join("notify")).expect("a socket");
        socket.set_nonblocking(true).expect("a socket");
        Self { dir, socket, heard: String::new() }
    }

    /// Starts `worker run` as systemd would, with a watchdog of two seconds.
    fn start(&self, nats_url: &str, store: &NixStore) -> Spawned {
        let config = self.path("worker.toml");
        let text = format!(
            "[nats]\nurl = {nats_url:?}\n[worker]\nname = \"w\"\nstate_dir = {:?}\n\
             labels = {{ role = \"build-host\" }}\n\
             [nix]\nstore = {:?}\n[repos.homelab]\nurl = \"/srv/homelab\"\n",
            self.path("state"),
            store.uri(),
        );
        fs::write(&config, text).expect("a writable folder");
        let mut worker = command(binary("worker"));
        worker.args(["run", "--config", &config]);
        worker.env("NOTIFY_SOCKET", self.path("notify")).env("WATCHDOG_USEC", "2000000");
        Spawned::start("worker", &mut worker, self.dir.path())
    }

    fn path(&self, name: &str) -> String {
        let path: &Path = &self.dir.path().join(name);
        path.to_str().expect("a path of letters").to_owned()
    }

    /// Waits for a message of this text, and forgets all that came before it.
    #[track_caller]
    fn hears(&mut self, text: &str) {
        eventually(&format!("{text:?} for the service manager"), DEADLINE, || {
            let mut buffer = [0; 4096];
            while let Ok(length) = self.socket.recv(&mut buffer) {
                self.heard += &format!("{}\n", String::from_utf8_lossy(&buffer[..length]));
            }
            let end = self.heard.find(text)? + text.len();
            self.heard.drain(..end);
            Some(())
        });
    }
}

#[test]
fn a_service_manager_hears_that_the_worker_is_ready_alive_and_stopping() {
    let (pool, mut manager) = (Pool::start(), Manager::new());
    let mut worker = manager.start(&pool.nats.url(), &pool.store);
    manager.hears("READY=1");
    manager.hears("STATUS=0 of 2 slots in use");
    manager.hears("WATCHDOG=1");
    manager.hears("WATCHDOG=1");
    eventually("its labels in the registry", DEADLINE, || {
        (pool.bucket("nbp-workers").get("w")?["labels"]["role"] == "build-host").then_some(())
    });
    worker.sigterm();
    manager.hears("STOPPING=1");
    assert!(worker.wait(DEADLINE).success());
}

#[test]
fn a_worker_whose_broker_is_away_is_up_and_alive_and_says_what_it_waits_for() {
    let (store, mut manager) = (NixStore::new(), Manager::new());
    // Nothing listens on the discard port.
    let mut worker = manager.start("nats://127.0.0.1:9", &store);
    manager.hears("STATUS=waiting for the broker");
    manager.hears("WATCHDOG=1");
    manager.hears("READY=1");
    worker.sigterm();
    manager.hears("STOPPING=1");
    assert!(worker.wait(DEADLINE).success());
}
