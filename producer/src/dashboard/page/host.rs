//! Hosts: how one job of them stands, as a word, a sign and a tone. The sign and the word say all that the colour
//! says.

use maud::{Markup, html};
use proto::{Host, Outcome, Repo, Standing, Timestamp};
use stand::{HostStatus, Stand};

use super::{foreign, times};

/// What a state looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Face {
    pub(crate) class: &'static str,
    pub(crate) sign: &'static str,
}

pub(crate) const UNKNOWN: Face = Face { class: "none", sign: "·" };

impl Face {
    pub(crate) fn of(status: &HostStatus) -> Self {
        let (class, sign) = match &status.stand {
            Stand::Queued(_) => ("queued", "○"),
            Stand::Running { silent: None, .. } => ("running", "●"),
            Stand::Running { silent: Some(_), .. } => ("waiting", "◐"),
            Stand::Waiting { .. } => ("waiting", "↻"),
            Stand::Finished(finished) => match (&finished.outcome, finished.outcome.standing()) {
                (Outcome::Built(built), _) if built.reused => ("reused", "✓"),
                (_, Standing::Pass) => ("built", "✓"),
                (_, Standing::Fail) => ("failed", "✗"),
                (_, Standing::Undecided) => ("infra", "!"),
                (_, Standing::Cancelled) => ("cancelled", "–"),
            },
        };
        Self { class, sign }
    }

    pub(crate) fn sign(self) -> Markup {
        html! { span class={ "sign " (self.class) } aria-hidden="true" { (self.sign) } }
    }
}

/// The state in words, and how long it took.
pub(crate) fn words(status: &HostStatus) -> String {
    let phrase = telemetry::plain(&status.timeless()).into_owned();
    match status.finished() {
        Some(finished) if finished.build_ms > 0 => {
            format!("{phrase} in {}", times::length(finished.build_ms))
        }
        _ => phrase,
    }
}

/// The state as a badge.
pub(crate) fn badge(status: &HostStatus, now: Timestamp) -> Markup {
    let (face, phrase, since) = (Face::of(status), status.timeless(), status.asked());
    html! {
        span class={ "badge " (face.class) } {
            (face.sign()) " " (foreign(&phrase))
            @if let Some(since) = since { ", asked for " (times::ago(since, now)) }
        }
    }
}

pub(crate) fn host_path(repo: &Repo, host: &Host) -> String {
    format!("/host/{repo}/{host}")
}
