//! Where a trace comes from and where it goes on: between our spans and the text that stands in
//! headers, records and the environment.

use opentelemetry::{
    Context,
    trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState},
};
use proto::{TraceParent, trace};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::variable;

/// What goes with messages and into records so that others go on from `span`; none when traces are
/// off.
pub fn context(span: &Span) -> Option<TraceParent> {
    if span.is_disabled() {
        return None;
    }
    let context = span.context();
    let span = context.span();
    let context = span.span_context();
    context.is_valid().then(|| TraceParent {
        trace: context.trace_id().to_bytes(),
        span: context.span_id().to_bytes(),
        flags: context.trace_flags().to_u8(),
    })
}

/// Makes `span`, which nobody has entered yet, a part of what `parent` began.
pub(crate) fn continues(span: &Span, parent: Option<TraceParent>) {
    if let Some(parent) = parent.filter(|_| !span.is_disabled()) {
        // It fails for a span that has begun, which a new one has not.
        span.set_parent(Context::new().with_remote_span_context(remote(parent))).ok();
    }
}

/// Says that `span` is about the same as `other`, but no part of it.
pub(crate) fn linked(span: &Span, other: Option<TraceParent>) {
    if let Some(other) = other.filter(|_| !span.is_disabled()) {
        span.add_link(remote(other));
    }
}

/// The trace that whoever started this program passes on to it, in the variable `TRACEPARENT`.
pub(crate) fn from_environment() -> Option<TraceParent> {
    variable(&trace::HEADER.to_uppercase())?.parse().ok()
}

fn remote(parent: TraceParent) -> SpanContext {
    SpanContext::new(
        TraceId::from_bytes(parent.trace),
        SpanId::from_bytes(parent.span),
        TraceFlags::new(parent.flags),
        true,
        TraceState::default(),
    )
}
