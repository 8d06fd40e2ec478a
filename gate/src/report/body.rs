//! The pull request of a candidate that is not landed: title and body.
//!
//! A body has a limit in bytes, so its parts are made in the order of their importance, and each
//! takes what it needs of the room that is left. They stand in the order of reading. What found no
//! room is named at the end.

use proto::gate::{HostStanding, Refused};

use super::{
    Facts,
    markdown::{code, fence},
    units::{age, counted, date, grown, listed, short},
    view::{ClosureGroup, Group, HostRow, Subject, View},
    words,
};
use crate::lock::{self, Change, InputChange, Locked};

/// Longest body. GitHub refuses more than 65,536 characters; Gitea and Forgejo take more, but a
/// reader does not.
pub(crate) const BODY_BYTES_MAX: usize = 60_000;
/// Kept free for the headings and for the line that says what was cut.
const FRAME_BYTES: usize = 2_000;
/// Shares of parts that many hosts would fill the whole body with.
const FAILURES_BYTES_MAX: usize = 16_000;
const ROWS_BYTES_MAX: usize = 12_000;
const INPUTS_BYTES_MAX: usize = 10_000;
const EXCLUDED_BYTES_MAX: usize = 1_500;
/// Least room for the log of one failure, while there is room.
const LOG_BYTES_MIN: usize = 10_000;
/// Fewer lines of a longer log explain nothing.
const LOG_LINES_MIN: usize = 10;
/// Built hosts that are shown without a click.
const BUILT_SHOWN_MAX: usize = 10;

/// The title: what it is about and what became of it.
pub(crate) fn title(facts: &Facts<'_>, refused: &Refused) -> String {
    let view = View::of(facts, Subject::of_refused(refused));
    format!("{}: {}", words::subject(facts), words::briefly(facts, refused, &view))
}

/// The body, in Markdown; never longer than [`BODY_BYTES_MAX`].
pub(crate) fn body(facts: &Facts<'_>, refused: &Refused) -> String {
    let view = View::of(facts, Subject::of_refused(refused));
    let mut room = Room { left: BODY_BYTES_MAX - FRAME_BYTES, cut: Vec::new() };
    let verdict = room.always(intro(facts, refused, &view));
    let going_on = room.always(going_on(facts, refused));
    let heads = view.groups.iter().map(failure);
    let heads = room.fill(heads, FAILURES_BYTES_MAX, "failure");
    let inputs = inputs(facts, &view, &mut room);
    let (built, unbuilt): (Vec<_>, Vec<_>) =
        view.hosts.iter().partition(|host| host.standing == HostStanding::Built);
    let mut rows =
        room.fill(unbuilt.into_iter().map(row), ROWS_BYTES_MAX, "row of hosts that are not built");
    let collapsed = built.len() > BUILT_SHOWN_MAX;
    if !collapsed {
        rows.extend(room.fill(built.iter().map(|host| row(host)), ROWS_BYTES_MAX, "built host"));
    }
    let excluded = view.excluded.iter().map(|label| code(label));
    let excluded = room.fill(excluded, EXCLUDED_BYTES_MAX, "excluded host");
    let failures = logs(&view.groups, heads, &mut room);
    let built = if collapsed { built } else { Vec::new() };
    let built = room.fill(built.into_iter().map(row), ROWS_BYTES_MAX, "built host");
    let all = room.left;
    let closures = room.fill(view.closures.iter().map(closure), all, "closure difference");
    let mut text = verdict;
    text += &hosts(&rows, &built, &excluded);
    section(&mut text, "Failures", &failures.concat());
    section(&mut text, "Inputs", &inputs);
    section(&mut text, "Closures", &closures.concat());
    section(&mut text, "How to go on", &going_on);
    if !room.cut.is_empty() {
        text += &format!("\n*Left out for length: {}.*\n", room.cut.join(", "));
    }
    text
}

fn section(text: &mut String, heading: &str, content: &str) {
    if !content.is_empty() {
        *text += &format!("\n### {heading}\n\n{}\n", content.trim_matches('\n'));
    }
}

/// The room that is left in a body.
struct Room {
    left: usize,
    /// What found none.
    cut: Vec<String>,
}

impl Room {
    /// Text that must be there. Its foreign parts are short, so that it cannot fill a body.
    fn always(&mut self, text: String) -> String {
        self.left = self.left.saturating_sub(text.len());
        text
    }

