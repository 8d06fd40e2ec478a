//! A TCP proxy before the broker that cuts everything off at a chosen moment of the conversation.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

/// What the client says when the moment has come, and on which side of it the cut is.
#[derive(Clone, Copy, Debug)]
pub enum Cut {
    /// The broker never hears these bytes.
    Before(&'static str),
    /// The broker hears them; its answer gets lost.
    After(&'static str),
}

/// See the module. Cuts once; connections that are made after the cut pass.
#[derive(Debug)]
pub struct Tap {
    url: String,
    cut: mpsc::Receiver<()>,
    /// Nothing passes until it is told to.
    closed: Arc<AtomicBool>,
}

struct Line {
    broker: SocketAddr,
    cut: Mutex<Option<Cut>>,
    tell: mpsc::Sender<()>,
    closed: Arc<AtomicBool>,
}

impl Tap {
    /// Listens on a port of its own, before the broker at `nats://host:port`.
    pub fn start(broker: &str, cut: Cut) -> Self {
        let broker = broker.trim_start_matches("nats://").parse().expect("an address");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("nats://{}", listener.local_addr().expect("an address"));
        let (tell, told) = mpsc::channel();
        let closed = Arc::new(AtomicBool::new(false));
        let line = Arc::new(Line {
            broker,
            cut: Mutex::new(Some(cut)),
            tell,
            closed: Arc::clone(&closed),
        });
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if !line.closed.load(Ordering::SeqCst) {
                    let line = Arc::clone(&line);
                    thread::spawn(move || line.connect(&client));
                }
            }
        });
        Self { url, cut: told, closed }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// Waits for the moment. From then on nothing passes in either direction.
    #[track_caller]
    pub fn wait(&self, deadline: Duration) {
        self.cut.recv_timeout(deadline).expect("the moment comes");
    }

    /// Lets new connections through.
    pub fn open(&self) {
        self.closed.store(false, Ordering::SeqCst);
    }
}

impl Line {
    fn connect(self: &Arc<Self>, client: &TcpStream) {
        let Ok(broker) = TcpStream::connect(self.broker) else { return };
        let answers = (broker.try_clone(), client.try_clone());
        if let (Ok(mut from), Ok(mut to)) = answers {
            let line = Arc::clone(self);
            thread::spawn(move || {
                let mut bytes = [0; 64 << 10];
                while let Ok(count @ 1..) = from.read(&mut bytes) {
                    let closed = line.closed.load(Ordering::SeqCst);
                    if closed || to.write_all(&bytes[..count]).is_err() {
                        break;
                    }
                }
                let _ = to.shutdown(Shutdown::Both);
            });
        }
        self.forward(client, &broker);
        // Either side may be gone already.
        let _ = client.shutdown(Shutdown::Both);
        let _ = broker.shutdown(Shutdown::Both);
    }

    fn forward(&self, mut client: &TcpStream, mut broker: &TcpStream) {
        let mut bytes = [0; 64 << 10];
        while let Ok(count @ 1..) = client.read(&mut bytes) {
            let said = &bytes[..count];
            if self.closed.load(Ordering::SeqCst) {
                return;
            }
            let mut cut = self.cut.lock().expect("nobody panics with it");
            let now = cut.take_if(|cut| {
                let (Cut::Before(words) | Cut::After(words)) = *cut;
                said.windows(words.len()).any(|part| part == words.as_bytes())
            });
            if now.is_some() {
                self.closed.store(true, Ordering::SeqCst);
            }
            if !matches!(now, Some(Cut::Before(_))) && broker.write_all(said).is_err() {
                return;
            }
            if now.is_some() {
                // Time for the broker to act on what it heard; its answer is not passed on.
                thread::sleep(Duration::from_millis(300));
                let _ = self.tell.send(());
                return;
            }
        }
    }
}
