//! What it was measured on.

use std::{fs, process::Command};

use serde_json::{Value, json};
use tests::process::find;

pub(crate) struct Machine {
    facts: Vec<(&'static str, String)>,
}

impl Machine {
    pub(crate) fn json(&self) -> Value {
        self.facts.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect()
    }

    /// One sentence.
    pub(crate) fn words(&self) -> String {
        let facts: Vec<String> =
            self.facts.iter().map(|(name, value)| format!("{name} {value}")).collect();
        format!("Measured by `make bench` on: {}.", facts.join("; "))
    }
}

pub(crate) fn about() -> Machine {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let facts = vec![
        ("commit", said("git", &["rev-parse", "--short=12", "HEAD"])),
        ("cores", cores.to_string()),
        ("cpu", field("/proc/cpuinfo", "model name")),
        ("memory", field("/proc/meminfo", "MemTotal")),
        ("kernel", read("/proc/sys/kernel/osrelease")),
        ("nats-server", said("nats-server", &["--version"])),
        ("nix", said("nix", &["--version"])),
        ("rustc", said("rustc", &["--version"])),
        ("load at the end", load()),
    ];
    Machine { facts }
}

/// Mean number of runnable processes over one minute.
pub(crate) fn load() -> String {
    let load = read("/proc/loadavg");
    load.split(' ').next().unwrap_or_default().to_owned()
}

fn read(file: &str) -> String {
    fs::read_to_string(file).unwrap_or_default().trim().to_owned()
}

fn field(file: &str, name: &str) -> String {
    let text = read(file);
    let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    line.split_once(':').unwrap_or_default().1.trim().to_owned()
}

/// The first line that a program says.
fn said(program: &str, args: &[&str]) -> String {
    let output = Command::new(find(program)).args(args).output().expect("a program that was found");
    String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned()
}
