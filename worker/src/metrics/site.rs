//! The pages: `/metrics`, `/healthz` and `/readyz`.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bus::clock;
use exposition::{Answer, Site};
use hyper::{StatusCode, body::Bytes};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::info;

use super::Metrics;
use crate::{admission::Reason, error::Error};

/// The loop comes round at least every 15 s, when presence is due; a service manager waits as long
/// (`WatchdogSec=` in deploy/systemd).
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// A page is made once in this time, however many ask.
const PAGE_AGE_MAX: Duration = Duration::from_millis(500);

const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
const PLAIN_TYPE: &str = "text/plain; charset=utf-8";

/// Serves metrics and probes at `address` until told to stop.
///
/// # Errors
/// The address cannot be had.
pub(crate) async fn listen(
    address: SocketAddr,
    metrics: &Metrics,
    stop: CancellationToken,
    tasks: &TaskTracker,
) -> Result<(), Error> {
    let failed = |source| Error::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    info!("metrics at http://{address}/metrics");
    let pages = Pages { metrics: metrics.clone(), page: Mutex::default() };
    tasks.spawn(exposition::serve(listener, Arc::new(pages), stop));
    Ok(())
}

/// How the worker is, for probes.
#[derive(Default)]
pub(super) struct Health {
    connected: AtomicBool,
    draining: AtomicBool,
    paused: Mutex<Option<Reason>>,
    /// When the loop came round last, in milliseconds of the steady clock; zero: it has not begun,
    /// because the broker is not there yet.
    beat_ms: AtomicU64,
}

impl Health {
    pub(super) fn connected(&self, up: bool) {
        self.connected.store(up, Relaxed);
    }

    pub(super) fn draining(&self) {
        self.draining.store(true, Relaxed);
    }

    pub(super) fn paused(&self, reason: Option<Reason>) {
        *self.paused.lock().unwrap_or_else(PoisonError::into_inner) = reason;
    }

    pub(super) fn beat(&self, steady: Duration) {
        self.beat_ms.store(proto::time::millis(steady), Relaxed);
    }

    /// Why it should be started again, if so.
    fn sick(&self, steady: Duration) -> Option<String> {
        let beat = Duration::from_millis(self.beat_ms.load(Relaxed));
        let silent = steady.saturating_sub(beat);
        let hangs = !beat.is_zero() && silent > SILENCE_MAX;
        hangs.then(|| format!("the event loop has been silent for {} s", silent.as_secs()))
    }

    /// Why it takes no new jobs, if so.
    fn busy(&self, steady: Duration) -> Option<String> {
        if self.draining.load(Relaxed) {
            return Some("draining".into());
        }
        if !self.connected.load(Relaxed) || self.beat_ms.load(Relaxed) == 0 {
            return Some("not connected to the broker".into());
        }
        let paused = *self.paused.lock().unwrap_or_else(PoisonError::into_inner);
        let paused = paused.map(|reason| format!("taking no new jobs: {}", reason.name()));
        self.sick(steady).or(paused)
    }
}

struct Pages {
    metrics: Metrics,
    /// The newest page and when it was made.
    page: Mutex<Option<(Duration, Bytes)>>,
}

impl Site for Pages {
    fn answer(&self, path: &str) -> Option<Answer> {
        let health = &self.metrics.0.health;
        match path {
            "/metrics" => Some(Answer {
                status: StatusCode::OK,
                content_type: METRICS_TYPE,
                body: self.page(clock::steady()),
            }),
            "/healthz" => Some(probe(health.sick(clock::steady()))),
            "/readyz" => Some(probe(health.busy(clock::steady()))),
            _ => None,
        }
    }
}

impl Pages {
    fn page(&self, steady: Duration) -> Bytes {
        let mut page = self.page.lock().unwrap_or_else(PoisonError::into_inner);
        match &*page {
            Some((made, bytes)) if steady.saturating_sub(*made) < PAGE_AGE_MAX => bytes.clone(),
            _ => {
                let bytes = Bytes::from(self.metrics.page(steady));
                *page = Some((steady, bytes.clone()));
                bytes
            }
        }
    }
}

fn probe(trouble: Option<String>) -> Answer {
    let status = match trouble {
        None => StatusCode::OK,
        Some(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    let body = Bytes::from(trouble.unwrap_or_else(|| "ok".into()) + "\n");
    Answer { status, content_type: PLAIN_TYPE, body }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_well_while_its_loop_goes_round() {
        let health = Health::default();
        let at = Duration::from_secs;
        assert_eq!(health.sick(at(100_000)), None, "it waits for its broker");
        health.beat(at(1000));
        assert_eq!(health.sick(at(1060)), None);
        assert!(health.sick(at(1062)).is_some_and(|why| why.contains("62 s")));
    }

    #[test]
    fn a_worker_is_ready_when_it_takes_jobs() {
        let health = Health::default();
        let busy = || health.busy(Duration::from_secs(1001)).unwrap_or_default();
        assert_eq!(busy(), "not connected to the broker");
        health.connected(true);
        assert_eq!(busy(), "not connected to the broker", "the loop has not begun");
        health.beat(Duration::from_secs(1000));
        assert_eq!(busy(), "");
        health.paused(Some(Reason::Inodes));
        assert_eq!(busy(), "taking no new jobs: inodes");
        health.paused(None);
        health.connected(false);
        assert_eq!(busy(), "not connected to the broker");
        health.draining();
        assert_eq!(busy(), "draining");
    }
}
