//! Why a host waits, as words to stand beside its state and as JSON. Pure.

use options::short;
use proto::{AttemptEnd, Timestamp, WorkerName, time::millis};
use serde::Serialize;
use stand::{Place, Queue, Stand};

/// Why a host waits. What does not apply is null.
#[derive(Default, Serialize)]
pub(crate) struct Waits<'a> {
    why: &'static str,
    /// Nobody could build it since then.
    since: Option<Timestamp>,
    /// Who takes nothing now, or had it last.
    worker: Option<&'a WorkerName>,
    reason: Option<&'a str>,
    position: Option<usize>,
    of: Option<usize>,
    /// Until it goes on by itself.
    left_ms: Option<u64>,
}

/// What changes while a host waits, for behind its state: ` (3 of 12)`, ` in 12s`.
pub(crate) fn detail(stand: &Stand) -> String {
    match stand {
        Stand::Queued(Queue::Served(Some(Place { position, of }))) => {
            format!(" ({position} of {of})")
        }
        Stand::Waiting { left, .. } if left.is_zero() => " now".into(),
        Stand::Waiting { left, .. } => format!(" in {}", short(*left)),
        _ => String::new(),
    }
}

/// Why a host waits, if it does.
pub(crate) fn waits(stand: &Stand) -> Option<Waits<'_>> {
    let none = Waits::default();
    Some(match stand {
        Stand::Running { .. } | Stand::Finished(_) => return None,
        Stand::Queued(queue) => match queue {
            Queue::Unasked => Waits { why: "not-asked", ..none },
            Queue::Served(place) => {
                let (position, of) = (place.map(|it| it.position), place.map(|it| it.of));
                Waits { why: "queued", position, of, ..none }
            }
            Queue::Unserved { since } => Waits { why: "no-worker", since: Some(*since), ..none },
            Queue::Elsewhere { since } => Waits { why: "no-repo", since: Some(*since), ..none },
            Queue::Paused { worker, reason } => {
                let (worker, reason) = (Some(worker), Some(reason.as_str()));
                Waits { why: "workers-paused", worker, reason, ..none }
            }
            Queue::Held { left } => {
                Waits { why: "class-paused", left_ms: Some(millis(*left)), ..none }
            }
            Queue::NotSetUp => Waits { why: "not-set-up", ..none },
        },
        Stand::Waiting { worker, reason, left } => Waits {
            why: "retry",
            worker: worker.as_ref(),
            reason: Some(end_kind(reason)),
            left_ms: Some(millis(*left)),
            ..none
        },
    })
}

/// The name of the reason for another attempt.
fn end_kind(end: &AttemptEnd) -> &'static str {
    match end {
        AttemptEnd::HandedBack => "handed-back",
        AttemptEnd::WorkerLost => "worker-lost",
        AttemptEnd::Infra { kind, .. } => kind.name(),
    }
}
