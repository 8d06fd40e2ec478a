//! The spans of the attempts in hand: each from its build's start until its delivery is settled.
//!
//! It decides nothing, and an attempt that is not traced costs nothing here.

use std::collections::HashMap;

use proto::State;
use telemetry::span::{self, End};
use tracing::Span;

use crate::machine::io::DeliveryId;

/// The attempts that are traced, each with the end that it last came to.
#[derive(Debug, Default)]
pub(crate) struct Attempts(HashMap<DeliveryId, (Span, Option<End>)>);

impl Attempts {
    /// The span to build under.
    pub(crate) fn begin(&mut self, id: DeliveryId, attempt: &span::Attempt<'_>) -> Span {
        let span = span::process(attempt);
        if !span.is_disabled() {
            self.0.insert(id, (span.clone(), None));
        }
        span
    }

    /// The attempt's record is written with this state, or tried to be.
    pub(crate) fn comes_to(&mut self, id: DeliveryId, state: &State) {
        if let Some((_, end)) = self.0.get_mut(&id) {
            *end = End::of(state);
        }
    }

    /// The span to settle its delivery under; a disabled one for a delivery that nobody built.
    pub(crate) fn settles(&self, id: DeliveryId, operation: &'static str) -> Span {
        let attempt = self.0.get(&id);
        attempt.map_or_else(Span::none, |(attempt, _)| span::settle(attempt, operation))
    }

    /// Its delivery is settled.
    pub(crate) fn settled(&mut self, id: DeliveryId) {
        if let Some((attempt, end)) = self.0.remove(&id) {
            span::ended(&attempt, end.unwrap_or(End::FENCED));
        }
    }

    /// Another worker has its job.
    pub(crate) fn fenced(&mut self, id: DeliveryId) {
        if let Some((_, end)) = self.0.get_mut(&id) {
            *end = None;
        }
        self.settled(id);
    }
}
