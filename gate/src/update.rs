//! Updating `flake.lock`: all inputs at once, and each on its own where one is broken.
//!
//! It knows Nix and the lock file, and decides nothing about a candidate. An input that Nix could
//! not fetch, or for which it silently falls back on an old copy, is named.

use std::{path::PathBuf, time::Duration};

use flake::process::{self, Finished};
use proto::{Revision, gate::BrokenInput};
use serde::Deserialize;
use tokio::process::Command;

use crate::checkout::{Checkout, CheckoutError, LOCK};

/// What to do about an input that cannot be updated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum OnBrokenInput {
    /// The update fails.
    #[default]
    Fail,
    /// It keeps what it is locked to, and that is said.
    Skip,
}

/// What an update came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Updated {
    /// The new lock file, and the inputs that were left as they were.
    Lock { lock: String, kept: Vec<BrokenInput> },
    /// These inputs cannot be updated.
    Broken(Vec<BrokenInput>),
}

/// An update that failed as a whole. Each message goes on after "failed to …".
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    /// The clone.
    #[error(transparent)]
    Checkout(#[from] CheckoutError),
    /// Nix, and no single input is to blame.
    #[error("update {LOCK}: {0}")]
    Nix(String),
    /// The lock file was not there, or is too large for a record.
    #[error("read {}: {reason}", path.display())]
    Lock {
        /// Where.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// Fetching every input of a large flake over a slow line.
const UPDATE_MAX: Duration = Duration::from_secs(30 * 60);
/// The record of a gate run holds two lock files and must stay below the broker's 1 MiB.
const LOCK_BYTES_MAX: u64 = 256 << 10;
/// Words of Nix and of the fetchers below it for "this is an old copy".
const STALE: [&str; 4] = [
    "using expired cached",
    "using cached version",
    "continuing with the most recent version",
    "using stale",
];

/// Updates the lock file of `base`. The working tree of the checkout is used up.
pub(crate) async fn update(
    checkout: &Checkout,
    base: &Revision,
    old_lock: &str,
    on_broken: OnBrokenInput,
) -> Result<Updated, UpdateError> {
    checkout.check_out(base).await?;
    let all = nix(checkout, &["flake", "update"]).await?;
    if trouble(&all).is_none() {
        return Ok(Updated::Lock { lock: read(checkout)?, kept: Vec::new() });
    }
    // Which input is it? Each is asked on its own; those that can be updated are.
    checkout.check_out(base).await?;
    let (mut lock, mut broken) = (old_lock.to_owned(), Vec::new());
    let inputs = direct_inputs(old_lock);
    for input in &inputs {
        let one = nix(checkout, &["flake", "lock", "--update-input", input]).await?;
        match trouble(&one) {
            None => lock = read(checkout)?,
            Some(message) => {
                restore(checkout, &lock)?;
                broken.push(BrokenInput { input: input.clone(), message });
            }
        }
    }
    Ok(match (broken.is_empty(), on_broken) {
        // Nobody to blame: a moment's trouble that is over, or the flake as a whole.
        (true, _) if inputs.is_empty() => {
            return Err(UpdateError::Nix(trouble(&all).unwrap_or_default()));
        }
        (true, _) => Updated::Lock { lock, kept: broken },
        (false, OnBrokenInput::Skip) if broken.len() < inputs.len() => {
            Updated::Lock { lock, kept: broken }
        }
        (false, _) => Updated::Broken(broken),
    })
}

async fn nix(checkout: &Checkout, args: &[&str]) -> Result<Finished, UpdateError> {
    let mut command = Command::new("nix");
    command
        .current_dir(checkout.path())
        .args(["--extra-experimental-features", "nix-command flakes"])
        .args(args)
        // What was looked up within the last hour is looked up again.
        .args(["--refresh", "--no-accept-flake-config"]);
    flake::unattended(&mut command, checkout.access());
    let done = process::finished("nix", &mut command, UPDATE_MAX).await;
    done.map_err(|error| UpdateError::Nix(error.to_string()))
}

/// What keeps an answer from being good, in one line.
fn trouble(done: &Finished) -> Option<String> {
    const MESSAGE_CHARS_MAX: usize = 400;
    let stale = |line: &&str| STALE.iter().any(|words| line.contains(words));
    let failed = |line: &&str| line.starts_with("error:") || line.starts_with("fatal:");
    let mut lines: Vec<&str> = done.stderr.lines().map(str::trim).filter(stale).collect();
    if lines.is_empty() && done.status.success() {
        return None;
    }
    lines.extend(done.stderr.lines().map(str::trim).filter(failed));
    let message = match lines.is_empty() {
        true => flake::git::last_lines(&done.stderr),
        false => lines.join("; "),
    };
    Some(telemetry::plain(&message).chars().take(MESSAGE_CHARS_MAX).collect())
}

/// The inputs of the flake itself, as its lock file names them.
fn direct_inputs(lock: &str) -> Vec<String> {
    #[derive(Deserialize)]
    struct Lock {
        root: String,
        nodes: std::collections::BTreeMap<String, Node>,
    }
    #[derive(Deserialize)]
    struct Node {
        #[serde(default)]
        inputs: std::collections::BTreeMap<String, serde::de::IgnoredAny>,
    }
    let Ok(lock) = serde_json::from_str::<Lock>(lock) else { return Vec::new() };
    let inputs = lock.nodes.get(&lock.root).map(|root| root.inputs.keys().cloned());
    // A name that Nix would read as an option is no argument.
    let names = inputs.into_iter().flatten().filter(|name| !name.starts_with('-'));
    names.collect()
}

fn read(checkout: &Checkout) -> Result<String, UpdateError> {
    let path = checkout.path().join(LOCK);
    let failed = |reason: String| UpdateError::Lock { path: path.clone(), reason };
    let size = std::fs::metadata(&path).map_err(|error| failed(error.to_string()))?.len();
    if size > LOCK_BYTES_MAX {
        return Err(failed(format!("it has {size} bytes, and {LOCK_BYTES_MAX} at most are taken")));
    }
    std::fs::read_to_string(&path).map_err(|error| failed(error.to_string()))
}

fn restore(checkout: &Checkout, lock: &str) -> Result<(), UpdateError> {
    let path = checkout.path().join(LOCK);
    std::fs::write(&path, lock)
        .map_err(|error| UpdateError::Lock { path, reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    fn done(code: i32, stderr: &str) -> Finished {
        let status = std::process::ExitStatus::from_raw(code << 8);
        Finished { status, stdout: Vec::new(), stderr: stderr.to_owned() }
    }

    #[test]
    fn an_old_copy_is_trouble_though_nix_calls_it_a_success() {
        assert_eq!(trouble(&done(0, "warning: Git tree '/x' is dirty\n")), None);
        let stale = "warning: could not download; using expired cached ref of 'x'\n";
        let heard = trouble(&done(0, stale)).expect("trouble");
        assert!(heard.contains("using expired cached ref"), "{heard}");
        let failed = "fatal: no such repository\nerror: program 'git' failed\n(use '--show-trace')";
        let heard = trouble(&done(1, failed)).expect("trouble");
        assert_eq!(heard, "fatal: no such repository; error: program 'git' failed");
        assert_eq!(trouble(&done(1, "")), Some(String::new()));
    }

    #[test]
    fn the_inputs_are_those_of_the_root() {
        let lock = r#"{"version": 7, "root": "root", "nodes": {
            "root": {"inputs": {"nixpkgs": "nixpkgs_2", "-x": "a", "b": ["nixpkgs"]}},
            "a": {"inputs": {"c": "c"}}}}"#;
        assert_eq!(direct_inputs(lock), ["b", "nixpkgs"]);
        assert_eq!(direct_inputs("{}"), Vec::<String>::new());
        assert_eq!(direct_inputs("not json"), Vec::<String>::new());
    }
}
