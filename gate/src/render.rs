//! The verdict as text for people and as JSON for programs. Pure.

use std::collections::BTreeMap;

use proto::Host;
use serde::Serialize;

use crate::verdict::{Finding, Verdict};

/// Its shape is fixed by DESIGN section 8.
#[derive(Serialize)]
struct Object<'a> {
    verdict: &'static str,
    expected: usize,
    hosts: BTreeMap<&'a Host, &'static str>,
}

/// One object on one line.
pub(crate) fn json(verdict: Verdict, findings: &BTreeMap<Host, Finding>) -> String {
    let hosts = findings.iter().map(|(host, finding)| (host, finding.name())).collect();
    let object = Object { verdict: verdict.name(), expected: findings.len(), hosts };
    let json = serde_json::to_string(&object).expect("text and numbers always serialize");
    json + "\n"
}

/// The verdict, and each host that keeps it from being a pass.
pub(crate) fn text(
    verdict: Verdict,
    findings: &BTreeMap<Host, Finding>,
    excluded: &[Host],
) -> String {
    let built = findings.values().filter(|finding| **finding == Finding::Built).count();
    let mut text = format!("{}: {built} of {} hosts built\n", verdict.name(), findings.len());
    for (host, finding) in findings.iter().filter(|(_, finding)| **finding != Finding::Built) {
        let reason = finding.reason().map(|why| format!(" ({why})")).unwrap_or_default();
        text.push_str(&format!("  {host}: {}{reason}\n", finding.name()));
    }
    for host in excluded {
        text.push_str(&format!("  {host}: excluded\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_name_every_host_that_counts() {
        let host = |name: &str| name.parse::<Host>().expect("a host");
        let findings = BTreeMap::from([
            (host("a"), Finding::Built),
            (host("b"), Finding::Missing),
            (host("c"), Finding::Undecided("infra-failed")),
            (host("d"), Finding::Unproven("it is not signed")),
        ]);
        let shown = json(Verdict::Undecided, &findings);
        let hosts = r#"{"a":"built","b":"missing","c":"infra-failed","d":"missing"}"#;
        let expected = format!("{{\"verdict\":\"undecided\",\"expected\":4,\"hosts\":{hosts}}}\n");
        assert_eq!(shown, expected);
        let mut shown: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
        shown["hosts"] = serde_json::Value::Null;
        options::check_documented("gate check", &shown);
        let shown = text(Verdict::Undecided, &findings, &[host("e")]);
        let expected = "undecided: 1 of 4 hosts built\n  b: missing\n  c: infra-failed\n  \
                        d: missing (it is not signed)\n  e: excluded\n";
        assert_eq!(shown, expected);
    }
}
