//! What a person sees while a run goes on: a live display on a terminal, else one line per change,
//! in groups that fold where a CI reads them. It reads nothing and decides nothing.

use std::collections::BTreeMap;

use display::{Board, Live, Mood};
use options::Console;
use proto::{Outcome, Timestamp, outcome::Standing};
use stand::{HostStatus, Stand, reasons};

use crate::render::{self, text};

/// Where changes are shown.
pub(crate) struct Progress<'a> {
    console: &'a Console,
    live: Option<&'a Live>,
    since: Timestamp,
}

impl<'a> Progress<'a> {
    /// On a live display if there is one, else in lines.
    pub(crate) fn on(console: &'a Console, live: Option<&'a Live>) -> Self {
        Self { console, live, since: bus::clock::now() }
    }

    /// Says a line.
    pub(crate) fn say(&self, line: &str) {
        self.console.say(line);
    }

    /// A host moved on.
    pub(crate) fn changed(&self, before: &HostStatus, after: &HostStatus) {
        let (host, came_to) = (&after.job.host, text::came_to(after));
        match (self.live, after.finished()) {
            // Its row shows it.
            (Some(_), None) => {}
            (Some(_), Some(_)) => self.say(&format!("{host}: {came_to}")),
            // The phases of each host would drown the rest; `status` shows them.
            (None, _) if same_attempt(before, after) => {}
            (None, _) => self.say(&format!("{host}: {} → {came_to}", before.state())),
        }
        if self.console.folds()
            && let Some(failure) = after.outcome().and_then(Outcome::failure)
        {
            for line in render::folded::failure(host, failure) {
                self.say(&line);
            }
        }
    }

    /// Shows how all hosts stand.
    pub(crate) fn show(&self, hosts: &[HostStatus]) {
        if let Some(live) = self.live {
            live.show(board(hosts, self.since));
        }
    }

    /// A sign of life where nothing is redrawn.
    pub(crate) fn heartbeat(&self, hosts: &[HostStatus]) {
        if self.live.is_none() {
            self.say(&standing(hosts));
        }
    }
}

/// Both show the same worker at work: only the phase or its silence changed.
fn same_attempt(before: &HostStatus, after: &HostStatus) -> bool {
    match (&before.stand, &after.stand) {
        (
            Stand::Running { running: was, silent: None, unwanted: before_unwanted },
            Stand::Running { running, silent: None, unwanted },
        ) => {
            was.instance == running.instance
                && before.attempt == after.attempt
                && before_unwanted == unwanted
        }
        _ => false,
    }
}

/// `3 of 16 finished, 2 running, 5 queued, 6 queued: no worker for class aarch64-linux (…)`
pub(crate) fn standing(hosts: &[HostStatus]) -> String {
    let of = |state: &str| hosts.iter().filter(|it| it.state() == state && !it.is_stuck()).count();
    let mut line = format!("{} of {} finished", of("finished"), hosts.len());
    for state in ["running", "waiting", "queued"] {
        if of(state) > 0 {
            line.push_str(&format!(", {} {state}", of(state)));
        }
    }
    line + &reasons::stuck(hosts)
}

/// The hosts as a display shows them.
fn board(hosts: &[HostStatus], since: Timestamp) -> Board {
    let mut ended: BTreeMap<(Mood, &'static str), usize> = BTreeMap::new();
    for outcome in hosts.iter().filter_map(HostStatus::outcome) {
        *ended.entry((mood(outcome), outcome.name())).or_default() += 1;
    }
    let ended = ended.into_iter().map(|((mood, name), n)| (mood, name.to_owned(), n)).collect();
    let open = hosts.iter().filter(|it| it.finished().is_none());
    let open = open.map(|it| (it.job.host.as_str(), it));
    Board { ended, expected: hosts.len(), since, ..Board::of_open(open) }
}

fn mood(outcome: &Outcome) -> Mood {
    match outcome.standing() {
        Standing::Pass => Mood::Good,
        Standing::Fail => Mood::Bad,
        Standing::Undecided | Standing::Cancelled => Mood::Unclear,
    }
}

#[cfg(test)]
mod tests {
    use stand::{Place, Queue, examples::*};

    use super::*;

    #[test]
    fn a_board_has_a_row_for_what_runs_and_counts_the_rest() {
        let proto::State::Running(running) = running() else { panic!("a running state") };
        let running =
            status("a", Some(1), Stand::Running { running, silent: None, unwanted: false });
        let queued = |name, position| {
            let place = Place { position, of: 7 };
            status(name, None, Stand::Queued(Queue::Served(Some(place))))
        };
        let built = status("d", Some(1), Stand::Finished(Box::new(finished(built(false)))));
        let hosts = [running, queued("b", 5), queued("c", 3), built];

        let board = board(&hosts, Timestamp(5));

        let rows: Vec<&str> = board.running.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(rows, ["a"]);
        let waiting: Vec<_> = board.waiting.into_iter().collect();
        assert_eq!(waiting, [("queued, the first of them as 3 of 7".to_owned(), 2)]);
        assert_eq!(board.ended, [(Mood::Good, "built".to_owned(), 1)]);
        assert_eq!((board.expected, board.since), (4, Timestamp(5)));
        assert_eq!(standing(&hosts), "1 of 4 finished, 1 running, 2 queued");
    }

    #[test]
    fn a_sign_of_life_says_why_nobody_can_take_what_waits() {
        let queued = |name, queue| status(name, None, Stand::Queued(queue));
        let hosts = [queued("a", Queue::Served(None)), queued("b", Queue::NotSetUp)];
        let standing = standing(&hosts);
        let not_set_up = "0 of 2 finished, 1 queued, 1 queued: nobody set class x86_64-linux up; ";
        assert!(standing.starts_with(not_set_up), "{standing}");
    }
}
