//! The message of an update's commit: which inputs changed, as the lock files say.

use proto::gate::BrokenInput;

use super::{foreign::NAME_CHARS_MAX, units::date, words::bare_up_to};
use crate::lock::{Change, InputChange, Locked, changes};

/// Inputs that are listed; a flake with more has its lock file to read.
const INPUTS_MAX: usize = 100;

/// The message. Names of inputs of inputs are other people's, and a forge that finds `closes #1` in
/// a landed commit does so: of a name only harmless characters are shown.
pub(crate) fn message(old: &str, new: &str, kept: &[BrokenInput]) -> String {
    let mut message = "flake.lock: update\n".to_owned();
    let changed = changes(old, new).unwrap_or_default();
    if !changed.is_empty() || !kept.is_empty() {
        message.push('\n');
    }
    for change in changed.iter().take(INPUTS_MAX) {
        message.push_str(&line(change));
        message.push('\n');
    }
    if changed.len() > INPUTS_MAX {
        message.push_str(&format!("and {} more\n", changed.len() - INPUTS_MAX));
    }
    for BrokenInput { input, .. } in kept.iter().take(INPUTS_MAX) {
        let input = bare_up_to(input, NAME_CHARS_MAX);
        message.push_str(&format!("{input}: kept as it was, since it could not be updated\n"));
    }
    message
}

fn line(InputChange { path, change, .. }: &InputChange) -> String {
    let path = bare_up_to(path, NAME_CHARS_MAX);
    match change {
        Change::Updated { old, new, .. } => format!("{path}: {} → {}", locked(old), locked(new)),
        Change::Added(new) => format!("{path}: added, {}", locked(new)),
        Change::Removed(_) => format!("{path}: removed"),
    }
}

fn locked(locked: &Locked) -> String {
    let day = locked.modified.map_or_else(String::new, |seconds| format!(" ({})", date(seconds)));
    format!("{}{day}", locked.short())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(rev: char) -> String {
        named("nixpkgs", rev)
    }

    fn named(input: &str, rev: char) -> String {
        let rev = rev.to_string().repeat(40);
        format!(
            r#"{{"version": 7, "root": "root", "nodes": {{
                "root": {{"inputs": {{"{input}": "n"}}}},
                "n": {{"locked": {{"type": "github", "owner": "o", "repo": "r", "rev": "{rev}",
                    "narHash": "sha256-{rev}", "lastModified": 1767225600}}}}}}}}"#
        )
    }

    #[test]
    fn the_message_names_what_changed() {
        let told = message(&lock('a'), &lock('b'), &[]);
        let expected = "flake.lock: update\n\n\
                        nixpkgs: aaaaaaaaaaaa (2026-01-01) → bbbbbbbbbbbb (2026-01-01)\n";
        assert_eq!(told, expected);
        assert_eq!(message("", "no json", &[]), "flake.lock: update\n");
    }

    #[test]
    fn what_could_not_be_updated_is_named_too() {
        let kept = ["home", "x closes #1"].map(|input| BrokenInput {
            input: input.to_owned(),
            message: "no such host".to_owned(),
        });
        let told = message(&lock('a'), &lock('b'), &kept);
        let kept = "\nhome: kept as it was, since it could not be updated\nx?closes??1: kept";
        assert!(told.contains(kept), "{told}");
    }

    #[test]
    fn a_name_means_nothing_to_a_forge() {
        let input = r"x\n\ncloses #1 @admin \u202e<!--";
        let told = message(&named(input, 'a'), &named(input, 'b'), &[]);
        assert!(told.starts_with("flake.lock: update\n\nx??closes??1??admin??"), "{told}");
        assert!(!told.contains(['#', '@', '<', '\u{202e}']), "{told}");
        assert_eq!(told.lines().count(), 3, "{told}");
    }
}
