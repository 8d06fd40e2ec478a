//! `worker roots`: what holds results in the store, and what holds them no longer; and the task of a
//! running worker that lets go of what has expired. Which those are `nix::retention` says.

mod keeper;

use std::io::{self, Write as _};

use proto::time::millis;
use serde_json::{Value, json};
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
pub(crate) fn list(config: &Config, json: bool) -> Result<(), Error> {
    say(&Keeper::new(config, CancellationToken::new()).fates()?, json)
}

/// `worker roots prune`: removes what is of no use any more and makes generations of what has
/// landed, or only says what that is.
///
/// # Errors
/// When a root cannot be removed, or this is not the worker's user.
pub(crate) async fn prune(config: &Config, dry_run: bool, json: bool) -> Result<(), Error> {
    let keeper = Keeper::new(config, CancellationToken::new());
    keeper.must_be_owner()?;
    say(&keeper.prune(dry_run).await?, json)
}

fn line(root: &Root, fate: Fate) -> String {
    let fate = match fate {
        Fate::Generation => "generation".to_owned(),
        Fate::Candidate(left) => format!("candidate for {} more hours", left.as_secs() / 3600),
        Fate::Unknown => "kept: its repo is not in the config".to_owned(),
        Fate::Surplus => "surplus".to_owned(),
        Fate::Expired => "expired candidate".to_owned(),
        Fate::Landed => "landed candidate, so now a generation".to_owned(),
        Fate::Unasked => "expired candidate, kept until it is known whether it landed".to_owned(),
    };
    let Root { repo, host, target, .. } = root;
    let (branch, commit, target) = (shown_branch(&root.branch), root.commit(), target.display());
    format!("{repo} {host} {branch} {commit} {target}: {fate}")
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

/// On stdout; a reader that has seen enough is no failure.
fn say(fates: &[(Root, Fate)], json: bool) -> Result<(), Error> {
    let text = match json {
        true => {
            let all: Vec<Value> = fates.iter().map(|(root, fate)| object(root, *fate)).collect();
            Value::from(all).to_string() + "\n"
        }
        false => fates.iter().map(|(root, fate)| line(root, *fate) + "\n").collect(),
    };
    match io::stdout().lock().write_all(telemetry::plain_lines(&text).as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(Error::Output),
    }
}
