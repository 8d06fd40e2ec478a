//! `make bench`: what the pool costs, beside the floor that the same machine sets in the same run.
//!
//! Each row is measured in rounds; a round measures the pool and its baseline one after the other,
//! and the claim is the ratio. Nothing here is a test: a slow machine fails nothing. It starts all
//! that it needs, stops by itself, and leaves `target/bench/result.json` and the table of
//! `docs/performance.md`.

mod broker;
mod drain;
mod farm;
mod floor;
mod growth;
mod held;
mod latency;
mod lines;
mod machine;
mod noop;
mod report;
mod row;
mod scale;
mod size;
mod submit;
mod takeover;
mod verdict;

use std::{process::Command, time::Instant};

use self::row::Row;

/// One measurement: its name, and what makes its rows.
struct Group {
    name: &'static str,
    run: fn(usize) -> Vec<Row>,
}

const GROUPS: &[Group] = &[
    Group { name: "size", run: size::rows },
    Group { name: "drain", run: drain::rows },
    Group { name: "latency", run: latency::rows },
    Group { name: "submit", run: submit::rows },
    Group { name: "verdict", run: verdict::rows },
    Group { name: "takeover", run: takeover::rows },
    Group { name: "farm", run: farm::rows },
    Group { name: "lines", run: lines::rows },
    Group { name: "growth", run: growth::rows },
    Group { name: "held", run: held::rows },
    Group { name: "scale", run: scale::rows },
];

/// Rounds of a row; rows of over half a minute take [`FEW`].
const ROUNDS: usize = 5;
const FEW: usize = 3;

/// Runs a program of ours to its end; gives the seconds that took, and its stdout.
fn timed(command: &mut Command) -> (f64, String) {
    let start = Instant::now();
    let output = command.output().expect("a program that starts");
    let took = start.elapsed().as_secs_f64();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{stderr}", output.status);
    (took, String::from_utf8_lossy(&output.stdout).into_owned())
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if let [hold, config] = &args[..]
        && hold == noop::HOLD
    {
        return noop::hold(config);
    }
    let (rounds, names): (Vec<_>, Vec<_>) =
        args.iter().partition(|arg| arg.parse::<usize>().is_ok());
    let rounds = rounds.first().and_then(|it| it.parse().ok()).unwrap_or(ROUNDS);
    let known = |name: &&&String| GROUPS.iter().any(|group| group.name == name.as_str());
    if let Some(unknown) = names.iter().find(|name| !known(name)) {
        let all: Vec<&str> = GROUPS.iter().map(|group| group.name).collect();
        report::say(&format!("no row {unknown:?}; there are: {}", all.join(" ")));
        std::process::exit(2);
    }
    let chosen = GROUPS
        .iter()
        .filter(|group| names.is_empty() || names.iter().any(|name| *name == group.name));
    let mut rows = Vec::new();
    for group in chosen {
        let (start, load) = (Instant::now(), machine::load());
        let measured = (group.run)(rounds);
        let load = format!("{load}, {} after", machine::load());
        report::say(&format!("{}: {:.0?}, load {load}", group.name, start.elapsed()));
        for mut row in measured {
            (row.group, row.load) = (group.name, load.clone());
            report::say(&format!("  {}", report::line(&row)));
            rows.push(row);
        }
    }
    report::table(&rows);
    // A table in the documentation is of one whole run, never of parts of several.
    report::write(&rows, names.is_empty() && rounds >= ROUNDS);
}
