//! The integration tests: one binary, one module per behaviour.

mod admission;
mod answers;
mod asking_again;
mod bad_lines;
mod building;
mod cache;
mod changing_minds;
mod chaos;
mod classes;
mod cluster;
mod craft;
mod daemon;
mod dashboard;
mod dead_letters;
mod denials;
mod doctor;
mod events;
mod examples;
mod facts;
mod finishing;
mod following;
mod forge_client;
mod fuzz;
mod gate_cache;
mod gate_checks;
mod gate_crashes;
mod gate_external;
mod gate_forge;
mod gate_inputs;
mod gate_moves;
mod gate_output;
mod gate_report;
mod gate_results;
mod gate_roles;
mod gate_run;
mod gate_secrets;
mod gate_trouble;
mod gate_undecided;
mod harness;
mod hostile;
mod infrastructure;
mod interruptions;
mod landing;
mod last_good;
mod limits;
mod live;
mod locked_out;
mod logs;
mod many_jobs;
mod metrics;
mod overriding;
mod publishing;
mod pulling;
mod roles;
mod roots;
mod second_opinions;
mod secrets;
mod servers;
mod service;
mod setting_up;
mod sharing;
mod signatures;
mod standalone;
mod sweeping;
mod traces;
mod unreadable;
mod waiting;

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;
use tests::Output;

/// For anything that is waited for, on a machine busy with other tests.
const DEADLINE: Duration = Duration::from_secs(180);

/// How many want a processor at most where a limit still means something.
const RIVALS_MAX: f64 = 6.0;

/// A limit of a machine of one's own: so many times longer as others want its processors too, by the
/// load of the last minute, and no more than [`RIVALS_MAX`] times.
fn among_rivals(limit: Duration) -> Duration {
    let load = std::fs::read_to_string("/proc/loadavg").expect("a system with /proc");
    let load: f64 = load.split(' ').next().and_then(|it| it.parse().ok()).expect("a number");
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let each = load / f64::from(u32::try_from(processors).expect("some"));
    limit.mul_f64(each.clamp(1.0, RIVALS_MAX))
}

/// Outcome per host of a `submit --json` or `status --json`.
fn outcomes(answer: &Value) -> BTreeMap<String, String> {
    hosts(answer).map(|host| (text(&host["host"]), text(&host["outcome"]))).collect()
}

fn hosts(answer: &Value) -> impl Iterator<Item = &Value> {
    answer["hosts"].as_array().expect("a list of hosts").iter()
}

#[track_caller]
fn host<'a>(answer: &'a Value, name: &str) -> &'a Value {
    hosts(answer)
        .find(|host| host["host"] == name)
        .unwrap_or_else(|| panic!("no host {name} in {answer:#}"))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or("none").to_owned()
}

/// The answer says that all its hosts were built.
#[track_caller]
fn all_built(output: Output, expected: usize) -> Value {
    let answer = output.expect_code(0).json();
    let summary = serde_json::json!({
        "expected": expected, "finished": expected, "built": expected, "failed": 0, "undecided": 0,
    });
    assert_eq!(answer["summary"], summary, "{answer:#}");
    answer
}
