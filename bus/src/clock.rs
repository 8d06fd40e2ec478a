//! The server's clock, as seen from here.
//!
//! Leases are counted from timestamps that the server gave. To know whether one has run out, a
//! worker must know what time it is *there*. Whoever writes a record and reads it back learns
//! that the server's time of storing lies between the moments of sending and of the answer.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proto::Timestamp;

/// The local clock, for records and output.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(proto::time::millis(since))
}

/// Estimates the server's time from samples.
#[derive(Clone, Copy, Debug, Default)]
pub struct ServerClock {
    /// Server minus local, in milliseconds.
    offset_ms: i64,
    measured: bool,
}

/// Beyond this a clock is wrong rather than imprecise (DESIGN 5.5): no claims until it is mended.
pub const SKEW_MAX: Duration = Duration::from_secs(5);

impl ServerClock {
    /// Learns from one write: sent and answered by the local clock, stored by the server's.
    ///
    /// The server stored it somewhere in between; the middle is off by half the round trip at
    /// most. A sample with a long round trip says little and is not taken over a measured offset
    /// that it does not contradict.
    pub fn observe(&mut self, sent: Timestamp, answered: Timestamp, stored: Timestamp) {
        let signed = |at: Timestamp| i64::try_from(at.0).unwrap_or(i64::MAX);
        let (earliest, latest) = (signed(stored) - signed(answered), signed(stored) - signed(sent));
        if self.measured && (earliest..=latest).contains(&self.offset_ms) {
            return;
        }
        self.offset_ms = i64::midpoint(earliest, latest);
        self.measured = true;
    }

    /// The server's time at a local one.
    pub fn at(&self, local: Timestamp) -> Timestamp {
        Timestamp(local.0.saturating_add_signed(self.offset_ms))
    }

    /// How far the local clock is off.
    pub fn skew(&self) -> Duration {
        Duration::from_millis(self.offset_ms.unsigned_abs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observed(samples: &[(u64, u64, u64)]) -> ServerClock {
        let mut clock = ServerClock::default();
        for (sent, answered, stored) in samples {
            clock.observe(Timestamp(*sent), Timestamp(*answered), Timestamp(*stored));
        }
        clock
    }

    #[test]
    fn the_offset_is_the_middle_of_the_round_trip() {
        assert_eq!(observed(&[(1000, 1010, 6005)]).at(Timestamp(2000)), Timestamp(7000));
        assert_eq!(observed(&[(6000, 6010, 1005)]).at(Timestamp(7000)), Timestamp(2000));
        assert_eq!(observed(&[]).at(Timestamp(7)), Timestamp(7));
    }

    #[test]
    fn a_slow_sample_that_agrees_changes_nothing() {
        let clock = observed(&[(1000, 1010, 1005), (2000, 5000, 2100)]);
        assert_eq!(clock.at(Timestamp(9000)), Timestamp(9000));
    }

    #[test]
    fn a_stepped_clock_is_noticed() {
        let clock = observed(&[(1000, 1010, 1005), (2000, 2010, 9005)]);
        assert_eq!(clock.skew(), Duration::from_secs(7));
        assert!(clock.skew() > SKEW_MAX);
    }
}
