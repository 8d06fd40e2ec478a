//! What a person sees while a run goes on: bars on a terminal, else one line per change. It reads
//! nothing and decides nothing.

use std::{collections::BTreeMap, io::IsTerminal as _, time::Duration};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use options::Console;
use proto::Host;
use telemetry::plain;

use crate::{
    render::text,
    view::{self, HostStatus, Stand},
};

/// Where changes are shown.
pub(crate) enum Progress<'a> {
    /// One line each, for logs and pipes.
    Lines(&'a Console),
    /// A line per running host, redrawn, and a total.
    Bars(Bars),
}

/// The lines at the bottom of a terminal.
pub(crate) struct Bars {
    all: MultiProgress,
    total: ProgressBar,
    running: BTreeMap<Host, ProgressBar>,
}

/// How often a running host's clock is redrawn.
const REDRAW: Duration = Duration::from_secs(1);

impl<'a> Progress<'a> {
    /// Bars where somebody watches, lines elsewhere.
    pub(crate) fn on(console: &'a Console) -> Self {
        if console.is_quiet() || !std::io::stderr().is_terminal() {
            return Self::Lines(console);
        }
        let all = MultiProgress::new();
        let total = all.add(ProgressBar::no_length());
        total.set_style(style("{pos}/{len} {wide_msg}"));
        Self::Bars(Bars { all, total, running: BTreeMap::new() })
    }

    /// Says a line.
    pub(crate) fn say(&self, line: &str) {
        match self {
            Self::Lines(console) => console.say(line),
            Self::Bars(bars) => bars.say(line),
        }
    }

    /// A host moved on.
    pub(crate) fn changed(&self, before: &HostStatus, after: &HostStatus) {
        let (host, came_to) = (&after.job.host, text::came_to(after));
        match self {
            // The phases of each host would drown the rest; `status` shows them.
            Self::Lines(_) if same_attempt(before, after) => {}
            Self::Lines(console) => {
                console.say(&format!("{host}: {} → {came_to}", before.state()));
            }
            Self::Bars(bars) if after.finished().is_some() => {
                bars.say(&format!("{host}: {came_to}"));
            }
            // Its bar shows it.
            Self::Bars(_) => {}
        }
    }

    /// Draws how all hosts stand.
    pub(crate) fn show(&mut self, hosts: &[HostStatus]) {
        if let Self::Bars(bars) = self {
            bars.show(hosts);
        }
    }

    /// A sign of life where nothing is redrawn.
    pub(crate) fn heartbeat(&self, hosts: &[HostStatus]) {
        if let Self::Lines(console) = self {
            console.say(&standing(hosts));
        }
    }
}

/// Both show the same worker at work: only the phase or its silence changed.
fn same_attempt(before: &HostStatus, after: &HostStatus) -> bool {
    match (&before.stand, &after.stand) {
        (
            Stand::Running { running: was, silent: None },
            Stand::Running { running, silent: None },
        ) => was.instance == running.instance && before.attempt == after.attempt,
        _ => false,
    }
}

/// `3 of 16 finished, 2 running, 11 queued`
pub(crate) fn standing(hosts: &[HostStatus]) -> String {
    let of = |state: &str| hosts.iter().filter(|status| status.state() == state).count();
    let mut line = format!("{} of {} finished", of("finished"), hosts.len());
    for state in ["running", "waiting", "queued"] {
        if of(state) > 0 {
            line.push_str(&format!(", {} {state}", of(state)));
        }
    }
    line
}

impl Bars {
    fn say(&self, line: &str) {
        self.all.println(plain(line)).ok();
    }

    fn show(&mut self, hosts: &[HostStatus]) {
        for status in hosts {
            let host = &status.job.host;
            let Stand::Running { running, .. } = &status.stand else {
                if let Some(bar) = self.running.remove(host) {
                    bar.finish_and_clear();
                    self.all.remove(&bar);
                }
                continue;
            };
            let bar = self.running.entry(host.clone()).or_insert_with(|| {
                let bar = ProgressBar::new_spinner().with_prefix(host.to_string());
                let bar = self.all.insert_before(&self.total, bar);
                bar.set_style(style("{spinner} {prefix} {wide_msg} {elapsed}"));
                bar.enable_steady_tick(REDRAW);
                bar
            });
            let count = running.progress.map(|it| format!(" {}/{}", it.done, it.expected));
            bar.set_message(plain(&status.phrase()).into_owned() + &count.unwrap_or_default());
        }
        let tally = view::tally(hosts);
        self.total.set_length(u64::try_from(tally.expected).unwrap_or(u64::MAX));
        self.total.set_position(u64::try_from(tally.finished).unwrap_or(u64::MAX));
        self.total.set_message(standing(hosts));
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        for bar in self.running.values() {
            bar.finish_and_clear();
        }
        self.total.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates here are well formed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::{Queue, tests::*};

    #[test]
    fn every_template_is_well_formed_and_bars_follow_the_hosts() {
        let all = MultiProgress::with_draw_target(indicatif::ProgressDrawTarget::hidden());
        let total = all.add(ProgressBar::no_length());
        total.set_style(style("{pos}/{len} {wide_msg}"));
        let mut bars = Bars { all, total, running: BTreeMap::new() };
        let proto::State::Running(running) = running() else { panic!("a running state") };
        let running = status("a", Some(1), Stand::Running { running, silent: None });
        let queued = status("b", None, Stand::Queued(Queue::Served(None)));
        let built = status("a", Some(1), Stand::Finished(Box::new(finished(built(false)))));
        bars.show(&[running, queued.clone()]);
        assert_eq!(bars.running.len(), 1);
        bars.show(&[built.clone(), queued.clone()]);
        assert_eq!((bars.running.len(), bars.total.position()), (0, 1));
        assert_eq!(standing(&[built, queued]), "1 of 2 finished, 1 queued");
    }
}
