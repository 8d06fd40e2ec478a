//! How long a forge in trouble is borne with.

use std::time::Duration;

use backon::ExponentialBuilder;

/// How often and how long something is tried.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Tries after the first.
    pub retries: usize,
    /// Before the first of them; each later one waits twice as long, with jitter.
    pub delay_min: Duration,
    pub delay_max: Duration,
    /// Longest wait that a server can ask for (`Retry-After`).
    pub retry_after_max: Duration,
}

impl Default for Patience {
    /// About 15 s: outlasts the restart of a forge. What is down for longer is left to the next run.
    fn default() -> Self {
        Self {
            retries: 5,
            delay_min: Duration::from_millis(500),
            delay_max: Duration::from_secs(8),
            retry_after_max: Duration::from_secs(60),
        }
    }
}

impl Patience {
    pub(super) fn backoff(&self) -> ExponentialBuilder {
        ExponentialBuilder::default()
            .with_min_delay(self.delay_min)
            .with_max_delay(self.delay_max)
            .with_max_times(self.retries)
            .with_jitter()
    }
}
