//! The connection: where to, as whom, and what it tells of itself.

use std::{path::PathBuf, sync::Arc, time::Duration};

use async_nats::{ConnectOptions, connection::State, jetstream};
use proto::{Identity, permission};
use tokio::{sync::watch, task::AbortHandle};
use tracing::{debug, warn};

use crate::{
    delivery,
    error::Error,
    key::{PublicKey, read_seed},
    listener::{Denials, Listener},
    tls,
};

/// Where to connect and as whom.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// `nats://host:port` or `tls://host:port`; several with commas between.
    pub url: String,
    /// File with the NKey seed, mode 0600.
    pub nkey_file: Option<PathBuf>,
    /// PEM file of the authority that signed the server's certificate.
    pub ca_file: Option<PathBuf>,
    /// The client's name in the server's lists.
    pub name: String,
    /// How long the first connection may take: `None` waits for ever.
    pub patience: Option<Duration>,
}

/// The broker when no other is named.
pub const URL_DEFAULT: &str = "nats://127.0.0.1:4222";

/// Longest wait for one answer. A leader election takes about as long; heartbeats stand further
/// apart than this at the default `ack_wait`.
pub const ANSWER_WAIT: Duration = Duration::from_secs(5);

/// Longest pause between two attempts to reconnect.
const RECONNECT_PAUSE_MAX: Duration = Duration::from_secs(2);

/// Why no connection came about.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The seed file cannot be read.
    #[error("read the NKey seed {path}: {source}; make one with `producer keys new`")]
    ReadSeed {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The seed file holds no NKey seed.
    #[error("use the NKey seed in {path}: it is not a user's seed (it starts with SU…)")]
    Seed {
        /// Which file.
        path: PathBuf,
    },
    /// The file of the authority cannot be used.
    #[error("read the CA file {path}: {reason}")]
    Ca {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Nobody listens there, in all the time given.
    #[error("reach the broker at {url}: {reason}")]
    Unreachable {
        /// Where.
        url: String,
        /// The last error.
        reason: String,
    },
    /// The URL cannot be read.
    #[error("read the broker's URL {url:?}: {reason}; it looks like nats://host:4222")]
    Url {
        /// As given.
        url: String,
        /// Why.
        reason: String,
    },
    /// The broker does not know this identity, or not any more.
    #[error("log in at the broker {url}: it refuses {}", whom(.identity))]
    Refused {
        /// Where.
        url: String,
        /// As whom.
        identity: Identity,
    },
    /// The two ends do not come to a secure connection, and time does not mend it.
    #[error("make a secure connection to the broker {url}: {reason}")]
    Tls {
        /// Where.
        url: String,
        /// Why, and what to do.
        reason: String,
    },
}

impl ConnectError {
    /// Something given here is wrong, whatever the broker is: a file or a URL. What the broker
    /// refuses is not: its side may be what is wrong, and nothing is known about any build.
    pub fn is_usage(&self) -> bool {
        match self {
            Self::ReadSeed { .. } | Self::Seed { .. } | Self::Ca { .. } | Self::Url { .. } => true,
            Self::Unreachable { .. } | Self::Refused { .. } | Self::Tls { .. } => false,
        }
    }
}

/// An identity in words, for whoever it was refused to.
pub(crate) fn whom(identity: &Identity) -> String {
    match *identity == Identity::local() {
        true => {
            "whoever brings no NKey; name a seed file by --nkey-file or [nats] nkey_file".into()
        }
        false => format!("{identity}; its key may be unknown there, or revoked"),
    }
}

/// Whether the broker can be reached right now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// Connected.
    Up,
    /// Reconnecting, for ever.
    Down,
}

/// A connection to the broker. Clones share it.
#[derive(Clone)]
pub struct Bus {
    pub(crate) net: Arc<Net>,
}

