//! `[worker] labels`: words about a worker that the pool itself makes nothing of, such as what its
//! host is for. They stand in the registry, and may become labels of metrics: hence their form.

use std::collections::BTreeMap;

use super::Wrong;

const KEY: &str = "[worker] labels";
/// Presence is put every 15 s and read by all who look.
const LABELS_MAX: usize = 16;
const NAME_BYTES_MAX: usize = 63;
const VALUE_BYTES_MAX: usize = 100;
/// What the worker's own metrics say by labels, and what Prometheus adds to them.
const TAKEN: [&str; 14] = [
    "class",
    "host",
    "instance",
    "job",
    "le",
    "outcome",
    "phase",
    "place",
    "quantile",
    "reason",
    "repo",
    "version",
    "worker",
    "alertname",
];

/// Names as Prometheus has them, without capitals and without those it keeps for itself.
pub(super) fn checked(labels: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Wrong> {
    if labels.len() > LABELS_MAX {
        let many = labels.len();
        return Err((KEY, format!("are {many}, and {LABELS_MAX} is the most")));
    }
    for (name, value) in &labels {
        let shown = proto::token::shown;
        if !legal_name(name) {
            let name = shown(name);
            let reason =
                format!("{name} is no name of a label, expected e.g. role = \"build-host\"");
            return Err((KEY, reason));
        }
        if TAKEN.contains(&name.as_str()) {
            return Err((KEY, format!("{} is a label of the metrics already", shown(name))));
        }
        if value.is_empty() || value.len() > VALUE_BYTES_MAX || value.contains(char::is_control) {
            let value = shown(value);
            let reason = format!("{name} is {value}, expected one short line, e.g. \"build-host\"");
            return Err((KEY, reason));
        }
    }
    Ok(labels)
}

fn legal_name(name: &str) -> bool {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let begins = name.starts_with(|c: char| c.is_ascii_lowercase());
    begins && name.len() <= NAME_BYTES_MAX && name.chars().all(legal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, value: &str, refused: Option<&str>) {
        match (checked([(name.to_owned(), value.to_owned())].into()), refused) {
            (Ok(_), None) => {}
            (Err((_, reason)), Some(why)) => assert!(reason.contains(why), "{reason}"),
            (checked, _) => panic!("{name} = {value}: {checked:?}"),
        }
    }

    #[test]
    fn labels_are_few_short_and_what_metrics_take() {
        check("role", "build-host", None);
        check("rack_2", "Küche, unten", None);
        for name in ["", "Role", "__name__", "2nd", "a-b", "a\nb", &"x".repeat(64)] {
            check(name, "a", Some("no name of a label"));
        }
        check("host", "a", Some("a label of the metrics already"));
        for value in ["", "a\nb", "\u{1b}[2J", &"x".repeat(101)] {
            check("role", value, Some("one short line"));
        }
        let many = (0..17).map(|n| (format!("a{n}"), "b".to_owned())).collect();
        assert!(checked(many).is_err_and(|(_, reason)| reason.contains("are 17")));
    }
}
