//! What became of a candidate and how to go on, in sentences. How a name is set apart is the
//! form's own: `quote` gets text that is fit to be shown.

use proto::gate::{HostStanding, Made, Refused, Source, Why};

use super::{
    Facts,
    foreign::Foreign,
    markdown::shell,
    units::{counted, listed},
    view::{Tally, View},
};
use crate::plan::ROUNDS_MAX;

/// How a form sets a name apart.
pub(crate) type Quote = fn(&str) -> String;

/// Hosts that are named in a sentence.
pub(crate) const NAMED_MAX: usize = 20;

/// Whether it landed, and why not.
pub(crate) fn verdict(facts: &Facts<'_>, refused: &Refused, view: &View, quote: Quote) -> String {
    let foreign = Foreign { scrub: &facts.site.scrub };
    let base = quote(&foreign.name(&facts.run.base));
    let tally = &view.tally;
    match &refused.why {
        Why::Failed(_) => format!("Not landed: {}", failed(tally)),
        Why::NoHosts { message } => {
            let message = quote(&foreign.message(message));
            format!(
                "Not landed: the hosts of this commit cannot be listed, so nothing was built: {message}"
            )
        }
        Why::Denied { message, .. } => {
            let message = quote(&foreign.message(message));
            format!(
                "It passes, and is not landed: {} from exactly this commit, but the server does \
                 not let the gate move {base}: {message}",
                all_built(tally)
            )
        }
        Why::BaseMoved { to, .. } => {
            let to = quote(to.short());
            let why = match (&facts.run.source, &refused.candidate.made) {
                (Source::Update, Made::Update(_)) => {
                    format!("the gate follows it {} at most", counted(ROUNDS_MAX as usize, "time"))
                }
                _ => "the gate does not rewrite what somebody else made".to_owned(),
            };
            format!(
                "It passes, and is not landed: {} from exactly this commit, but {base} moved on \
                 to {to} meanwhile, and {why}.",
                all_built(tally)
            )
        }
    }
}

fn all_built(tally: &Tally) -> String {
    let besides = match tally.pre_existing {
        0 => String::new(),
        old => format!(" (but {old} that cannot be built at the base either)"),
    };
    match tally.required {
        1 => format!("the one required host is built{besides}"),
        required => format!("all {required} required hosts are built{besides}"),
    }
}

fn failed(tally: &Tally) -> String {
    let Tally { required, against, failed, pre_existing, open, flaky, advisory, .. } = *tally;
    let of = counted(required, "required host");
    let mut said = match against {
        0 => format!("no host of {of} decides against it, and too few have an answer."),
        _ => format!("{against} of {of} cannot be built."),
    };
    let one = |count: usize, one: &'static str, many: &'static str| {
        if count == 1 { one } else { many }
    };
    if pre_existing > 0 {
        let fail = one(pre_existing, "fails", "fail");
        let which = if against == failed { "of them" } else { "more" };
        said += &format!(" {pre_existing} {which} {fail} at the base too, in the same place.");
    }
    if open > 0 {
        let have = one(open, "has", "have");
        said += &format!(" {open} {have} no answer, which is no fault of this change.");
    }
    if flaky > 0 {
        said += &format!(" {flaky} {} built at the second try only.", one(flaky, "was", "were"));
    }
    if advisory > 0 {
        let (hosts, are) = (counted(advisory, "advisory host"), one(advisory, "is", "are"));
        said +=
            &format!(" {hosts} {are} not built, and {} not count.", one(advisory, "does", "do"));
    }
    said
}

/// What a person does next, as steps.
pub(crate) fn going_on(facts: &Facts<'_>, refused: &Refused, quote: Quote) -> Vec<String> {
    let foreign = Foreign { scrub: &facts.site.scrub };
    let base = quote(&foreign.name(&facts.run.base));
    let branch = quote(&foreign.name(&refused.candidate.branch));
    let again = quote(&again(facts, refused));
    let tries = format!("{again} tries the branch again and lands it when it passes.");
    match &refused.why {
        Why::Failed(_) | Why::NoHosts { .. } => {
            let mut steps = vec![format!("Push a fix to the branch {branch}."), tries];
            if facts.run.source == Source::Update {
                steps.push(
                    "Or leave it: a later update takes the place of this request as long as \
                     nobody has pushed to its branch."
                        .to_owned(),
                );
            }
            steps
        }
        Why::Denied { .. } => vec![allow(facts, &base, quote), tries],
        Why::BaseMoved { .. } if facts.run.source == Source::Update => vec![
            format!("Wait for the next update, or run one while nobody pushes to {base}."),
            format!("Or rebase {branch} on {base}: {tries}"),
        ],
        Why::BaseMoved { .. } => vec![format!("Rebase the branch {branch} on {base}."), tries],
    }
}

