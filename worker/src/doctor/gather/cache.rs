//! Facts about the cache: the trial build is pushed as a result would be, and taken away again
//! where that can be done.

use std::{fs, path::Path};

use super::{NETWORK_WALL, ask, looked, nix::Trial};
use crate::{
    build::{There, there},
    config::{Cache, CacheUrl},
    doctor::{
        cache::{PushStep, PushTrouble, Pushed},
        trouble::Trouble,
    },
    nix::{
        command::{Nix, StorePath},
        process::{Invocation, Supervisor},
    },
};

/// Pushes the trial build, as `build::push` does with results.
pub(in crate::doctor) async fn push(
    supervisor: &Supervisor,
    nix: &Nix,
    cache: &Cache,
    trial: &Trial,
) -> Result<Pushed, PushTrouble> {
    let (to, key, out) = (&cache.push_to, cache.sign_key_file.as_deref(), &trial.out);
    let must = async |step, call: Invocation| {
        let answer = ask(supervisor, &call, NETWORK_WALL).await;
        let said = answer.and_then(|answer| answer.good());
        said.map_err(|trouble| PushTrouble { step, trouble })
    };
    let name = match key {
        Some(key) => Some(key_name(key).await?),
        None => None,
    };
    if let (Some(key), false) = (key, to.is_binary_cache()) {
        must(PushStep::Sign, nix.sign(None, key, out)).await?;
    }
    must(PushStep::Copy, nix.copy(to, key, out)).await?;
    let seen = must(PushStep::Verify, nix.path_info(to, out)).await;
    let deleted = deleted(supervisor, nix, to, out).await;
    match there(&seen?, out, name.as_deref()) {
        There::Yes => Ok(Pushed { signed: name.is_some(), deleted }),
        There::Unsigned => Ok(Pushed { signed: false, deleted }),
        There::No => {
            let trouble = Trouble::Failed("it was copied, and is not there".to_owned());
            Err(PushTrouble { step: PushStep::Verify, trouble })
        }
    }
}

/// The name before the colon in a secret key's file; the rest is let go.
async fn key_name(key: &Path) -> Result<String, PushTrouble> {
    let file = key.to_owned();
    let read = looked(move || {
        let text = fs::read_to_string(file).map_err(|error| error.to_string())?;
        let name = text.split_once(':').map(|(name, _)| name.trim().to_owned());
        name.filter(|name| !name.is_empty()).ok_or_else(|| "it holds no key".to_owned())
    });
    let name = read.await.and_then(|name| name.map_err(Trouble::Failed));
    name.map_err(|trouble| {
        let trouble = Trouble::Failed(format!("{}: {trouble}", key.display()));
        PushTrouble { step: PushStep::Sign, trouble }
    })
}

/// Another Nix deletes what nothing roots. From a cache of files Nix deletes nothing, but files of
/// ours can be removed.
async fn deleted(supervisor: &Supervisor, nix: &Nix, cache: &CacheUrl, out: &StorePath) -> bool {
    if !cache.is_binary_cache() {
        let answer = ask(supervisor, &nix.delete_from(cache, out), NETWORK_WALL).await;
        return answer.is_ok_and(|answer| answer.success);
    }
    let Some(place) = cache.as_str().strip_prefix("file://") else { return false };
    let dir = place.split('?').next().unwrap_or_default().to_owned();
    let out = out.as_str().to_owned();
    looked(move || remove_from(Path::new(&dir), &out).is_some()).await.unwrap_or(false)
}

/// Removes a path from a cache of files: its description and the archive that this names.
fn remove_from(dir: &Path, out: &str) -> Option<()> {
    let hash = out.strip_prefix("/nix/store/")?.split('-').next()?;
    let info = dir.join(format!("{hash}.narinfo"));
    let text = fs::read_to_string(&info).ok()?;
    let archive = text.lines().find_map(|line| line.strip_prefix("URL: "))?;
    let inside = archive.starts_with("nar/") && !archive.contains("..");
    fs::remove_file(info).ok()?;
    inside.then(|| fs::remove_file(dir.join(archive)).ok()).flatten()
}
