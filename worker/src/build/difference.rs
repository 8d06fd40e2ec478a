//! What a build changes for its host, compared with the last good one. Never a reason to fail: what
//! cannot be told is left out.

use std::time::Duration;

use proto::{ClosureDiff, LastGood, outcome::DIFF_BYTES_MAX};

use super::attempt::Attempt;
use crate::nix::{command::StorePath, events::plain};

/// Comparing two closures reads their registrations: a second for a large host.
const DIFF_WALL: Duration = Duration::from_secs(60);

impl Attempt<'_> {
    /// The difference to the last good build, if this store has that one's closure.
    pub(super) async fn difference(
        &self,
        out: &StorePath,
        closure_bytes: u64,
    ) -> Option<ClosureDiff> {
        let good = self.task.last_good.good()?.clone();
        // The record is from the bus: a path that is none is as good as one that is not here.
        let from = StorePath::parse(&good.out_path)?;
        let bytes = growth(&good, closure_bytes)?;
        let (lines, lines_cut) = match from == *out {
            true => (Vec::new(), 0),
            false => self.differing(&from, out).await?,
        };
        Some(ClosureDiff { from: good.revision, from_path: good.out_path, bytes, lines, lines_cut })
    }

    async fn differing(&self, from: &StorePath, to: &StorePath) -> Option<(Vec<String>, u64)> {
        let nix = &self.ctx.nix;
        // Asked first: Nix would fetch a closure that is not here.
        let valid = self.quiet_within(DIFF_WALL, &nix.check_validity(from)).await.ok()?;
        if !valid.exit.success() {
            return None;
        }
        let said = self.quiet_within(DIFF_WALL, &nix.diff_closures(from, to)).await.ok()?;
        said.exit.success().then(|| capped(&String::from_utf8_lossy(&said.exit.stdout)))
    }
}

/// How much larger it has become; none when either size is not known.
fn growth(good: &LastGood, closure_bytes: u64) -> Option<i64> {
    let known = |bytes: u64| i64::try_from(bytes).ok().filter(|bytes| *bytes > 0);
    Some(known(closure_bytes)? - known(good.closure_bytes)?)
}

/// The first lines, made plain, and how many were left out.
fn capped(text: &str) -> (Vec<String>, u64) {
    let (mut lines, mut cut, mut room) = (Vec::new(), 0, DIFF_BYTES_MAX);
    for line in text.lines().map(plain).filter(|line| !line.trim().is_empty()) {
        match room.checked_sub(line.len()).filter(|_| cut == 0) {
            Some(left) => {
                room = left;
                lines.push(line.to_string());
            }
            None => cut += 1,
        }
    }
    (lines, cut)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_plain_and_what_is_too_much_is_counted() {
        let (lines, cut) = capped("nginx: 1.26 → 1.27, \u{1b}[31;1m+200.0 KiB\u{1b}[0m\n\nb: 1\n");
        assert_eq!(lines, ["nginx: 1.26 → 1.27, +200.0 KiB", "b: 1"]);
        assert_eq!(cut, 0);
        let long = "x".repeat(1000);
        let text = format!("{long}\n").repeat(20) + "y\n";
        let (lines, cut) = capped(&text);
        assert_eq!((lines.len(), cut), (16, 5), "nothing is left out in the middle");
        assert_eq!(capped(""), (Vec::new(), 0));
    }
}
