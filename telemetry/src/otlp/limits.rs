//! The bound on spans that wait to be sent, and the one word about a collector that fails.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use opentelemetry::Context;
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{BatchConfigBuilder, BatchSpanProcessor, Span, SpanData, SpanExporter, SpanProcessor},
};
use tracing::{info, warn};

/// Spans that may wait: those of some hundred builds, in some MiB. The queue of the batch processor is
/// as large, whatever `OTEL_BSP_MAX_QUEUE_SIZE` says: so it never drops one without a word.
const WAITING_MAX: usize = 2048;
/// A collector has caught up when no more than this wait.
const CAUGHT_UP: usize = WAITING_MAX / 2;
/// Spans sent at once where nobody says so: OpenTelemetry's own default.
const BATCH_DEFAULT: usize = 512;

/// How many spans wait to be sent.
pub(super) type Waiting = Arc<AtomicUsize>;

/// The places that spans wait in.
#[derive(Debug)]
struct Places {
    waiting: Waiting,
    dropping: AtomicBool,
}

/// Whether there is a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Taken,
    None,
    /// None, for the first time since the collector had caught up.
    NoneAnyMore,
}

impl Places {
    fn take(&self) -> Place {
        // Taken first, so that no two threads take the last one.
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        if before >= WAITING_MAX {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return match self.dropping.swap(true, Ordering::Relaxed) {
                true => Place::None,
                false => Place::NoneAnyMore,
            };
        }
        if before < CAUGHT_UP {
            self.dropping.store(false, Ordering::Relaxed);
        }
        Place::Taken
    }
}

/// Takes spans in up to the limit.
#[derive(Debug)]
pub(super) struct Limited {
    batches: BatchSpanProcessor,
    places: Places,
}

impl Limited {
    /// `batch`: how many are sent at once.
    pub(super) fn new<E: SpanExporter + 'static>(
        exporter: Telling<E>,
        waiting: Waiting,
        batch: Option<usize>,
    ) -> Self {
        // Both sizes are set: by default they would depend on each other's variables.
        let config = BatchConfigBuilder::default()
            .with_max_queue_size(WAITING_MAX)
            .with_max_export_batch_size(batch.unwrap_or(BATCH_DEFAULT))
            .build();
        let batches = BatchSpanProcessor::builder(exporter).with_batch_config(config).build();
        Self { batches, places: Places { waiting, dropping: AtomicBool::new(false) } }
    }
}

impl SpanProcessor for Limited {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.batches.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        match self.places.take() {
            Place::Taken => self.batches.on_end(span),
            Place::None => {}
            Place::NoneAnyMore => warn!(
                "the collector is too slow: more than {WAITING_MAX} spans wait, so new ones are \
                 dropped until it has caught up"
            ),
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.batches.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.batches.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.batches.set_resource(resource);
    }
}

/// Sends, and tells when that begins to fail and when it works again.
#[derive(Debug)]
pub(super) struct Telling<E> {
    exporter: E,
    waiting: Waiting,
    lost: AtomicUsize,
}

impl<E> Telling<E> {
    pub(super) fn new(exporter: E, waiting: Waiting) -> Self {
        Self { exporter, waiting, lost: AtomicUsize::new(0) }
    }
}

impl<E: SpanExporter> SpanExporter for Telling<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let sent = self.exporter.export(batch).await;
        self.waiting.fetch_sub(spans, Ordering::Relaxed);
        match &sent {
            Ok(()) => match self.lost.swap(0, Ordering::Relaxed) {
                0 => {}
                lost => info!("the collector takes traces again; at least {lost} spans are lost"),
            },
            Err(error) => {
                if self.lost.fetch_add(spans, Ordering::Relaxed) == 0 {
                    let why = error.to_string();
                    let why = crate::plain(&why);
                    warn!("the collector takes no traces, so spans are lost until it does: {why}");
                }
            }
        }
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use opentelemetry::trace::{Tracer as _, TracerProvider as _};
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tokio::sync::Notify;

    use super::*;

    /// Takes nothing before it is let go; then it keeps what it is sent.
    #[derive(Clone, Debug, Default)]
    struct Held {
        go: Arc<Notify>,
        gone: Arc<AtomicBool>,
        taken: Arc<Mutex<usize>>,
    }

    impl SpanExporter for Held {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            if !self.gone.load(Ordering::SeqCst) {
                self.go.notified().await;
            }
            *self.taken.lock().expect("no panic while it is held") += batch.len();
            Ok(())
        }
    }

    #[test]
    fn spans_beyond_the_limit_are_dropped_and_the_rest_arrives() {
        let (held, waiting) = (Held::default(), Waiting::default());
        let telling = Telling::new(held.clone(), waiting.clone());
        let provider = SdkTracerProvider::builder()
            .with_span_processor(Limited::new(telling, waiting.clone(), None))
            .build();
        let tracer = provider.tracer("test");
        for _ in 0..3 * WAITING_MAX {
            drop(tracer.start("span"));
        }
        assert_eq!(waiting.load(Ordering::SeqCst), WAITING_MAX);

        held.gone.store(true, Ordering::SeqCst);
        held.go.notify_one();
        provider.force_flush().expect("flushed");

        assert_eq!(*held.taken.lock().expect("no panic while it is held"), WAITING_MAX);
        assert_eq!(waiting.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn that_spans_are_dropped_is_said_again_only_after_the_collector_had_caught_up() {
        let places = Places { waiting: Waiting::default(), dropping: AtomicBool::new(false) };
        let fill = || std::iter::repeat_with(|| places.take()).find(|it| *it != Place::Taken);
        let sent = |spans| places.waiting.fetch_sub(spans, Ordering::SeqCst);
        assert_eq!(fill(), Some(Place::NoneAnyMore));
        assert_eq!(fill(), Some(Place::None));
        // It takes some now and then.
        for _ in 0..10 {
            sent(500);
            assert_eq!(fill(), Some(Place::None));
        }
        assert_eq!(places.waiting.load(Ordering::SeqCst), WAITING_MAX);
        sent(CAUGHT_UP + 1);
        assert_eq!(fill(), Some(Place::NoneAnyMore));
    }
}
