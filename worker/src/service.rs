//! What a service manager is told over its notification socket (`sd_notify(3)`): ready, status,
//! stopping, and that the event loop is alive.
//!
//! It does not know what a worker does: the words come from its caller. Where nobody listens it
//! does nothing, and a manager that does not read never holds the worker up.

use std::{
    ffi::OsString,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{ffi::OsStrExt as _, net},
    },
    time::Duration,
};

use clap::Args;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tracing::warn;

/// Where the service manager listens. It says so in the environment; nobody types these.
#[derive(Clone, Debug, Default, Args)]
pub struct ServiceArgs {
    /// The notification socket: a path, or `@` and a name without a path.
    #[arg(long, env = "NOTIFY_SOCKET", hide = true)]
    notify_socket: Option<OsString>,
    /// Microseconds of silence after which the manager takes the worker for hung.
    #[arg(long, env = "WATCHDOG_USEC", hide = true)]
    watchdog_usec: Option<String>,
    /// The process that `WATCHDOG_USEC` is meant for.
    #[arg(long, env = "WATCHDOG_PID", hide = true)]
    watchdog_pid: Option<String>,
}

/// The line to the service manager.
#[derive(Debug, Default)]
pub(crate) struct Service {
    line: Option<(net::UnixDatagram, net::SocketAddr)>,
    alive_every: Option<Duration>,
    ready: bool,
    status: String,
}

/// As `sd_watchdog_enabled(3)` advises: one signal may come late.
const SIGNALS_PER_TIMEOUT: u32 = 2;

impl Service {
    /// Opens the line. One that cannot be opened is told in the log and is no reason to end.
    pub(crate) fn of(args: &ServiceArgs) -> Self {
        let Some(name) = args.notify_socket.as_ref().filter(|name| !name.is_empty()) else {
            return Self::default();
        };
        let opened = address(name.as_bytes()).and_then(|address| {
            let socket = net::UnixDatagram::unbound()?;
            socket.set_nonblocking(true)?;
            Ok((socket, address))
        });
        match opened {
            Ok(line) => {
                Self { line: Some(line), alive_every: alive_every(args), ..Self::default() }
            }
            Err(error) => {
                warn!("the service manager is not told anything: NOTIFY_SOCKET: {error}");
                Self::default()
            }
        }
    }

    /// Start-up is over. Said once, however often it is called.
    pub(crate) fn ready(&mut self) {
        if !self.ready {
            self.ready = true;
            self.send("READY=1");
        }
    }

    /// Somebody listens.
    pub(crate) fn listens(&self) -> bool {
        self.line.is_some()
    }

    /// What the worker is doing, in one line. Told only when it has changed.
    pub(crate) fn status(&mut self, status: String) {
        if self.listens() && self.status != status {
            self.send(&format!("STATUS={}", telemetry::plain(&status)));
            self.status = status;
        }
    }

    /// The worker has begun to end.
    pub(crate) fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// The loop that calls this is alive.
    pub(crate) fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    /// The times at which [`Service::alive`] is to be called; none when nobody watches.
    pub(crate) fn watchdog(&self) -> Watchdog {
        Watchdog(self.alive_every.map(|every| {
            let mut times = interval(every);
            times.set_missed_tick_behavior(MissedTickBehavior::Delay);
            times
        }))
    }

    fn send(&self, text: &str) {
        let Some((socket, address)) = &self.line else { return };
        // A manager that is being restarted, or does not read: the next message tells the rest.
        if let Err(error) = socket.send_to_addr(text.as_bytes(), address) {
            tracing::debug!("the service manager was not told {text}: {error}");
        }
    }
}

/// A timer that may be absent.
pub(crate) struct Watchdog(Option<Interval>);

impl Watchdog {
    /// The next time; never, when nobody watches. Nothing is lost when it is dropped.
    pub(crate) async fn due(&mut self) {
        match &mut self.0 {
            Some(times) => drop(times.tick().await),
            None => std::future::pending().await,
        }
    }
}

