//! Pages for `man`, made from a command line. What help has below its options is set here line by
//! line, since examples are there to be copied.

use std::io;

use clap::Command;
use clap_mangen::Man;

use super::EXIT_CODES_TITLE;

/// How examples begin in help.
const EXAMPLES_TITLE: &str = "Examples:\n";
/// What each part that is rendered by itself begins with; a page needs it once.
const PREAMBLE: &str = ".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n";

/// File names and texts, that of the program first.
pub(super) fn pages(command: &Command) -> io::Result<Vec<(String, String)>> {
    let mut command = without_help(command.clone());
    command.build();
    let version = command.get_version().unwrap_or_default();
    let source = format!("nix-build-pool {version}").trim_end().to_owned();
    let mut pages = Vec::new();
    page(command, &source, &mut pages)?;
    Ok(pages)
}

/// `help` says nothing that has no page of its own.
fn without_help(command: Command) -> Command {
    command.disable_help_subcommand(true).mut_subcommands(without_help)
}

/// The page of a command and those of the ones below it. Built, each knows its name with dashes,
/// which is what `man` is asked for.
fn page(command: Command, source: &str, pages: &mut Vec<(String, String)>) -> io::Result<()> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let below: Vec<Command> =
        command.get_subcommands().filter(|below| !below.is_hide_set()).cloned().collect();
    let (synopsis, [notes, rest]) = (synopsis(&command), below_options(&command));
    let (commands, title) = (!below.is_empty(), name.to_uppercase());
    let man = Man::new(command).section("1");

    // Without a date, which would be that of a build. The library leaves it out unquoted, and what
    // follows takes its place.
    let mut text = format!("{PREAMBLE}.TH {title} 1 \"\" \"{source}\" \"nix-build-pool\"\n");
    let mut add = |part: String| text.push_str(&part.replace(PREAMBLE, ""));
    add(part(|to| man.render_name_section(to))?);
    add(synopsis);
    add(part(|to| man.render_description_section(to))?);
    add(notes);
    add(part(|to| man.render_options_section(to))?);
    if commands {
        add(part(|to| man.render_subcommands_section(to))?);
    }
    add(rest);
    pages.push((format!("{name}.1"), text));
    below.into_iter().try_for_each(|below| page(below, source, pages))
}

fn part(render: impl FnOnce(&mut dyn io::Write) -> io::Result<()>) -> io::Result<String> {
    let mut part = Vec::new();
    render(&mut part)?;
    Ok(String::from_utf8_lossy(&part).into_owned())
}

/// As help has it, which knows what must be given with what.
fn synopsis(command: &Command) -> String {
    let usage = command.clone().render_usage().to_string();
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name());
    let line = |line: &str| {
        let line = line.trim_start().trim_start_matches("Usage: ");
        match line.strip_prefix(name) {
            Some(rest) => format!("\\fB{}\\fR{}", escaped(name), escaped(rest)),
            None => escaped(line),
        }
    };
    let lines: Vec<String> = usage.lines().map(line).collect();
    format!(".SH SYNOPSIS\n.na\n{}\n.ad\n", lines.join("\n.br\n"))
}

/// What help has below the options: notes, and examples with the exit codes.
fn below_options(command: &Command) -> [String; 2] {
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let (mut notes, mut rest) = (String::new(), String::new());
    for paragraph in help.split("\n\n").filter(|it| !it.is_empty()) {
        if let Some(examples) = paragraph.strip_prefix(EXAMPLES_TITLE) {
            let line = |line: &str| escaped(line.strip_prefix("  ").unwrap_or(line)) + "\n";
            let lines: String = examples.lines().map(line).collect();
            rest.push_str(&format!(".SH EXAMPLES\n.nf\n{lines}.fi\n"));
        } else if let Some(codes) = paragraph.strip_prefix(EXIT_CODES_TITLE) {
            let line = |line: &str| escaped(line.trim_start()).replacen("  ", " \\- ", 1);
            let lines: Vec<String> = codes.lines().map(line).collect();
            rest.push_str(&format!(".SH \"EXIT STATUS\"\n.na\n{}\n.ad\n", lines.join("\n.br\n")));
        } else {
            notes.push_str(&format!(".PP\n{}\n", escaped(paragraph)));
        }
    }
    [notes, rest]
}

/// One or more lines in which a roff sees no order, and which come out as they went in.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '.' if escaped.is_empty() || escaped.ends_with('\n') => escaped.push_str("\\&."),
            '\\' => escaped.push_str("\\e"),
            '-' => escaped.push_str("\\-"),
            '\'' => escaped.push_str("\\(aq"),
            '`' => escaped.push_str("\\(ga"),
            '~' => escaped.push_str("\\(ti"),
            '^' => escaped.push_str("\\(ha"),
            c => escaped.push(c),
        }
    }
    escaped
}