/// What clones share. A clone of the client is a dozen counters and two allocations.
pub(crate) struct Net {
    pub(crate) client: async_nats::Client,
    pub(crate) js: jetstream::Context,
    identity: Identity,
    link: watch::Receiver<Link>,
    pub(crate) denials: Denials,
    /// What results are signed with; none on a broker without keys.
    pub(crate) keys: Option<Arc<nkeys::KeyPair>>,
    pub(crate) dropped: delivery::Dropped,
    safety_net: AbortHandle,
}

impl Drop for Net {
    fn drop(&mut self) {
        self.safety_net.abort();
    }
}

impl Bus {
    /// Connects, and from then on reconnects for ever, saying so at each change.
    ///
    /// # Errors
    /// See [`ConnectError`]; a broker that is away is one only after `endpoint.patience`.
    pub async fn connect(endpoint: &Endpoint) -> Result<Self, ConnectError> {
        refuse_login_in_url(&endpoint.url)?;
        let Login { mut options, identity, keys } = login(endpoint)?;
        let (link_is, link) = watch::channel(Link::Down);
        let denials = Denials::default();
        let listener = Listener::new(identity.clone(), link_is, denials.clone());
        options = options.event_callback(move |event| {
            listener.hear(&event);
            std::future::ready(())
        });
        let client = first_connection(&options, endpoint, &identity).await?;
        let js = jetstream::ContextBuilder::new()
            .timeout(ANSWER_WAIT)
            .ack_timeout(ANSWER_WAIT)
            .build(client.clone());
        let (dropped, safety_net) = delivery::safety_net(client.clone());
        let net = Net { client, js, identity, link, denials, keys, dropped, safety_net };
        Ok(Self { net: Arc::new(net) })
    }

    /// As whom it is connected.
    pub fn identity(&self) -> &Identity {
        &self.net.identity
    }

    /// Whether the broker can be reached, as it changes.
    pub fn link(&self) -> watch::Receiver<Link> {
        self.net.link.clone()
    }

    /// Sends what is queued and closes the connection. To a broker that is away nothing can be sent,
    /// and nobody is kept waiting for it.
    pub async fn close(&self) {
        // The client's own word: `link` hears of the first connection a moment later.
        if self.net.client.connection_state() != State::Disconnected {
            let flushed = tokio::time::timeout(ANSWER_WAIT, self.net.client.flush()).await;
            debug!(?flushed, "closing the connection");
        }
        if self.net.client.drain().await.is_ok() {
            let mut link = self.link();
            let closed = link.wait_for(|link| *link == Link::Down);
            tokio::time::timeout(Duration::from_secs(1), closed).await.ok();
        }
    }

    /// Turns "no answer" into "denied" when the server said so on the side. `sent_to` is where the
    /// question went, which is what the server names.
    pub(crate) fn explain(&self, sent_to: &str, error: Error) -> Error {
        match error {
            Error::NoAnswer { operation, .. } | Error::NotServed { operation, .. }
                if self.net.denials.take(sent_to) =>
            {
                Error::Denied { operation, subject: sent_to.to_owned() }
            }
            other => other,
        }
    }
}

/// As whom, and how.
struct Login {
    options: ConnectOptions,
    identity: Identity,
    keys: Option<Arc<nkeys::KeyPair>>,
}

fn login(endpoint: &Endpoint) -> Result<Login, ConnectError> {
    let mut options = ConnectOptions::new()
        .name(&endpoint.name)
        .max_reconnects(None)
        .ping_interval(Duration::from_secs(10))
        .request_timeout(Some(ANSWER_WAIT))
        .reconnect_delay_callback(reconnect_pause);
    let (mut identity, mut keys) = (Identity::local(), None);
    if let Some(path) = &endpoint.nkey_file {
        // The seed is handed to the client and never stored or shown elsewhere.
        let (seed, pair) = read_seed(path)?;
        identity = PublicKey::of(&pair).identity().clone();
        options = options.nkey(seed).custom_inbox_prefix(permission::inbox_prefix(&identity));
        keys = Some(Arc::new(pair));
    }
    if let Some(path) = &endpoint.ca_file {
        tls::check_ca_file(path)?;
        options = options.add_root_certificates(path.clone()).require_tls(true);
    }
    Ok(Login { options, identity, keys })
}

