//! What is known, as text for people and as JSON for programs. Pure: nothing here reads a bucket,
//! a clock or a terminal.

pub(crate) mod dead;
pub(crate) mod events;
pub(crate) mod folded;
pub(crate) mod history;
pub(crate) mod json;
pub(crate) mod log;
pub(crate) mod nats;
pub(crate) mod queue;
pub(crate) mod story;
pub(crate) mod text;
pub(crate) mod waits;
pub(crate) mod workers;

use proto::{Revision, RunId, RunRecord};
use stand::HostStatus;

/// Hosts of one commit, as asked for by a run or, without one, all that anybody asked for.
pub(crate) struct Report<'a> {
    pub(crate) run: Option<RunId>,
    pub(crate) repo: &'a proto::Repo,
    pub(crate) revision: &'a Revision,
    pub(crate) git_ref: Option<&'a str>,
    pub(crate) hosts: &'a [HostStatus],
}

impl<'a> Report<'a> {
    /// The hosts of a run.
    pub(crate) fn of_run(run: &'a RunRecord, hosts: &'a [HostStatus]) -> Self {
        Self {
            run: Some(run.run),
            repo: &run.repo,
            revision: &run.revision,
            git_ref: run.git_ref.as_deref(),
            hosts,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use options::Page;
    use proto::Timestamp;

    /// A page of that width, half a minute after the records of these tests were stored.
    pub(crate) fn page(width: Option<usize>) -> Page {
        Page { width, utf8: true, colours: false, now: Timestamp(1_030_000) }
    }

    /// The table in a text, which begins with `head`, fits terminals that people have.
    #[track_caller]
    pub(crate) fn fits(head: &str, text: impl Fn(&Page) -> String) {
        for width in [40, 60, 72, 80] {
            let text = text(&page(Some(width)));
            let table: Vec<&str> = text
                .lines()
                .skip_while(|line| !line.starts_with(head))
                .take_while(|line| !line.is_empty())
                .collect();
            assert!(table.len() > 1, "no table in {text}");
            assert!(table.iter().all(|line| line.chars().count() <= width), "{width}\n{text}");
        }
    }
}
