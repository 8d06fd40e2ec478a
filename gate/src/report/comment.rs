//! The one comment of a gate run at its pull request: found again by its first line, and replaced
//! in place. Logs of failed hosts are attached to it.

use proto::{GateId, gate::Refused};

use super::{
    Facts,
    markdown::code,
    units::listed,
    view::{Subject, View},
    words,
};

/// The first line of a run's comment. Nobody sees it.
pub(crate) fn marker(run: GateId) -> String {
    format!("<!-- nix-build-pool:gate {run} -->")
}

/// The comment: what became of the candidate, in short.
pub(crate) fn comment(facts: &Facts<'_>, refused: &Refused) -> String {
    let view = View::of(facts, Subject::of_refused(refused));
    let verdict = words::verdict(facts, refused, &view, code);
    let mut text = format!("{}\n**{verdict}**\n", marker(facts.run.id));
    for (what, hosts) in
        [("Cannot be built", words::against(&view)), ("Without an answer", words::open(&view))]
    {
        if !hosts.is_empty() {
            text += &format!("\n{what}: {}.\n", listed(&hosts, words::NAMED_MAX, code));
        }
    }
    let logs: Vec<String> = view.groups.iter().flat_map(|it| it.attachments.clone()).collect();
    if !logs.is_empty() {
        let logs = listed(&logs, words::NAMED_MAX, code);
        text += &format!("\nWhole logs are attached: {logs}.\n");
    }
    text += &format!("\nNext: {}\n", code(&words::again(facts, refused)));
    text
}
