//! `worker roots`: what holds results in the store, and what holds them no longer; and the task of a
//! running worker that lets go of what has expired. Which those are `nix::retention` says.

mod keeper;

use options::{Cell, Console, Page, Tone, head, short};
use proto::time::millis;
use serde_json::{Value, json};
use telemetry::plain;
use tokio_util::sync::CancellationToken;

pub(crate) use self::keeper::Keeper;
use crate::{
    config::Config,
    error::Error,
    nix::retention::{Fate, Root, shown_branch},
};

/// `worker roots list`: one root a line, with what becomes of it.
///
/// # Errors
/// When the folder cannot be read.
pub(crate) fn list(config: &Config, json: bool, console: &Console) -> Result<(), Error> {
    let fates = Keeper::new(config, CancellationToken::new()).fates()?;
    say(&fates, json, "there are no roots", console)
}

/// `worker roots prune`: removes what is of no use any more and makes generations of what has
/// landed, or only says what that is.
///
/// # Errors
/// When a root cannot be removed, or this is not the worker's user.
pub(crate) async fn prune(
    config: &Config,
    dry_run: bool,
    json: bool,
    console: &Console,
) -> Result<(), Error> {
    let keeper = Keeper::new(config, CancellationToken::new());
    keeper.must_be_owner()?;
    say(&keeper.prune(dry_run).await?, json, "nothing to remove", console)
}

/// A line a root.
fn table(fates: &[(Root, Fate)], page: &Page) -> String {
    let mut rows = vec![head(["REPO", "HOST", "BRANCH", "REVISION", "PATH", "BECOMES"])];
    rows.extend(fates.iter().map(|(root, fate)| {
        [
            plain(&root.repo).as_ref().into(),
            plain(&root.host).as_ref().into(),
            plain(&shown_branch(&root.branch)).as_ref().into(),
            plain(root.commit()).as_ref().into(),
            plain(&root.target.to_string_lossy()).as_ref().into(),
            becomes(*fate),
        ]
    }));
    page.table(&rows, &["PATH", "REPO", "REVISION"])
}

fn becomes(fate: Fate) -> Cell {
    match fate {
        Fate::Generation => Cell::toned("generation", Tone::Good),
        Fate::Candidate(left) => format!("candidate for {}", short(left)).into(),
        Fate::Unknown => Cell::toned("kept: its repo is not in the config", Tone::Odd),
        Fate::Surplus => "surplus".into(),
        Fate::Expired => "expired candidate".into(),
        Fate::Landed => "landed candidate, so now a generation".into(),
        Fate::Unasked => "expired candidate, kept until it is known whether it landed".into(),
    }
}

/// The same as an object.
fn object(root: &Root, fate: Fate) -> Value {
    let (fate, left) = match fate {
        Fate::Generation => ("generation", None),
        Fate::Candidate(left) => ("candidate", Some(left)),
        Fate::Unknown => ("unknown-repo", None),
        Fate::Surplus => ("surplus", None),
        Fate::Expired => ("expired", None),
        Fate::Landed => ("landed", None),
        Fate::Unasked => ("undecided", None),
    };
    json!({
        "repo": root.repo,
        "host": root.host,
        "branch": shown_branch(&root.branch),
        "revision": root.commit().to_string(),
        "out_path": root.target,
        "fate": fate,
        "left_ms": left.map(millis),
    })
}

/// A reader that has seen enough is no failure.
fn say(fates: &[(Root, Fate)], json: bool, nothing: &str, console: &Console) -> Result<(), Error> {
    if fates.is_empty() && !json {
        console.say(nothing);
        return Ok(());
    }
    let text = match json {
        true => {
            let all: Vec<Value> = fates.iter().map(|(root, fate)| object(root, *fate)).collect();
            Value::from(all).to_string() + "\n"
        }
        false => table(fates, &Page::of(console)),
    };
    console.data(&text).map_err(Error::Output)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use proto::Timestamp;

    use super::*;

    fn fates() -> Vec<(Root, Fate)> {
        let root = |branch: &str| Root {
            repo: "homelab".into(),
            host: "monitoring01".into(),
            branch: branch.into(),
            number: 1,
            link: format!("/roots/homelab/monitoring01/{branch}/1-0123456789ab").into(),
            target: "/nix/store/0000000000000000000000000000000a-nixos-system".into(),
            made: SystemTime::UNIX_EPOCH,
        };
        let left = Fate::Candidate(Duration::from_secs(167 * 3600));
        vec![(root("master"), Fate::Generation), (root("flake-update%2F1"), left)]
    }

    #[test]
    fn each_root_has_a_line_that_fits_the_terminal() {
        let page = |width| Page { width, utf8: false, colours: false, now: Timestamp(0) };
        let text = table(&fates(), &page(None));
        assert!(text.contains("0123456789ab") && text.contains("candidate for 6d 23h"), "{text}");
        for width in [40, 60, 72, 80, 120] {
            let text = table(&fates(), &page(Some(width)));
            assert!(text.lines().all(|line| line.len() <= width), "{width}\n{text}");
            assert!(text.contains("generation") && text.contains("candidate"), "{text}");
        }
    }

    #[test]
    fn the_objects_are_documented() {
        for (root, fate) in fates() {
            options::check_documented("worker roots list", &object(&root, fate));
        }
    }
}
