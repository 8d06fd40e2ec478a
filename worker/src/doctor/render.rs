//! The findings, once for people and once as JSON. Pure.

use options::Page;
use proto::WorkerName;
use serde::Serialize;
use telemetry::plain;

use super::finding::{Finding, Group, Level, exit_code};

/// For people: a paragraph per group, a line per finding, and below what is not ok why it matters
/// and what mends it.
pub fn text(findings: &[Finding], page: &Page) -> String {
    let title = |finding: &Finding| match &finding.of {
        Some(of) => format!("{} {of}", finding.check),
        None => finding.check.to_owned(),
    };
    let wide = findings.iter().map(|it| title(it).chars().count()).max().unwrap_or_default();
    let mut out = String::new();
    let mut group = None;
    for finding in findings {
        if group.replace(finding.group) != Some(finding.group) {
            let gap = if out.is_empty() { "" } else { "\n" };
            out.push_str(&format!("{gap}{}\n", heading(finding.group)));
        }
        let (level, title) = (word(finding.level), title(finding));
        out.push_str(&page.wrap(&format!("  {level:<9}  {title:<wide$}  "), &plain(&finding.seen)));
        let below = [("why", &finding.why), ("fix", &finding.fix)];
        for (name, text) in below.into_iter().filter_map(|(name, it)| Some((name, it.as_ref()?))) {
            out.push_str(&page.wrap(&format!("{:13}{name}: ", ""), &plain(text)));
        }
    }
    out.push_str(&format!("\n{}\n", summary(findings)));
    telemetry::plain_lines(&out)
}

/// One object; its shape is in `docs/json.md`.
pub fn json(worker: &WorkerName, findings: &[Finding]) -> String {
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    let report = Report {
        worker: worker.as_str(),
        exit_code: exit_code(findings).code(),
        summary: Summary {
            ok: count(Level::Ok),
            warning: count(Level::Warning),
            undecided: count(Level::Undecided),
            problem: count(Level::Problem),
        },
        findings,
    };
    let text = serde_json::to_string_pretty(&report);
    text.expect("a report has string keys only") + "\n"
}

#[derive(Serialize)]
struct Report<'a> {
    worker: &'a str,
    exit_code: u8,
    summary: Summary,
    findings: &'a [Finding],
}

#[derive(Serialize)]
struct Summary {
    ok: usize,
    warning: usize,
    undecided: usize,
    problem: usize,
}

fn summary(findings: &[Finding]) -> String {
    let of = |level| findings.iter().filter(|finding| finding.level == level).count();
    let (problems, undecided, warnings) =
        (of(Level::Problem), of(Level::Undecided), of(Level::Warning));
    if problems + undecided + warnings == 0 {
        return format!("all {} checks are ok", findings.len());
    }
    let total = findings.len();
    let words = [(problems, "problem"), (undecided, "undecided"), (warnings, "warning")];
    let words = words.into_iter().filter(|(count, _)| *count > 0).map(|(count, word)| {
        let plural = if count == 1 || word == "undecided" { "" } else { "s" };
        format!("{count} {word}{plural}")
    });
    format!("{} in {total} checks", words.collect::<Vec<_>>().join(", "))
}

fn word(level: Level) -> &'static str {
    match level {
        Level::Ok => "ok",
        Level::Warning => "warning",
        Level::Undecided => "undecided",
        Level::Problem => "PROBLEM",
    }
}

fn heading(group: Group) -> &'static str {
    match group {
        Group::Machine => "Machine",
        Group::Secrets => "Secrets",
        Group::Nix => "Nix",
        Group::Space => "Space",
        Group::Broker => "Broker",
        Group::Git => "Git",
        Group::Cache => "Cache",
    }
}

#[cfg(test)]
mod tests {
    use proto::Timestamp;

    use super::*;
    use crate::doctor::finding::Check;

    fn findings() -> Vec<Finding> {
        vec![
            Check(Group::Nix, "version").ok("2.8.0"),
            Check(Group::Nix, "sandbox").problem("off", "builds see all", "sandbox = true"),
            Check(Group::Git, "access").warning("odd\u{1b}[2J", "why", "this").of("homelab"),
        ]
    }

    #[test]
    fn people_see_groups_and_below_each_trouble_its_reason_and_its_remedy() {
        let expected = "Nix\n\
            \x20 ok         version         2.8.0\n\
            \x20 PROBLEM    sandbox         off\n\
            \x20            why: builds see all\n\
            \x20            fix: sandbox = true\n\
            \nGit\n\
            \x20 warning    access homelab  odd";
        let page = |width| Page { width, utf8: true, colours: false, now: Timestamp(0) };
        let text = text(&findings(), &page(None));
        assert!(text.starts_with(expected), "{text}");
        assert!(text.ends_with("\n\n1 problem, 1 warning in 3 checks\n"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
        assert!(super::text(&findings()[..1], &page(None)).ends_with("all 1 checks are ok\n"));
    }

    #[test]
    fn long_texts_go_on_below_themselves() {
        let why = "builds see all that this machine has, ".repeat(6);
        let long = Check(Group::Nix, "sandbox").problem("off", &why, "sandbox = true");
        let page = Page { width: Some(80), utf8: true, colours: false, now: Timestamp(0) };
        let text = text(&[long], &page);
        assert!(text.lines().all(|line| line.len() <= 80), "{text}");
        assert!(text.contains("\n                  "), "{text}");
    }

    #[test]
    fn the_json_has_these_keys() {
        let worker = "w1".parse().expect("a name");
        let report: serde_json::Value =
            serde_json::from_str(&json(&worker, &findings())).expect("JSON");
        let expected = serde_json::json!({
            "worker": "w1",
            "exit_code": 2,
            "summary": { "ok": 1, "warning": 1, "undecided": 0, "problem": 1 },
            "findings": [
                { "group": "nix", "check": "version", "of": null, "level": "ok",
                  "seen": "2.8.0", "why": null, "fix": null },
                { "group": "nix", "check": "sandbox", "of": null, "level": "problem",
                  "seen": "off", "why": "builds see all", "fix": "sandbox = true" },
                { "group": "git", "check": "access", "of": "homelab", "level": "warning",
                  "seen": "odd\u{1b}[2J", "why": "why", "fix": "this" },
            ],
        });
        assert_eq!(report, expected);
        options::check_documented("worker doctor", &report);
    }
}