/// 0, 50 ms, 100 ms, … up to the maximum, with a tenth of jitter so that a fleet does not return
/// as one.
fn reconnect_pause(attempt: usize) -> Duration {
    let doubled = Duration::from_millis(50) * (1 << attempt.saturating_sub(2).min(10));
    let pause = if attempt <= 1 { Duration::ZERO } else { doubled.min(RECONNECT_PAUSE_MAX) };
    pause.mul_f64(0.9 + 0.1 * f64::from(std::process::id() % 8) / 8.0)
}

/// The pool logs in by NKey alone. A name or password in the URL would do nothing, but be quoted in
/// messages: it is refused without being shown.
fn refuse_login_in_url(url: &str) -> Result<(), ConnectError> {
    // Nothing else in such a URL has this sign; a password may hold any other.
    match url.contains('@') {
        false => Ok(()),
        true => Err(ConnectError::Url {
            url: "<hidden>".into(),
            reason: "it holds a login, and only a key logs in: --nkey-file or [nats] nkey_file"
                .into(),
        }),
    }
}

async fn first_connection(
    options: &ConnectOptions,
    endpoint: &Endpoint,
    identity: &Identity,
) -> Result<async_nats::Client, ConnectError> {
    let servers: Vec<&str> = endpoint.url.split(',').map(str::trim).collect();
    let unreachable =
        |reason: String| ConnectError::Unreachable { url: endpoint.url.clone(), reason };
    let give_up = endpoint.patience.map(|patience| tokio::time::Instant::now() + patience);
    let mut attempt = 0;
    loop {
        attempt += 1;
        let error = match options.clone().connect(&servers).await {
            Ok(client) => return Ok(client),
            Err(error) => error,
        };
        use async_nats::ConnectErrorKind as Kind;
        match error.kind() {
            Kind::AuthorizationViolation | Kind::Authentication => {
                let (url, identity) = (endpoint.url.clone(), identity.clone());
                return Err(ConnectError::Refused { url, identity });
            }
            Kind::ServerParse => {
                let (url, reason) = (endpoint.url.clone(), error.to_string());
                return Err(ConnectError::Url { url, reason });
            }
            _ if let Some(reason) = tls::trouble(&error) => {
                return Err(ConnectError::Tls { url: endpoint.url.clone(), reason });
            }
            _ if give_up.is_some_and(|at| tokio::time::Instant::now() >= at) => {
                return Err(unreachable(error.to_string()));
            }
            _ => {}
        }
        if attempt == 1 {
            warn!(url = %endpoint.url, %error, "the broker cannot be reached, trying again");
        }
        tokio::time::sleep(reconnect_pause(attempt + 1)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_in_the_url_is_refused_and_not_shown() {
        for url in [
            "nats://me:hunter2@h:4222",
            "nats://hunter2@h",
            "me:hunter2@h",
            "nats://a:4222,tls://me:hunter2@h",
            "nats://me:hunter2/x@h:4222",
        ] {
            let error = refuse_login_in_url(url).expect_err("refused");
            assert!(error.is_usage() && !error.to_string().contains("hunter2"), "{error}");
        }
        for url in ["nats://h:4222", "h", "tls://a,tls://b:1", "nats://[::1]:4222"] {
            assert!(refuse_login_in_url(url).is_ok(), "{url}");
        }
    }

    #[test]
    fn reconnecting_starts_at_once_and_slows_down() {
        assert_eq!(reconnect_pause(1), Duration::ZERO);
        assert!(reconnect_pause(3) < reconnect_pause(5));
        assert!(reconnect_pause(usize::MAX) <= RECONNECT_PAUSE_MAX);
    }
}
