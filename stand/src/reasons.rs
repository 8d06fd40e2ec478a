//! Why many hosts wait, in few words. Pure.

use std::collections::BTreeMap;

use proto::Timestamp;
use telemetry::plain;

use crate::{
    around::Place,
    view::{HostStatus, Queue, Stand, utc},
};

/// Reasons that are told of in one go; the rest is counted.
const REASONS_MAX: usize = 3;

/// How many hosts wait, by why they do. Of those whose turn comes, the nearest one's place is told;
/// of those that nobody takes, since when the first of them is asked for.
pub fn counted<'a>(waiting: impl IntoIterator<Item = &'a HostStatus>) -> BTreeMap<String, usize> {
    let mut reasons: BTreeMap<String, Reason> = BTreeMap::new();
    for status in waiting {
        let reason = reasons.entry(status.timeless()).or_default();
        reason.hosts += 1;
        reason.asked = reason.asked.into_iter().chain(status.asked()).min();
        if let Stand::Queued(Queue::Served(Some(place))) = &status.stand {
            let nearest = reason.place.filter(|it| it.position <= place.position);
            reason.place = nearest.or(Some(*place));
        }
    }
    reasons.into_iter().map(|(words, reason)| (reason.told(&words), reason.hosts)).collect()
}

/// Of hosts that wait for the same.
#[derive(Default)]
struct Reason {
    hosts: usize,
    asked: Option<Timestamp>,
    place: Option<Place>,
}

impl Reason {
    /// A worker says in its own words why it takes nothing.
    fn told(&self, words: &str) -> String {
        let words = plain(words);
        match (self.place, self.asked) {
            (Some(Place { position, of }), _) => {
                format!("{words}, the first of them as {position} of {of}")
            }
            (None, Some(at)) => format!("{words} (asked for {})", utc(at)),
            (None, None) => words.into_owned(),
        }
    }
}

/// The most common reasons, at most so many; the last one says how many hosts have others.
pub fn most_common(counted: &BTreeMap<String, usize>, most: usize) -> Vec<String> {
    let mut reasons: Vec<(&String, &usize)> = counted.iter().collect();
    reasons.sort_by(|a, b| b.1.cmp(a.1).then_with(|| a.0.cmp(b.0)));
    let more: usize = reasons.iter().skip(most).map(|(_, hosts)| **hosts).sum();
    let mut lines: Vec<String> =
        reasons.iter().take(most).map(|(why, hosts)| format!("{hosts} {why}")).collect();
    if let (Some(last), true) = (lines.last_mut(), more > 0) {
        last.push_str(&format!("; {more} more wait for other reasons"));
    }
    lines
}

/// Why nobody can take some of these hosts, to stand behind a count; nothing when somebody can:
/// `, 2 queued: no worker for class aarch64-linux (asked for …)`.
pub fn stuck<'a>(hosts: impl IntoIterator<Item = &'a HostStatus>) -> String {
    let stuck = counted(hosts.into_iter().filter(|it| it.is_stuck()));
    most_common(&stuck, REASONS_MAX).iter().map(|reason| format!(", {reason}")).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::examples::{status, worker};

    fn queued(host: &str, queue: Queue) -> HostStatus {
        status(host, None, Stand::Queued(queue))
    }

    fn paused(reason: &str) -> HostStatus {
        queued("p", Queue::Paused { worker: worker(), reason: reason.into() })
    }

    #[test]
    fn the_nearest_place_of_those_whose_turn_comes_is_told() {
        let at = |position| queued("q", Queue::Served(Some(Place { position, of: 7 })));
        let hosts = [at(5), at(3), queued("n", Queue::Served(None)), paused("no room")];

        let counted: Vec<_> = counted(&hosts).into_iter().collect();

        let places = ("queued, the first of them as 3 of 7".to_owned(), 3);
        let takes_nothing = ("queued: w1 takes nothing now: no room".to_owned(), 1);
        assert_eq!(counted, [places, takes_nothing]);
        assert_eq!(stuck(&hosts), ", 1 queued: w1 takes nothing now: no room");
        assert_eq!(stuck(&hosts[..3]), "");
    }

    #[test]
    fn one_whose_place_nobody_knows_waits_all_the_same() {
        let counted = counted(&[queued("n", Queue::Served(None))]);
        assert_eq!(counted, [("queued".to_owned(), 1)].into());
    }

    #[test]
    fn a_workers_own_words_do_nothing_to_a_terminal() {
        let counted = counted(&[paused("\x1b[2Jno\nroom")]);
        let (reason, _) = counted.first_key_value().expect("a reason");
        assert!(!reason.contains(char::is_control), "{reason:?}");
    }

    #[test]
    fn hosts_that_were_asked_for_at_different_times_wait_for_the_same() {
        let missing = |at| queued("m", Queue::Unserved { since: Timestamp(at) });
        let said = stuck(&[missing(2_000), missing(1_000), missing(3_000)]);
        let first = "1970-01-01T00:00:01Z";
        assert_eq!(
            said,
            format!(", 3 queued: no worker for class x86_64-linux (asked for {first})")
        );
    }

    #[test]
    fn the_most_common_reasons_stand_first_and_the_rest_is_counted() {
        let elsewhere = || queued("m", Queue::Elsewhere { since: Timestamp(1_000) });
        let held = || queued("h", Queue::Held { left: Duration::from_secs(60) });
        let unset = queued("n", Queue::NotSetUp);
        let hosts = [elsewhere(), held(), unset, paused("no room"), held()];

        let said = stuck(&hosts);

        let first = ", 2 queued: class x86_64-linux is paused; `producer resume x86_64-linux`, 1 ";
        assert!(said.starts_with(first), "{said}");
        assert!(said.ends_with("; 1 more wait for other reasons"), "{said}");
    }
}
