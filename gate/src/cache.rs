//! Whether store paths are where hosts get them from: in the cache, and signed.
//!
//! It asks Nix about a store and copies nothing.

use std::{collections::BTreeMap, time::Duration};

use flake::process;
use tokio::process::Command;

use crate::config::CacheConfig;

/// A cache that gave no answer. The message goes on after "failed to …".
#[derive(Debug, thiserror::Error)]
#[error("ask the cache {url}: {reason}")]
pub struct CacheError {
    /// Which.
    url: String,
    /// What Nix said.
    reason: String,
}

/// One question about some hundred paths.
const ANSWER_MAX: Duration = Duration::from_secs(120);
/// Paths of one question: a command line holds them.
const AT_ONCE: usize = 100;

/// Those of the paths that the cache does not have or that are not signed by its key, with the
/// reason. None of them is a reason to blame a flake.
pub(crate) async fn absent(
    cache: &CacheConfig,
    paths: &[&str],
) -> Result<BTreeMap<String, String>, CacheError> {
    let mut absent = BTreeMap::new();
    for some in paths.chunks(AT_ONCE) {
        if ask(cache, some).await?.is_none() {
            continue;
        }
        for path in some {
            if let Some(why) = ask(cache, &[path]).await? {
                absent.insert((*path).to_owned(), why);
            }
        }
    }
    Ok(absent)
}

/// None: all of them are there.
async fn ask(cache: &CacheConfig, paths: &[&str]) -> Result<Option<String>, CacheError> {
    let failed = |reason: String| CacheError { url: cache.url.clone(), reason };
    let mut command = nix();
    command.args(["path-info", "--store", &cache.url]).args(paths);
    let done = process::finished("nix", &mut command, ANSWER_MAX).await;
    let done = done.map_err(|error| failed(error.to_string()))?;
    if !done.status.success() {
        let said = flake::git::last_lines(&done.stderr);
        return match said.contains("is not valid") {
            true => Ok(Some(format!("{} does not have it", cache.url))),
            false => Err(failed(said)),
        };
    }
    let Some(key) = &cache.public_key else { return Ok(None) };
    let mut command = nix();
    command
        .args(["store", "verify", "--store", &cache.url, "--no-contents", "--sigs-needed", "1"])
        .args(["--option", "trusted-public-keys", key])
        .args(paths);
    let done = process::finished("nix", &mut command, ANSWER_MAX).await;
    let done = done.map_err(|error| failed(error.to_string()))?;
    Ok(match done.status.code() {
        Some(0) => None,
        // A sum of 1 (corrupt), 2 (untrusted) and 4 (not checked).
        Some(code) if code & 2 != 0 => Some(format!("{} has it unsigned", cache.url)),
        _ => return Err(failed(flake::git::last_lines(&done.stderr))),
    })
}

fn nix() -> Command {
    let mut nix = Command::new("nix");
    nix.args(["--extra-experimental-features", "nix-command", "--no-accept-flake-config"]);
    flake::unattended(&mut nix, &flake::Access::default());
    nix
}
