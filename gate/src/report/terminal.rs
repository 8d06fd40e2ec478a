//! What `gate run` prints at its end, for people: the same facts as in the pull request, plain.

use proto::gate::{End, Stage};

use super::{
    Facts,
    foreign::Foreign,
    units::{age, counted, date, grown, listed, short},
    view::{Group, HostRow, Subject, View},
    words,
};
use crate::lock::{Change, InputChange};

/// Last lines of a log that are printed; the pull request has more.
const LOG_LINES_MAX: usize = 10;
/// Failures that are printed with them.
const LOGS_MAX: usize = 5;

/// The whole of it, ending in a line break.
pub(crate) fn text(facts: &Facts<'_>) -> String {
    let stage = &facts.run.stage;
    let view = View::of(facts, Subject::of(stage));
    let mut text = headline(facts, &view) + "\n";
    for host in view.hosts.iter().filter(|host| tells(host)) {
        text += &format!("  {}\n", row(host));
    }
    for label in &view.excluded {
        text += &format!("  {label}: excluded\n");
    }
    for (index, it) in view.groups.iter().enumerate() {
        text += &group(it, if index < LOGS_MAX { LOG_LINES_MAX } else { 0 });
    }
    if !view.inputs.changes.is_empty() || !view.inputs.kept.is_empty() {
        text += "\ninputs:\n";
    }
    for it in &view.inputs.changes {
        text += &format!("  {}\n", input(facts, it));
    }
    if view.inputs.more > 0 {
        text += &format!("  and {}\n", counted(view.inputs.more, "more input"));
    }
    for (input, message) in &view.inputs.kept {
        text += &format!("  {input}: could not be updated, kept as it was: {message}\n");
    }
    if !view.closures.is_empty() {
        text += "\nclosures:\n";
    }
    for it in &view.closures {
        let hosts = listed(&it.hosts, words::NAMED_MAX, str::to_owned);
        text += &format!("  {hosts}: {}\n", grown(it.bytes));
    }
    text + &next(facts)
}

/// A built host is worth a line when there is something to say of it.
fn tells(host: &HostRow) -> bool {
    host.outcome != "built" || host.marks.iter().any(|mark| *mark != "reused")
}

/// How the run ended, or where it stands.
pub(crate) fn headline(facts: &Facts<'_>, view: &View) -> String {
    let foreign = Foreign { scrub: &facts.site.scrub };
    let base = foreign.name(&facts.run.base);
    let end = match &facts.run.stage {
        Stage::Ended(end) | Stage::Clear(end) => end,
        Stage::Explain(refused) => return words::verdict(facts, refused, view, str::to_owned),
        stage => return format!("undecided: the run stands at {}", stage.name()),
    };
    match &**end {
        End::Landed(tested) => {
            let candidate = &tested.trial.candidate;
            let (new, old) = (candidate.revision.short(), candidate.base.short());
            let (built, of) = (view.tally.built, counted(view.tally.required, "host"));
            format!("landed: {base} is at {new}, was at {old}; {built} of {of} built")
        }
        End::Refused { refused, .. } => words::verdict(facts, refused, view, str::to_owned),
        End::Unchanged { base: at, .. } => {
            format!("nothing to do: the update changes nothing of {base} at {}", at.short())
        }
        End::SameFailure { of } => {
            format!("not landed: the same update of the same {base} failed in gate run {of}")
        }
        End::BrokenInputs { inputs } => {
            let broken = inputs.iter().map(|it| {
                format!("\n  {}: {}", foreign.name(&it.input), foreign.message(&it.message))
            });
            let count = counted(inputs.len(), "input");
            format!("not updated: {count} cannot be fetched{}", broken.collect::<String>())
        }
        End::BaseRewound { candidate, to } => format!(
            "stopped: {base} was at {} and is at {}, which does not contain it; a person has to \
             look at that",
            candidate.base.short(),
            to.short()
        ),
        End::BranchGone { branch, .. } => {
            format!("stopped: the branch {} does not exist", foreign.name(branch))
        }
        End::Behind { branch, base: at } => format!(
            "not tried: the branch {} does not contain {base} at {}; rebase it",
            foreign.name(branch),
            at.short()
        ),
        End::GivenUp { stage, .. } => {
            format!("given up: unfinished for too long, at {}", foreign.name(stage))
        }
    }
}

fn row(host: &HostRow) -> String {
    let mut facts = Vec::new();
    if host.attempts > 0 {
        facts.push(counted(host.attempts as usize, "attempt"));
        facts.push(short(host.build_ms));
    }
    facts.extend(host.marks.iter().map(|mark| (*mark).to_owned()));
    if !host.workers.is_empty() {
        facts.push(format!("on {}", host.workers));
    }
    let facts = if facts.is_empty() { String::new() } else { format!(" ({})", facts.join(", ")) };
    format!("{}: {}{facts}", host.label, host.outcome)
}

fn group(group: &Group, lines_max: usize) -> String {
    let what = group.leaf.as_deref().unwrap_or(&group.outcome);
    let hosts = listed(&group.hosts, words::NAMED_MAX, str::to_owned);
    let mut text = format!("\n{what} keeps {hosts} from being built\n");
    if !group.message.is_empty() {
        text += &format!("  {}\n", group.message);
    }
    for line in &group.log[group.log.len().saturating_sub(lines_max)..] {
        text += &format!("  > {line}\n");
    }
    if let Some(command) = &group.command {
        text += &format!("  to see it fail: {command}\n");
    }
    text
}

fn input(facts: &Facts<'_>, input: &InputChange) -> String {
    let path = &input.path;
    match &input.change {
        Change::Updated { old, new, .. } => {
            let dated = new.modified.map(|at| format!(" ({}, {})", date(at), age(at, facts.now)));
            format!("{path}: {} → {}{}", old.short(), new.short(), dated.unwrap_or_default())
        }
        Change::Added(new) => format!("{path}: added at {}", new.short()),
        Change::Removed(old) => format!("{path}: removed, was at {}", old.short()),
    }
}

/// What a person does next, where there is something to do.
fn next(facts: &Facts<'_>) -> String {
    let (refused, pull) = match &facts.run.stage {
        Stage::Explain(refused) => (refused, None),
        Stage::Ended(end) | Stage::Clear(end) => match &**end {
            End::Refused { refused, pull } => (refused, Some(*pull)),
            _ => return String::new(),
        },
        _ => return "\n`gate resume` goes on with it\n".to_owned(),
    };
    let mut text = "\n".to_owned();
    if let Some(pull) = pull {
        text += &format!("pull request {pull} says more\n");
    }
    for step in words::going_on(facts, refused, str::to_owned) {
        text += &format!("- {step}\n");
    }
    text
}