/// Which setting lets the gate push.
fn allow(facts: &Facts<'_>, base: &str, quote: Quote) -> String {
    let foreign = Foreign { scrub: &facts.site.scrub };
    let user = match &facts.site.user {
        Some(user) => format!("the user {}", quote(&foreign.name(user))),
        None => "the user whose token the gate has".to_owned(),
    };
    format!(
        "Allow {user} to push to {base}: in the repository's Settings, Branches, edit the \
         protection rule for {base}; under Push choose that listed users may push (whitelist or \
         allowlist, by the version), and add {user} to the list."
    )
}

/// The command that puts the candidate's branch through the gate.
pub(crate) fn again(facts: &Facts<'_>, refused: &Refused) -> String {
    let foreign = Foreign { scrub: &facts.site.scrub };
    let (repo, branch) = (&facts.run.repo, foreign.name(&refused.candidate.branch));
    let base = match facts.run.base.as_str() {
        "master" => String::new(),
        base => format!(" --base {}", shell(&foreign.name(base))),
    };
    format!("gate run --repo {repo}{base} --branch {}", shell(&branch))
}

/// What the candidate is, in a title.
pub(crate) fn subject(facts: &Facts<'_>) -> String {
    let foreign = Foreign { scrub: &facts.site.scrub };
    match &facts.run.source {
        Source::Update => "Update of flake.lock".to_owned(),
        Source::Branch { name } => format!("Branch {}", bare(&foreign.name(name))),
    }
}

/// Titles and commits are shown in many places and forms, and no mark-up keeps a forge from reading
/// a mention or `closes #1` in them: nothing but what every one of them takes as text.
pub(crate) fn bare(text: &str) -> String {
    const CHARS_MAX: usize = 40;
    bare_up_to(text, CHARS_MAX)
}

pub(crate) fn bare_up_to(text: &str, chars_max: usize) -> String {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '-' | '_');
    text.chars().take(chars_max).map(|c| if legal(c) { c } else { '?' }).collect()
}

/// The title's end, and the whole of a short message: why it was not landed.
pub(crate) fn briefly(facts: &Facts<'_>, refused: &Refused, view: &View) -> String {
    let tally = &view.tally;
    let foreign = Foreign { scrub: &facts.site.scrub };
    let base = bare(&foreign.name(&facts.run.base));
    match &refused.why {
        Why::Failed(_) if tally.against == 0 => {
            format!("no answer for {} of {}", tally.open, counted(tally.required, "host"))
        }
        Why::Failed(_) => {
            let named: Vec<String> = against(view).iter().map(|it| bare(it)).collect();
            let of = counted(tally.required, "host");
            format!(
                "{} of {of} cannot be built ({})",
                tally.against,
                listed(&named, 3, str::to_owned)
            )
        }
        Why::NoHosts { .. } => "its hosts cannot be listed".to_owned(),
        Why::Denied { .. } => format!("it passes, and {base} is protected against the gate"),
        Why::BaseMoved { .. } => format!("it passes, and {base} has moved on"),
    }
}

/// The hosts that decide against the candidate.
pub(crate) fn against(view: &View) -> Vec<String> {
    let against = view.hosts.iter().filter(|host| host.against);
    against.map(|host| host.label.clone()).collect()
}

/// The hosts without an answer.
pub(crate) fn open(view: &View) -> Vec<String> {
    let is_open = |it: HostStanding| matches!(it, HostStanding::Undecided | HostStanding::Missing);
    let open = view.hosts.iter().filter(|host| is_open(host.standing));
    open.map(|host| host.label.clone()).collect()
}