    /// As many of the items as there is room for, from the first on.
    fn fill(
        &mut self,
        items: impl Iterator<Item = String>,
        bytes_max: usize,
        what: &str,
    ) -> Vec<String> {
        let mut share = self.left.min(bytes_max);
        let (mut filled, mut cut) = (Vec::new(), 0);
        for item in items {
            // A separator may follow each.
            let bytes = item.len() + 2;
            if cut == 0 && bytes <= share {
                share -= bytes;
                self.left -= bytes;
                filled.push(item);
            } else {
                cut += 1;
            }
        }
        if cut > 0 {
            self.cut.push(counted(cut, what));
        }
        filled
    }
}

fn intro(facts: &Facts<'_>, refused: &Refused, view: &View) -> String {
    let verdict = words::verdict(facts, refused, view, code);
    let (run, candidate) = (facts.run, &refused.candidate);
    let foreign = super::foreign::Foreign { scrub: &facts.site.scrub };
    let name = |text: &str| code(&foreign.name(text));
    let web = facts.site.web.as_deref();
    let link = web.and_then(|web| {
        lock::compare_on(web, candidate.base.commit(), candidate.revision.commit())
    });
    let commits = match link {
        Some(link) => format!(" ([compare]({link}))"),
        None => String::new(),
    };
    let mut text = format!(
        "**{verdict}**\n\nCommit {} of branch {}, on {} at {}{commits}. Gate run {}, {}.\n",
        code(candidate.revision.short()),
        name(&candidate.branch),
        name(&run.base),
        code(candidate.base.short()),
        code(&run.id.to_string()),
        date(run.at.0 / 1000),
    );
    let external = refused.why.tested().map_or(&[][..], |tested| &tested.trial.external);
    // There are as many as the config names.
    for external in external.iter().take(20) {
        let (repo, at) = (name(external.repo.as_str()), code(external.revision.short()));
        text += &format!("\nBuilt against it: {repo} at {at}.\n");
    }
    text
}

fn going_on(facts: &Facts<'_>, refused: &Refused) -> String {
    let steps = words::going_on(facts, refused, code);
    steps.iter().enumerate().map(|(n, step)| format!("{}. {step}\n", n + 1)).collect()
}

fn hosts(rows: &[String], built: &[String], excluded: &[String]) -> String {
    const HEAD: &str = "| host | outcome | attempts | time | marks | workers |\n\
                        |---|---|---|---|---|---|\n";
    let mut text = String::new();
    if !rows.is_empty() {
        text += &format!("{HEAD}{}", rows.concat());
    }
    if !built.is_empty() {
        let count = counted(built.len(), "built host");
        text += &format!(
            "\n<details><summary>{count}</summary>\n\n{HEAD}{}\n</details>\n",
            built.concat()
        );
    }
    if !excluded.is_empty() {
        text += &format!("\nExcluded by the config, and not built: {}.\n", excluded.join(", "));
    }
    let mut whole = String::new();
    section(&mut whole, "Hosts", &text);
    whole
}

fn row(host: &HostRow) -> String {
    let marks = host.marks.join(", ");
    let workers = if host.workers.is_empty() { String::new() } else { code(&host.workers) };
    let time = if host.attempts == 0 { String::new() } else { short(host.build_ms) };
    let (label, outcome) = (code(&host.label), code(&host.outcome));
    format!("| {label} | {outcome} | {} | {time} | {marks} | {workers} |\n", host.attempts)
}

/// What is known of a failure, without its log.
fn failure(group: &Group) -> String {
    let hosts = listed(&group.hosts, words::NAMED_MAX, code);
    let what = match &group.leaf {
        Some(leaf) => code(leaf),
        None => code(&group.outcome),
    };
    let marks = match group.marks.join(", ") {
        marks if marks.is_empty() => marks,
        marks => format!(" ({marks})"),
    };
    let mut text = format!("**{what}**{marks} keeps {hosts} from being built");
    text += &match (&group.leaf, group.message.as_str()) {
        (_, "") => ".\n".to_owned(),
        (Some(_), message) => format!(": {}, {}\n", code(&group.outcome), code(message)),
        (None, message) => format!(": {}\n", code(message)),
    };
    if let Some(command) = &group.command {
        text += &format!("\nTo see it fail:\n\n{}", fence([command.as_str()]));
    }
    if !group.attachments.is_empty() {
        let logs = listed(&group.attachments, words::NAMED_MAX, code);
        text += &format!("\nWhole log, attached below: {logs}.\n");
    }
    text
}

