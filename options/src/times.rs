//! Lengths of time, as people read them. Pure.

use std::time::Duration;

/// A duration in the two units that matter.
pub fn short(duration: Duration) -> String {
    let (ms, s) = (duration.as_millis(), duration.as_secs());
    match s {
        0 => format!("{ms}ms"),
        1..60 => format!("{}.{}s", s, ms % 1000 / 100),
        60..3600 => format!("{}m {}s", s / 60, s % 60),
        3600..86_400 => format!("{}h {}m", s / 3600, s % 3600 / 60),
        _ => format!("{}d {}h", s / 86_400, s % 86_400 / 3600),
    }
}

/// How long ago, in the one unit that matters.
pub(crate) fn ago(since: Duration) -> String {
    let s = since.as_secs();
    match s {
        0..5 => "just now".into(),
        5..60 => format!("{s} s ago"),
        60..3600 => format!("{} min ago", s / 60),
        3600..172_800 => format!("{} h ago", s / 3600),
        _ => format!("{} days ago", s / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_show_the_units_that_matter() {
        let check = |ms, shown: &str| assert_eq!(short(Duration::from_millis(ms)), shown);
        check(0, "0ms");
        check(1234, "1.2s");
        check(61_000, "1m 1s");
        check(3_600_000, "1h 0m");
        check(90_000_000, "1d 1h");
    }

    #[test]
    fn how_long_ago_is_told_in_one_unit() {
        let check = |seconds, told: &str| assert_eq!(ago(Duration::from_secs(seconds)), told);
        check(4, "just now");
        check(59, "59 s ago");
        check(60, "1 min ago");
        check(7199, "1 h ago");
        check(100_000, "27 h ago");
        check(200_000, "2 days ago");
    }
}
