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
    trace::{BatchSpanProcessor, Span, SpanData, SpanExporter, SpanProcessor},
};
use tracing::{info, warn};

/// Spans that may wait: those of some hundred builds, in some MiB. As large as the queue of the
/// batch processor (`OTEL_BSP_MAX_QUEUE_SIZE`, 2048), which so never drops one without a word.
const WAITING_MAX: usize = 2048;

/// How many spans wait to be sent.
pub(super) type Waiting = Arc<AtomicUsize>;

/// Takes spans in up to the limit.
#[derive(Debug)]
pub(super) struct Limited {
    batches: BatchSpanProcessor,
    waiting: Waiting,
    dropping: AtomicBool,
}

impl Limited {
    pub(super) fn new(batches: BatchSpanProcessor, waiting: Waiting) -> Self {
        Self { batches, waiting, dropping: AtomicBool::new(false) }
    }
}

impl SpanProcessor for Limited {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.batches.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if self.waiting.load(Ordering::Relaxed) >= WAITING_MAX {
            if !self.dropping.swap(true, Ordering::Relaxed) {
                warn!(
                    "the collector is too slow: more than {WAITING_MAX} spans wait, so new \
                       ones are dropped until it has caught up"
                );
            }
            return;
        }
        self.dropping.store(false, Ordering::Relaxed);
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.batches.on_end(span);
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
                lost => info!("the collector takes traces again; {lost} spans are lost"),
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
        let batches =
            BatchSpanProcessor::builder(Telling::new(held.clone(), waiting.clone())).build();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(Limited::new(batches, waiting.clone()))
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
}
