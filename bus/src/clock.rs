//! The server's clock, as seen from here.
//!
//! Leases are counted from timestamps that the server gave. To know whether one has run out, a
//! worker must know what time it is *there*. Whoever writes a record and reads it back learns
//! that the server's time of storing lies between the moments of sending and of the answer. Those
//! moments are taken from a clock that nobody sets: a wall clock that is stepped must not make a
//! live lease look like one that ran out.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proto::Timestamp;
use rustix::time::{ClockId, clock_gettime};

/// The local clock, for records and output.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(proto::time::millis(since))
}

/// A clock that is never set and goes on while the machine sleeps. Only differences mean anything.
pub fn steady() -> Duration {
    let boot = clock_gettime(ClockId::Boottime);
    Duration::try_from(boot).unwrap_or_default()
}

/// Estimates the server's time from samples.
#[derive(Clone, Copy, Debug, Default)]
pub struct ServerClock {
    /// Server minus steady, in milliseconds, once it is measured.
    offset_ms: Option<i64>,
}

/// Beyond this a clock is wrong rather than imprecise (DESIGN 5.5): no claims until it is mended.
pub const SKEW_MAX: Duration = Duration::from_secs(5);

impl ServerClock {
    /// Learns from one write: sent and answered by the steady clock, stored by the server's.
    ///
    /// The server stored it somewhere in between; the middle is off by half the round trip at
    /// most. A sample with a long round trip says little and is not taken over a measured offset
    /// that it does not contradict.
    pub fn observe(&mut self, sent: Duration, answered: Duration, stored: Timestamp) {
        let signed = |millis: u64| i64::try_from(millis).unwrap_or(i64::MAX);
        let before = |at: Duration| signed(stored.0) - signed(proto::time::millis(at));
        let (earliest, latest) = (before(answered), before(sent));
        if self.offset_ms.is_some_and(|offset| (earliest..=latest).contains(&offset)) {
            return;
        }
        self.offset_ms = Some(i64::midpoint(earliest, latest));
    }

    /// The server's time at a moment of the steady clock. Before the first sample it is the
    /// beginning of time, at which no lease has run out.
    pub fn at(&self, steady: Duration) -> Timestamp {
        let at = |offset| Timestamp(proto::time::millis(steady).saturating_add_signed(offset));
        self.offset_ms.map_or(Timestamp(0), at)
    }

    /// Why no claim may lean on this clock or on `local`, the wall clock, if so.
    pub fn trouble(&self, steady: Duration, local: Timestamp) -> Option<String> {
        if self.offset_ms.is_none() {
            return Some("the broker's clock is not known yet".to_owned());
        }
        let skew = Duration::from_millis(self.at(steady).0.abs_diff(local.0));
        let seconds = skew.as_secs();
        (skew > SKEW_MAX).then(|| format!("this machine's clock is {seconds} s off the broker's"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn observed(samples: &[(u64, u64, u64)]) -> ServerClock {
        let mut clock = ServerClock::default();
        for (sent, answered, stored) in samples {
            clock.observe(ms(*sent), ms(*answered), Timestamp(*stored));
        }
        clock
    }

    #[test]
    fn the_offset_is_the_middle_of_the_round_trip() {
        assert_eq!(observed(&[(1000, 1010, 6005)]).at(ms(2000)), Timestamp(7000));
        assert_eq!(observed(&[(6000, 6010, 1005)]).at(ms(7000)), Timestamp(2000));
    }

    #[test]
    fn a_slow_sample_that_agrees_changes_nothing() {
        let clock = observed(&[(1000, 1010, 1005), (2000, 5000, 2100)]);
        assert_eq!(clock.at(ms(9000)), Timestamp(9000));
    }

    #[test]
    fn before_the_first_sample_nothing_is_late_and_nothing_is_claimed() {
        let clock = observed(&[]);
        assert_eq!(clock.at(ms(7)), Timestamp(0));
        assert!(clock.trouble(ms(7), Timestamp(7)).expect("unknown").contains("not known"));
    }

    #[test]
    fn a_stepped_wall_clock_is_noticed_and_moves_no_lease() {
        let clock = observed(&[(1000, 1010, 50_005)]);
        assert_eq!(clock.trouble(ms(2000), Timestamp(51_000)), None);
        assert_eq!(clock.trouble(ms(2000), Timestamp(56_000)), None);
        let ahead = clock.trouble(ms(2000), Timestamp(58_000)).expect("7 s ahead");
        assert!(ahead.contains("7 s off"), "{ahead}");
        let behind = clock.trouble(ms(2000), Timestamp(1_000)).expect("50 s behind");
        assert!(behind.contains("50 s off"), "{behind}");
        assert_eq!(clock.at(ms(2000)), Timestamp(51_000));
    }

    #[test]
    fn a_server_whose_clock_was_set_is_followed() {
        assert_eq!(observed(&[(1000, 1010, 1005), (2000, 2010, 9005)]).at(ms(2005)).0, 9005);
    }
}
