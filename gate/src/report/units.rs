//! Lengths of time, dates, sizes and counts, as people read them.

use std::time::{Duration, UNIX_EPOCH};

use bytesize::ByteSize;
use proto::Timestamp;

const DAY_S: u64 = 24 * 60 * 60;
/// The last second of the year 9999: what is later is no date that anybody meant.
const DATE_S_MAX: u64 = 253_402_300_799;

/// A duration in the two units that matter.
pub(crate) fn short(ms: u64) -> String {
    let s = ms / 1000;
    match s {
        0 => format!("{ms}ms"),
        1..60 => format!("{s}.{}s", ms % 1000 / 100),
        60..3600 => format!("{}m {}s", s / 60, s % 60),
        3600..DAY_S => format!("{}h {}m", s / 3600, s % 3600 / 60),
        _ => format!("{}d {}h", s / DAY_S, s % DAY_S / 3600),
    }
}

/// The day of a point in time, in UTC.
pub(crate) fn date(seconds: u64) -> String {
    if seconds > DATE_S_MAX {
        return "unknown".to_owned();
    }
    let time = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds));
    time.to_string().chars().take("2026-11-22".len()).collect()
}

/// How long ago that was, in days.
pub(crate) fn age(seconds: u64, now: Timestamp) -> String {
    match (now.0 / 1000).saturating_sub(seconds) / DAY_S {
        0 => "less than a day old".to_owned(),
        1 => "1 day old".to_owned(),
        days => format!("{days} days old"),
    }
}

/// A difference of sizes.
pub(crate) fn grown(bytes: i64) -> String {
    let sign = if bytes < 0 { '-' } else { '+' };
    match bytes {
        0 => "no change in size".to_owned(),
        bytes => format!("{sign}{}", ByteSize(bytes.unsigned_abs()).display().iec()),
    }
}

/// `1 host`, `2 hosts`.
pub(crate) fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// The first of many names, and how many there are beside them.
pub(crate) fn listed(names: &[String], shown_max: usize, quote: fn(&str) -> String) -> String {
    /// Names that are longer together are hardly names.
    const BYTES_MAX: usize = 2_000;
    let (mut text, mut shown) = (String::new(), 0);
    for name in names.iter().take(shown_max) {
        if text.len() > BYTES_MAX {
            break;
        }
        let comma = if shown == 0 { "" } else { ", " };
        text += &format!("{comma}{}", quote(name));
        shown += 1;
    }
    match names.len() - shown {
        0 => text,
        more => format!("{text} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_can_read_it() {
        assert_eq!(
            [0, 1234, 61_000, 3_600_000, 90_000_000].map(short).join(", "),
            "0ms, 1.2s, 1m 1s, 1h 0m, 1d 1h"
        );
        assert_eq!(
            [0, 1_700_000_000, u64::MAX].map(date).join(", "),
            "1970-01-01, 2023-11-14, unknown"
        );
        let now = Timestamp(1000 * 10 * DAY_S);
        let ages = [DAY_S * 8, DAY_S * 9, DAY_S * 9 + 1, u64::MAX].map(|at| age(at, now));
        let expected = ["2 days old", "1 day old", "less than a day old", "less than a day old"];
        assert_eq!(ages, expected);
        let sizes = [0, 1, -1536, i64::MIN].map(grown);
        assert_eq!(sizes, ["no change in size", "+1 B", "-1.5 KiB", "-8.0 EiB"]);
        let names = ["a", "b", "c"].map(str::to_owned);
        assert_eq!(listed(&names, 2, str::to_owned), "a, b and 1 more");
        assert_eq!(listed(&names[..2], 2, str::to_owned), "a, b");
        assert_eq!([0, 1, 2].map(|n| counted(n, "host")).join(", "), "0 hosts, 1 host, 2 hosts");
    }
}
