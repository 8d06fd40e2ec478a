//! Facts about room: what the file systems have, and what the kept closures take.

use std::{collections::BTreeSet, fs, path::Path};

use rustix::fs::statvfs;

use super::{NETWORK_WALL, ask, looked};
use crate::{
    config::Config,
    doctor::{
        space::{Kept, PlaceFacts, Room},
        trouble::Trouble,
    },
    nix::{
        command::{Nix, StorePath},
        process::Supervisor,
    },
};

/// Arguments of one call: far below the kernel's limit of two MiB.
const PATHS_PER_CALL: usize = 5_000;

/// A host's last good build, by its record.
#[derive(Clone, Debug)]
pub(in crate::doctor) struct Newest {
    pub(in crate::doctor) out: StorePath,
    pub(in crate::doctor) closure_bytes: u64,
}

/// What admission looks at.
pub(in crate::doctor) async fn places(config: &Config) -> Vec<PlaceFacts> {
    let mut places = Vec::new();
    for place in &config.admission.places {
        let path = place.path.clone();
        places.push(PlaceFacts {
            name: place.name,
            path: place.path.clone(),
            bytes_min: place.bytes_free_min,
            inodes_min: config.admission.inodes_free_min,
            room: looked(move || room(&path)).await,
        });
    }
    places
}

fn room(path: &Path) -> Option<Room> {
    let stat = path.ancestors().find_map(|path| statvfs(path).ok())?;
    Some(Room {
        total: stat.f_blocks.saturating_mul(stat.f_frsize),
        free: stat.f_bavail.saturating_mul(stat.f_frsize),
        inodes: (stat.f_files > 0).then_some(stat.f_favail),
    })
}

/// What the newest closures and all kept generations take in this store.
pub(in crate::doctor) async fn kept(
    supervisor: &Supervisor,
    nix: &Nix,
    roots_dir: &Path,
    newest: &[Newest],
) -> Result<Kept, Trouble> {
    let roots_dir = roots_dir.to_owned();
    let chains = looked(move || chains(&roots_dir)).await?;
    let store = Store { supervisor, nix };
    let mut kept = Kept { hosts: newest.len(), chains: chains.len(), ..Kept::default() };
    let mut here = BTreeSet::new();
    for of in newest {
        match store.is_valid(&of.out).await? {
            true => drop(here.insert(of.out.clone())),
            false => kept.elsewhere = kept.elsewhere.saturating_add(of.closure_bytes),
        }
    }
    kept.here = newest.iter().filter(|of| here.contains(&of.out)).count();
    let last: BTreeSet<StorePath> =
        chains.iter().filter_map(|chain| chain.last().cloned()).collect();
    let all: BTreeSet<StorePath> = chains.iter().flatten().cloned().collect();
    kept.older = all.difference(&last).count();
    kept.newest = store.size(&here).await?;
    kept.rooted_newest = store.size(&last).await?;
    kept.rooted = if kept.older == 0 { kept.rooted_newest } else { store.size(&all).await? };
    Ok(kept)
}

struct Store<'a> {
    supervisor: &'a Supervisor,
    nix: &'a Nix,
}

impl Store<'_> {
    async fn is_valid(&self, path: &StorePath) -> Result<bool, Trouble> {
        let call = self.nix.check_validity(path);
        Ok(ask(self.supervisor, &call, NETWORK_WALL).await?.success)
    }

    /// Of several closures together, each path once.
    async fn size(&self, of: &BTreeSet<StorePath>) -> Result<u64, Trouble> {
        if of.is_empty() {
            return Ok(0);
        }
        let closures = ask(self.supervisor, &self.nix.closures(of), NETWORK_WALL).await?.good()?;
        let mut paths: Vec<&str> = closures.lines().collect();
        paths.sort_unstable();
        paths.dedup();
        let mut sum = 0_u64;
        for some in paths.chunks(PATHS_PER_CALL) {
            let call = self.nix.sizes(some.iter().copied());
            let sizes = ask(self.supervisor, &call, NETWORK_WALL).await?.good()?;
            let sizes = sizes.lines().filter_map(|size| size.trim().parse::<u64>().ok());
            sum = sizes.fold(sum, u64::saturating_add);
        }
        Ok(sum)
    }
}

/// What `roots` made: per repo, host and branch the kept outputs, oldest first. Links whose path is
/// gone are left out.
fn chains(roots_dir: &Path) -> Vec<Vec<StorePath>> {
    let below = |dirs: Vec<std::path::PathBuf>| {
        let entries = dirs.iter().filter_map(|dir| fs::read_dir(dir).ok()).flatten().flatten();
        let shown = entries.filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."));
        shown.map(|entry| entry.path()).filter(|path| path.is_dir()).collect::<Vec<_>>()
    };
    let branches = below(below(below(vec![roots_dir.to_owned()])));
    let chains = branches.iter().map(|dir| {
        let generations = crate::nix::roots::generations(dir).unwrap_or_default();
        let targets = generations
            .iter()
            .filter_map(|(_, link)| StorePath::parse(&fs::read_link(link).ok()?.to_string_lossy()));
        targets.collect::<Vec<_>>()
    });
    chains.filter(|chain| !chain.is_empty()).collect()
}
