//! Garbage-collector roots: what is in use, and the newest generations per repo, host and branch.
//!
//! `<dir>/.in-use/<job>.<epoch>` is the output of an attempt under way, with `.drv` its derivation.
//! `<dir>/<repo>/<host>/<branch>/<n>-<commit>` is a generation; `n` only grows. Nix registers
//! outputs itself (`--add-root`). It can register no derivation, so that link protects only when
//! `dir` lies in `/nix/var/nix/gcroots`; elsewhere a derivation may vanish, which costs a second
//! evaluation.

use std::{
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use proto::{Epoch, JobKey};
use tokio::sync::Mutex;

use super::command::{StorePath, percent_encoded};

/// See the module.
#[derive(Debug)]
pub struct Roots {
    dir: PathBuf,
    keep_generations: usize,
    /// Two attempts of one host and branch must not choose the same number.
    lock: Mutex<()>,
}

/// The links of one attempt, removed on drop: by then the generation holds the output.
#[derive(Debug)]
pub struct InUse {
    output: PathBuf,
    drv: PathBuf,
}

impl Roots {
    /// Roots under `dir`, at least one generation.
    pub fn new(dir: PathBuf, keep_generations: usize) -> Self {
        Self { dir, keep_generations: keep_generations.max(1), lock: Mutex::new(()) }
    }

    /// Makes room for the links of one attempt. What a killed worker left there goes.
    pub fn in_use(&self, job: &JobKey, epoch: Epoch) -> io::Result<InUse> {
        let dir = self.dir.join(".in-use");
        fs::create_dir_all(&dir)?;
        let output = dir.join(format!("{job}.{epoch}"));
        let drv = dir.join(format!("{job}.{epoch}.drv"));
        let links = InUse { output, drv };
        links.remove();
        Ok(links)
    }

    /// Removes the links of attempts that ended with their worker. Only before any attempt starts.
    pub fn forget_in_use(&self) -> io::Result<()> {
        match fs::remove_dir_all(self.dir.join(".in-use")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Chooses the link for the next generation; `root` makes it. Afterwards the newest
    /// `keep_generations` stay, the new one among them, and each output has one link.
    pub async fn add_generation<E>(
        &self,
        job: &JobKey,
        branch: &str,
        output: &StorePath,
        root: impl AsyncFnOnce(&Path) -> Result<(), E>,
    ) -> Result<(), RootError<E>> {
        let branch = percent_encoded(branch.as_bytes(), b"");
        // A dot alone would be the folder itself; the encoding leaves dots alone.
        let branch = match branch.strip_prefix('.') {
            Some(rest) => format!("%2E{rest}"),
            None => branch,
        };
        let dir = self.dir.join(job.repo.as_str()).join(job.host.as_str()).join(branch);
        let _only = self.lock.lock().await;
        let io = |source| RootError::Io { path: dir.clone(), source };
        fs::create_dir_all(&dir).map_err(io)?;
        let mut old = generations(&dir).map_err(io)?;
        let next = old.last().map_or(1, |(number, _)| number.saturating_add(1));
        let link = dir.join(format!("{next}-{}", job.revision.short()));
        root(&link).await.map_err(RootError::Call)?;
        // The same output again is one generation, the newest.
        let same = |path: &PathBuf| {
            fs::read_link(path).is_ok_and(|target| target == Path::new(output.as_str()))
        };
        let (repeated, mut kept) = old.drain(..).partition::<Vec<_>, _>(|(_, path)| same(path));
        let surplus = (kept.len() + 1).saturating_sub(self.keep_generations);
        for (_, path) in repeated.into_iter().chain(kept.drain(..surplus)) {
            fs::remove_file(&path).map_err(|source| RootError::Io { path, source })?;
        }
        Ok(())
    }
}

/// A root that could not be made; `E` is the error of whoever makes the link.
#[derive(Debug, thiserror::Error)]
pub enum RootError<E> {
    /// The folder of roots.
    #[error("keep roots in {}: {source}", path.display())]
    Io {
        /// Which file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The link could not be made.
    #[error("make the root")]
    Call(E),
}

impl InUse {
    /// Where Nix shall link the output.
    pub fn output(&self) -> &Path {
        &self.output
    }

    /// Links the derivation.
    pub fn hold(&self, drv: &StorePath) -> io::Result<()> {
        let _ = fs::remove_file(&self.drv);
        symlink(drv.as_str(), &self.drv)
    }

    fn remove(&self) {
        // Not there is as good as removed, and what stays is swept at the next start.
        let _ = fs::remove_file(&self.output);
        let _ = fs::remove_file(&self.drv);
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.remove();
    }
}

/// The generations in `dir`, oldest first. Files of other names are nobody's business.
pub(crate) fn generations(dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.split_once('-')?.0.parse().ok());
        found.extend(number.map(|number: u64| (number, entry.path())));
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(letter: char) -> StorePath {
        let hash = letter.to_string().repeat(32);
        StorePath::parse(&format!("/nix/store/{hash}-x")).expect("a path")
    }

    #[tokio::test]
    async fn the_newest_generations_stay_and_each_output_once() {
        let dir = tempfile::tempdir().expect("a folder");
        let roots = Roots::new(dir.path().to_owned(), 3);
        let job: JobKey = format!("r.{}.web", "0".repeat(40)).parse().expect("a job");
        for letter in ['a', 'b', 'c', 'a', 'd'] {
            let output = output(letter);
            let made = roots.add_generation(&job, "update/x", &output, async |link: &Path| {
                symlink(output.as_str(), link)
            });
            made.await.expect("a root");
        }
        let kept = generations(&dir.path().join("r/web/update%2Fx")).expect("generations");
        let targets: Vec<_> = kept
            .iter()
            .map(|(number, path)| {
                let target = fs::read_link(path).expect("a link");
                (*number, target.to_string_lossy().chars().nth(11).expect("a letter"))
            })
            .collect();
        assert_eq!(targets, [(3, 'c'), (4, 'a'), (5, 'd')]);
    }
}
