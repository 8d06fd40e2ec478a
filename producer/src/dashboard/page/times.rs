//! Points in time and lengths of time.

use std::time::Duration;

use maud::{Markup, html};
use options::short;
use proto::{Timestamp, time::millis};
use stand::utc;

/// A point in time, for a sentence.
pub(crate) fn at(at: Timestamp) -> Markup {
    html! { time datetime=(utc(at)) { (utc(at)) } }
}

/// How long ago something was; when exactly is a hint away. The page's script counts on.
pub(crate) fn ago(at: Timestamp, now: Timestamp) -> Markup {
    let (exact, age) = (utc(at), coarse(now.since(at)));
    html! { time class="ago" datetime=(exact) title=(exact) { (age) " ago" } }
}

/// A length that grows: the page's script counts on.
pub(crate) fn since(began: Timestamp, now: Timestamp) -> Markup {
    html! { span class="elapsed" data-since=(began.0) { (clock(now.since(began))) } }
}

/// A length until now that may grow.
pub(crate) fn so_far(length: Duration, grows: bool, now: Timestamp) -> Markup {
    let began = Timestamp(now.0.saturating_sub(millis(length)));
    html! { @if grows { (since(began, now)) } @else { (short(length)) } }
}

pub(crate) fn length(ms: u64) -> String {
    short(Duration::from_millis(ms))
}

/// `4:07`, `1:02:03`: digits that keep their places while they change.
fn clock(length: Duration) -> String {
    let s = length.as_secs();
    match s / 3600 {
        0 => format!("{}:{:02}", s / 60, s % 60),
        hours => format!("{hours}:{:02}:{:02}", s / 60 % 60, s % 60),
    }
}

/// One unit: whoever wants more looks at the exact time.
fn coarse(length: Duration) -> String {
    let s = length.as_secs();
    match s {
        0..60 => format!("{s} s"),
        60..3600 => format!("{} min", s / 60),
        3600..172_800 => format!("{} h", s / 3600),
        _ => format!("{} d", s / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_short() {
        let s = Duration::from_secs;
        assert_eq!([clock(s(7)), clock(s(247)), clock(s(3723))], ["0:07", "4:07", "1:02:03"]);
        assert_eq!([coarse(s(59)), coarse(s(7200)), coarse(s(200_000))], ["59 s", "2 h", "2 d"]);
    }
}