/// The failures that found room, each with as much of its log as there is room for. The first ones
/// get theirs first: a hundred logs of two lines would help nobody.
fn logs(groups: &[Group], heads: Vec<String>, room: &mut Room) -> Vec<String> {
    let (mut failures, mut cut, shown) = (Vec::new(), 0, heads.len());
    for (index, (group, head)) in groups.iter().zip(heads).enumerate() {
        let share = (room.left / (shown - index)).max(LOG_BYTES_MIN).min(room.left);
        let log = log(&group.log, share);
        cut += usize::from(log.is_none() && !group.log.is_empty());
        let log = log.unwrap_or_default();
        room.left = room.left.saturating_sub(log.len());
        failures.push(head + &log + "\n");
    }
    if cut > 0 {
        room.cut.push(counted(cut, "log"));
    }
    failures
}

/// The last lines of a log, as many as fit.
fn log(lines: &[String], bytes_max: usize) -> Option<String> {
    // A fence is longer than the longest run of backticks in it, which is no longer than a line.
    const AROUND_BYTES: usize = 200;
    let ticks = lines.iter().map(|line| line.matches('`').count()).max().unwrap_or(0);
    let mut left = bytes_max.checked_sub(AROUND_BYTES + 2 * ticks)?;
    let fits = |line: &&String| {
        let room = left.checked_sub(line.len() + 1);
        left = room.unwrap_or(0);
        room.is_some()
    };
    let fitting = lines.iter().rev().take_while(fits).count();
    if fitting == 0 || fitting < lines.len().min(LOG_LINES_MIN) {
        return None;
    }
    let shown = lines[lines.len() - fitting..].iter().map(String::as_str);
    let summary = format!("the last {} of its log", counted(fitting, "line"));
    Some(format!("\n<details><summary>{summary}</summary>\n\n{}\n</details>\n", fence(shown)))
}

fn inputs(facts: &Facts<'_>, view: &View, room: &mut Room) -> String {
    const HEAD: &str = "| input | old | new | age | |\n|---|---|---|---|---|\n";
    let inputs = &view.inputs;
    let kept = inputs.kept.iter().map(|(input, message)| {
        format!("- {} could not be updated and is kept as it was: {}\n", code(input), code(message))
    });
    let kept = room.fill(kept, INPUTS_BYTES_MAX, "kept input");
    let rows = inputs.changes.iter().map(|it| input(facts, it));
    let rows = room.fill(rows, INPUTS_BYTES_MAX, "changed input");
    if inputs.more > 0 {
        room.cut.push(counted(inputs.more, "more changed input"));
    }
    let mut text = String::new();
    if let Some(error) = &inputs.unreadable {
        text += &room.always(format!("The changes cannot be told: {}.\n\n", code(error)));
    }
    if !rows.is_empty() {
        text += &format!("{HEAD}{}", rows.concat());
    }
    if !kept.is_empty() {
        text += &format!("\n{}", kept.concat());
    }
    text
}

fn input(facts: &Facts<'_>, input: &InputChange) -> String {
    let commit = |locked: &Locked| match locked.modified {
        Some(at) => format!("{} of {}", code(locked.short()), date(at)),
        None => code(locked.short()),
    };
    let old = |it: &Locked| it.modified.map(|at| age(at, facts.now)).unwrap_or_default();
    let path = code(&input.path);
    match &input.change {
        Change::Updated { old: before, new, link } => {
            let link = link.as_ref().map(|link| format!("[compare]({link})")).unwrap_or_default();
            format!("| {path} | {} | {} | {} | {link} |\n", commit(before), commit(new), old(new))
        }
        Change::Added(new) => format!("| {path} | | {} | {} | added |\n", commit(new), old(new)),
        Change::Removed(before) => format!("| {path} | {} | | | removed |\n", commit(before)),
    }
}

/// How closures of hosts that are built differ from their last ones.
fn closure(group: &ClosureGroup) -> String {
    /// Longest difference that is shown.
    const LINES_MAX: usize = 60;
    let hosts = listed(&group.hosts, words::NAMED_MAX, code);
    let head = format!("{hosts}: {}\n\n", grown(group.bytes));
    let shown = group.lines.iter().take(LINES_MAX).map(String::as_str);
    let all = group.lines.len().saturating_add(group.more);
    if all == 0 {
        return head;
    }
    let more = all - group.lines.len().min(LINES_MAX);
    let more = if more > 0 { format!("\n{}\n", counted(more, "more line")) } else { String::new() };
    let lines = if group.lines.is_empty() { String::new() } else { fence(shown) };
    let summary = counted(all, "changed line");
    format!("{head}<details><summary>{summary}</summary>\n\n{lines}{more}\n</details>\n\n")
}
