//! Waiting for a condition, never for a time.

use std::{
    thread,
    time::{Duration, Instant},
};

/// Between two looks. Long enough to leave the processor to those who are waited for.
const PAUSE: Duration = Duration::from_millis(20);

/// Asks until there is an answer, and panics with `what` when there is none by the deadline.
#[track_caller]
pub fn eventually<T>(what: &str, deadline: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    match within(deadline, &mut look) {
        Some(answer) => answer,
        None => panic!("waited {deadline:?} for {what}"),
    }
}

/// Asks until there is an answer or the time is over. Asks at least once.
pub fn within<T>(deadline: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + deadline;
    loop {
        if let Some(answer) = look() {
            return Some(answer);
        }
        if Instant::now() >= end {
            return None;
        }
        thread::sleep(PAUSE);
    }
}