fn address(name: &[u8]) -> std::io::Result<net::SocketAddr> {
    match name.split_first() {
        Some((b'@', name)) => net::SocketAddr::from_abstract_name(name),
        Some((b'/', _)) => net::SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(name)),
        _ => Err(std::io::Error::new(
            std::io::ErrorKind::Unsupported,
            "it is neither an absolute path nor `@` and a name",
        )),
    }
}

fn alive_every(args: &ServiceArgs) -> Option<Duration> {
    let pid = args.watchdog_pid.as_deref().filter(|pid| !pid.is_empty());
    if pid.is_some_and(|pid| pid.parse() != Ok(std::process::id())) {
        return None;
    }
    let micros = args.watchdog_usec.as_deref()?.parse().ok().filter(|micros| *micros > 0)?;
    Some(Duration::from_micros(micros) / SIGNALS_PER_TIMEOUT)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    fn args(socket: &str, usec: Option<&str>, pid: Option<&str>) -> ServiceArgs {
        ServiceArgs {
            notify_socket: Some(socket.into()),
            watchdog_usec: usec.map(str::to_owned),
            watchdog_pid: pid.map(str::to_owned),
        }
    }

    #[track_caller]
    fn read(manager: &UnixDatagram) -> String {
        let mut buffer = [0; 4096];
        let length = manager.recv(&mut buffer).expect("a message");
        String::from_utf8(buffer[..length].to_vec()).expect("text")
    }

    fn tell(manager: &UnixDatagram, socket: &str) {
        manager.set_read_timeout(Some(Duration::from_secs(5))).expect("a socket");
        let mut service = Service::of(&args(socket, None, None));
        service.ready();
        service.ready();
        service.status("one\nREADY=0".into());
        service.status("one\nREADY=0".into());
        service.alive();
        service.stopping();
        let told = [read(manager), read(manager), read(manager), read(manager)];
        assert_eq!(told[0], "READY=1");
        assert!(told[1].starts_with("STATUS=one") && !told[1].contains('\n'), "{}", told[1]);
        assert_eq!(told[2..], ["WATCHDOG=1", "STOPPING=1"]);
    }

    #[test]
    fn a_manager_is_told_each_thing_once_at_a_path_and_at_a_name() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("notify");
        tell(&UnixDatagram::bind(&path).expect("a socket"), path.to_str().expect("text"));
        let name = format!("nbp-test-{}", std::process::id());
        let address = net::SocketAddr::from_abstract_name(&name).expect("a name");
        tell(&UnixDatagram::bind_addr(&address).expect("a socket"), &format!("@{name}"));
    }

    #[test]
    fn a_manager_that_does_not_read_holds_nobody_up() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("notify");
        let _manager = UnixDatagram::bind(&path).expect("a socket");
        let service = Service::of(&args(path.to_str().expect("text"), None, None));
        // Far more than a socket's queue holds: this returns or the test hangs.
        for _ in 0..10_000 {
            service.alive();
        }
    }

    #[test]
    fn nobody_is_told_where_nobody_listens() {
        for socket in ["", "vsock:2:1234", "relative", "/nowhere/notify"] {
            let mut service = Service::of(&args(socket, Some("1"), None));
            service.ready();
            service.stopping();
        }
        assert!(Service::of(&args("vsock:2:1234", None, None)).line.is_none());
    }

    #[test]
    fn the_watchdog_is_fed_at_half_its_time_and_only_by_whom_it_watches() {
        let own = std::process::id().to_string();
        let every = |usec, pid| alive_every(&args("/x", usec, pid));
        assert_eq!(every(Some("30000000"), Some(&own)), Some(Duration::from_secs(15)));
        assert_eq!(every(Some("30000000"), None), Some(Duration::from_secs(15)));
        assert_eq!(every(Some("30000000"), Some("1")), None);
        assert_eq!(every(Some("0"), None), None);
        assert_eq!(every(Some("soon"), None), None);
        assert_eq!(every(None, None), None);
    }
}
