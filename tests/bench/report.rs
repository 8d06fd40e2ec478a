//! The table, for people and for the documentation, and the JSON.

use std::{fs, path::PathBuf};

use serde_json::json;

use crate::{
    machine,
    row::{Row, Spread},
};

/// Between these lines of the documentation stands what the program writes.
const BEGIN: &str = "<!-- bench: begin -->\n";
const END: &str = "<!-- bench: end -->";

#[expect(clippy::print_stdout, reason = "a program for people")]
pub(crate) fn say(line: &str) {
    println!("{line}");
}

/// One row in one line.
pub(crate) fn line(row: &Row) -> String {
    cells(row).join("  ")
}

pub(crate) fn table(rows: &[Row]) {
    say("");
    for line in markdown(rows).lines() {
        say(line);
    }
}

fn markdown(rows: &[Row]) -> String {
    let mut text = "| what | median | min | max | baseline | ratio (min to max) | target | met |\n\
                    |---|---|---|---|---|---|---|---|\n"
        .to_owned();
    for row in rows {
        text += &format!("| {} |\n", cells(row).join(" | "));
    }
    text
}

fn cells(row: &Row) -> Vec<String> {
    let Spread { median, min, max } = row.values();
    let baseline = match row.baselines() {
        Some(baseline) => format!("{} ({})", number(baseline.median), row.against),
        None => "–".to_owned(),
    };
    let ratio = row.ratios().map_or("–".to_owned(), |Spread { median, min, max }| {
        format!("{median:.2} ({min:.2} to {max:.2})")
    });
    let met = match row.met() {
        Some(true) => "yes",
        Some(false) => "**no**",
        None => "–",
    };
    let what = format!("{}, {}", row.what, row.unit);
    let target = row.target.to_string();
    vec![what, number(median), number(min), number(max), baseline, ratio, target, met.to_owned()]
}

/// Three digits that count.
fn number(value: f64) -> String {
    let digits = match value.abs() {
        it if it >= 100.0 => 0,
        it if it >= 10.0 => 1,
        it if it >= 1.0 => 2,
        _ => 3,
    };
    format!("{value:.digits$}")
}

/// Writes the JSON, and the table of the documentation after a whole run.
pub(crate) fn write(rows: &[Row], whole: bool) {
    let machine = machine::about();
    let all: Vec<_> = rows.iter().map(Row::json).collect();
    let result = json!({ "machine": machine.json(), "rows": all });
    let dir = root().join("target/bench");
    fs::create_dir_all(&dir).expect("a writable target folder");
    let text = serde_json::to_string_pretty(&result).expect("JSON");
    fs::write(dir.join("result.json"), text + "\n").expect("a writable target folder");
    if whole {
        let page = root().join("docs/performance.md");
        let text = fs::read_to_string(&page).expect("docs/performance.md");
        let (before, rest) = text.split_once(BEGIN).expect("the line where the table begins");
        let (_, after) = rest.split_once(END).expect("the line where the table ends");
        let text = format!("{before}{BEGIN}{}\n\n{}{END}{after}", machine.words(), markdown(rows));
        fs::write(page, text).expect("a writable docs folder");
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}
