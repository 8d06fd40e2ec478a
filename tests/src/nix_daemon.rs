//! A `nix-daemon` of one test, which builds in the test's store.

use std::time::Duration;

use tempfile::TempDir;

use crate::{NixStore, Spawned, eventually, scratch::scratch};

/// To listen, on a machine busy with other tests.
const START_DEADLINE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub struct NixDaemon {
    pub process: Spawned,
    uri: String,
    _dir: TempDir,
}

impl NixDaemon {
    /// Starts one that serves this store.
    pub fn start(store: &NixStore) -> Self {
        let dir = scratch();
        let socket = dir.path().join("socket");
        let mut daemon = store.nix("nix-daemon");
        daemon.env("NIX_DAEMON_SOCKET_PATH", &socket);
        let process = Spawned::start("nix-daemon", &mut daemon, dir.path());
        eventually("the socket of nix-daemon", START_DEADLINE, || socket.exists().then_some(()));
        let root = store.real("/");
        let uri = format!("unix://{}?root={}", socket.display(), root.display());
        Self { process, uri, _dir: dir }
    }

    /// How clients name the store: by the socket, and where its files lie.
    pub fn uri(&self) -> &str {
        &self.uri
    }
}
