//! A bad line: a TCP proxy before the broker that delays, drops, doubles and holds up what is said.
//!
//! It does not know what it passes on. What a faulty network loses it may also bring later, so
//! nothing that was said while the line was cut is lost with it: it arrives when the line is mended.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread,
    time::Duration,
};

/// Most that is remembered of one connection, to say it again.
const SAID_BYTES_MAX: usize = 8 << 20;

/// See the module.
#[derive(Debug)]
pub struct Proxy {
    url: String,
    line: Arc<Line>,
}

#[derive(Debug)]
struct Line {
    broker: SocketAddr,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    cut: bool,
    delay: Duration,
    open: Vec<Connection>,
}

#[derive(Debug)]
struct Connection {
    client: TcpStream,
    broker: TcpStream,
    /// All that the client has said.
    said: Arc<Mutex<Vec<u8>>>,
}

impl Proxy {
    /// Listens on a port of its own, before the broker at `nats://host:port`.
    pub fn start(broker: &str) -> Self {
        let broker = broker.trim_start_matches("nats://").parse().expect("an address");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("nats://{}", listener.local_addr().expect("an address"));
        let line = Arc::new(Line { broker, state: Mutex::default(), changed: Condvar::new() });
        let accepting = Arc::clone(&line);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let line = Arc::clone(&accepting);
                thread::spawn(move || line.connect(client));
            }
        });
        Self { url, line }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// From now on nothing passes in either direction. Connections stay open, as when a cable is
    /// pulled: nobody is told.
    pub fn cut(&self) {
        self.line.state().cut = true;
    }

    /// Lets everything through that waits.
    pub fn mend(&self) {
        self.line.state().cut = false;
        self.line.changed.notify_all();
    }

    /// From now on each piece comes so much later.
    pub fn delay(&self, delay: Duration) {
        self.line.state().delay = delay;
    }

    /// Ends all connections on both sides.
    pub fn drop_connections(&self) {
        for connection in self.line.state().open.drain(..) {
            connection.end();
        }
    }

    /// Ends the client's side of all connections. The broker does not hear of it: it has two
    /// clients when the client is back, and still sends to the one that is gone.
    pub fn drop_clients(&self) {
        for connection in &self.line.state().open {
            // It may have ended by itself.
            let _ = connection.client.shutdown(Shutdown::Both);
        }
    }

    /// Says all that was said on the open connections again, on connections of their own, as a
    /// network that brings old packets does at its worst.
    pub fn double(&self) {
        let said: Vec<Vec<u8>> = {
            let state = self.line.state();
            state.open.iter().map(|it| lock(&it.said).clone()).collect()
        };
        let broker = self.line.broker;
        for bytes in said {
            thread::spawn(move || {
                let Ok(mut again) = TcpStream::connect(broker) else { return };
                // The answers are read and thrown away, for longer than the broker needs to act.
                let _ = again.set_read_timeout(Some(Duration::from_millis(300)));
                let mut answers = [0; 64 << 10];
                let greeted = again.read(&mut answers).is_ok();
                if greeted && again.write_all(&bytes).is_ok() {
                    while let Ok(1..) = again.read(&mut answers) {}
                }
            });
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.mend();
        self.drop_connections();
    }
}

impl Line {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Waits until something may pass, and for as long as it is to be late.
    fn pass(&self) {
        let state = self.state();
        let state = self.changed.wait_while(state, |it| it.cut).expect("nobody panics with it");
        let delay = state.delay;
        drop(state);
        if !delay.is_zero() {
            thread::sleep(delay);
        }
    }

    fn connect(&self, client: TcpStream) {
        self.pass();
        let Ok(broker) = TcpStream::connect(self.broker) else { return };
        let said = Arc::default();
        let copies = || Some((client.try_clone().ok()?, broker.try_clone().ok()?));
        let (Some(kept), Some(asking), Some(answering)) = (copies(), copies(), copies()) else {
            return;
        };
        let connection = Connection { client: kept.0, broker: kept.1, said: Arc::clone(&said) };
        self.state().open.push(connection);
        thread::scope(|scope| {
            scope.spawn(|| self.forward(answering.1, &answering.0, |_| {}));
            self.forward(asking.0, &asking.1, |bytes| {
                let mut said = lock(&said);
                if said.len() < SAID_BYTES_MAX {
                    said.extend_from_slice(bytes);
                }
            });
            // The client is gone. The broker finds out when it next says something in vain.
        });
    }

    fn forward(&self, mut from: TcpStream, mut to: &TcpStream, passed: impl Fn(&[u8])) {
        let mut bytes = [0; 64 << 10];
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            self.pass();
            if to.write_all(&bytes[..count]).is_err() {
                // Nobody is there to hear it: the speaker is told.
                let _ = from.shutdown(Shutdown::Both);
                return;
            }
            passed(&bytes[..count]);
        }
    }
}

impl Connection {
    fn end(&self) {
        // Either side may have ended by itself.
        let _ = self.client.shutdown(Shutdown::Both);
        let _ = self.broker.shutdown(Shutdown::Both);
    }
}

fn lock<T>(it: &Mutex<T>) -> MutexGuard<'_, T> {
    it.lock().expect("nobody panics with it")
}
