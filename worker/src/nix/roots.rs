//! Garbage-collector roots: what is in use, and what was built per repo, host and branch.
//!
//! `<dir>/.in-use/<job>.<epoch>` is the output of an attempt under way, with `.drv` its derivation.
//! `<dir>/<repo>/<host>/<branch>/<n>-<commit>` is a generation; `n` only grows. Nix registers
//! outputs itself (`--add-root`), while it still holds them.
//!
//! A derivation is held by the evaluation that writes it and by the build that reads it, but not in
//! the moment between the two. A collection that begins just then takes it. Evaluated again it is
//! the same one, and by then our link to it is a root: by its place when `dir` lies in
//! `/nix/var/nix/gcroots`, registered elsewhere ([`super::command::Nix::add_drv_root`]).
//!
//! An output has such a moment too: its link is made and its build ends after a collection has read
//! the links, and before it reads the roots of running processes. So what counts is the generation:
//! the call that makes it finds the output and tells a running collection of it, or finds it gone.

use std::{
    collections::HashMap,
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::PoisonError,
};

use proto::{Epoch, JobKey};
use tokio::sync::Mutex;

use super::{
    command::{StorePath, percent_encoded},
    retention::{Root, gone},
};

/// Ends the name of a branch when inputs were overridden: what was never on the branch must not take
/// the place of its generations. No branch has a '~' in its name.
pub const OVERRIDDEN: &str = "~overridden";

/// Roots that are remembered, one for each branch of each host. When there are more, all are
/// forgotten: what is reused then is rooted once more.
const MADE_MAX: usize = 4096;

/// See the module.
#[derive(Debug)]
pub struct Roots {
    dir: PathBuf,
    keep_generations: usize,
    /// Two attempts of one host and branch must not choose the same number.
    lock: Mutex<()>,
    /// The newest root of each branch's folder that Nix made for us in this life, and so has on its
    /// books: a link alone may be one that was copied here.
    made: std::sync::Mutex<HashMap<PathBuf, Rooted>>,
    /// Where the outputs lie on this machine, if they do.
    store_dir: Option<PathBuf>,
}

/// A root that Nix made for us.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rooted {
    link: PathBuf,
    output: PathBuf,
}

impl Rooted {
    /// Its link is as Nix made it, and its output is there.
    fn holds(&self, store_dir: &Path) -> bool {
        let output = self.output.file_name().map(|name| store_dir.join(name));
        fs::read_link(&self.link).is_ok_and(|target| target == self.output)
            && output.is_some_and(|output| output.symlink_metadata().is_ok())
    }
}

/// A branch that results are of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Branch {
    /// Its name.
    pub name: String,
    /// Only the newest generations of it stay. What is of another branch stays for a time.
    pub tracked: bool,
}

/// The links of one attempt, removed on drop: by then the generation holds the output.
#[derive(Debug)]
pub struct InUse {
    output: PathBuf,
    drv: PathBuf,
}

impl Roots {
    /// Roots under `dir`, at least one generation, of a store whose outputs lie in `store_dir`, if it
    /// is one of this machine.
    pub fn new(dir: PathBuf, keep_generations: usize, store_dir: Option<PathBuf>) -> Self {
        let keep_generations = keep_generations.max(1);
        let (lock, made) = (Mutex::new(()), std::sync::Mutex::default());
        Self { dir, keep_generations, lock, made, store_dir }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
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

    /// Chooses the link for the next generation; `root` makes it. Afterwards each output has one link,
    /// and of a tracked branch the newest `keep_generations` stay, the new one among them.
    pub async fn add_generation<E>(
        &self,
        job: &JobKey,
        branch: &Branch,
        output: &StorePath,
        root: impl AsyncFnOnce(&Path) -> Result<(), E>,
    ) -> Result<(), RootError<E>> {
        let dir = self.folder(job, branch);
        let keep = branch.tracked.then_some(self.keep_generations);
        self.add(dir, job.revision.short(), output.as_str(), keep, root).await
    }

    /// The newest generation of the branch is of this job and holds this output, and the output is
    /// there: then there is no other to be made. A candidate's age begins anew.
    ///
    /// Such an output is valid, and Nix need not be asked: it was when Nix made the root in this life,
    /// a collection takes nothing that is rooted, and what somebody deletes in spite of its roots is
    /// not there any more, once that has come to its end.
    pub fn is_newest(&self, job: &JobKey, branch: &Branch, output: &StorePath) -> bool {
        let dir = self.folder(job, branch);
        let Some(store_dir) = &self.store_dir else { return false };
        let Some(rooted) = self.made().get(&dir).cloned() else { return false };
        let newest = generations(&dir).ok().and_then(|mut all| all.pop());
        let same = newest.is_some_and(|(number, link)| {
            link == rooted.link
                && link.file_name() == Some(generation(number, job.revision.short()).as_ref())
                && rooted.output == Path::new(output.as_str())
        });
        same && rooted.holds(store_dir) && (branch.tracked || touch(&rooted.link).is_ok())
    }

    fn folder(&self, job: &JobKey, branch: &Branch) -> PathBuf {
        let dir = self.dir.join(job.repo.as_str()).join(job.host.as_str());
        dir.join(branch_folder(&branch.name))
    }

    fn note_made(&self, dir: &Path, rooted: Rooted) {
        let mut made = self.made();
        if made.len() >= MADE_MAX {
            made.clear();
        }
        made.insert(dir.to_owned(), rooted);
    }

    fn made(&self) -> std::sync::MutexGuard<'_, HashMap<PathBuf, Rooted>> {
        // Whole entries are written at once.
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a root the newest generation of a tracked branch, whatever branch it was of. Where it
    /// was it stays: its output is never without a root.
    pub(crate) async fn promote<E>(
        &self,
        old: &Root,
        tracked: &str,
        root: impl AsyncFnOnce(&Path) -> Result<(), E>,
    ) -> Result<(), RootError<E>> {
        let dir = self.dir.join(&old.repo).join(&old.host).join(branch_folder(tracked));
        let keep = Some(self.keep_generations);
        self.add(dir, old.commit(), &old.target, keep, root).await
    }

    async fn add<E>(
        &self,
        dir: PathBuf,
        commit: &str,
        output: impl AsRef<Path>,
        keep: Option<usize>,
        root: impl AsyncFnOnce(&Path) -> Result<(), E>,
    ) -> Result<(), RootError<E>> {
        let output = output.as_ref();
        let _only = self.lock.lock().await;
        let io = |source| RootError::Io { path: dir.clone(), source };
        fs::create_dir_all(&dir).map_err(io)?;
        let mut old = generations(&dir).map_err(io)?;
        let next = old.last().map_or(1, |(number, _)| number.saturating_add(1));
        let link = dir.join(generation(next, commit));
        root(&link).await.map_err(RootError::Call)?;
        self.note_made(&dir, Rooted { link, output: output.to_owned() });
        // The same output again is one generation, the newest.
        let same = |path: &PathBuf| fs::read_link(path).is_ok_and(|target| target == output);
        let (repeated, mut kept) = old.drain(..).partition::<Vec<_>, _>(|(_, path)| same(path));
        let surplus = keep.map_or(0, |keep| (kept.len() + 1).saturating_sub(keep));
        for (_, path) in repeated.into_iter().chain(kept.drain(..surplus)) {
            gone(fs::remove_file(&path)).map_err(|source| RootError::Io { path, source })?;
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

    /// The link to the derivation.
    pub fn drv(&self) -> &Path {
        &self.drv
    }

    /// Links the derivation. A link that is there is never missing meanwhile: a collector that does
    /// not find it would take it off its books.
    pub fn hold(&self, drv: &StorePath) -> io::Result<()> {
        let new = self.drv.with_extension("new");
        let _ = fs::remove_file(&new);
        symlink(drv.as_str(), &new)?;
        fs::rename(&new, &self.drv)
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

fn generation(number: u64, commit: &str) -> String {
    format!("{number}-{commit}")
}

/// As if the link were made now.
fn touch(link: &Path) -> io::Result<()> {
    let now = rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
    let both = rustix::fs::Timestamps { last_access: now, last_modification: now };
    let itself = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
    Ok(rustix::fs::utimensat(rustix::fs::CWD, link, &both, itself)?)
}

/// The name of a branch's folder.
pub(crate) fn branch_folder(branch: &str) -> String {
    let branch = percent_encoded(branch.as_bytes(), b"");
    // A dot alone would be the folder itself; the encoding leaves dots alone.
    match branch.strip_prefix('.') {
        Some(rest) => format!("%2E{rest}"),
        None => branch,
    }
}

/// The generations in `dir`, oldest first. Files of other names are nobody's business.
pub(crate) fn generations(dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    let entries = match fs::read_dir(dir) {
        // Its last root was pruned just now.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        entries => entries?,
    };
    for entry in entries {
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

    /// What is left of five results, two of them the same.
    async fn left_of(branch: &str, tracked: bool) -> Vec<(u64, char)> {
        let dir = tempfile::tempdir().expect("a folder");
        let roots = Roots::new(dir.path().to_owned(), 3, None);
        let job: JobKey = format!("r.{}.web", "0".repeat(40)).parse().expect("a job");
        for letter in ['a', 'b', 'c', 'a', 'd'] {
            let output = output(letter);
            let branch = Branch { name: branch.to_owned(), tracked };
            let made = roots.add_generation(&job, &branch, &output, async |link: &Path| {
                symlink(output.as_str(), link)
            });
            made.await.expect("a root");
        }
        let kept = generations(&dir.path().join("r/web").join(branch_folder(branch)));
        let target = |(number, path): (u64, PathBuf)| {
            let target = fs::read_link(path).expect("a link");
            (number, target.to_string_lossy().chars().nth(11).expect("a letter"))
        };
        kept.expect("generations").into_iter().map(target).collect()
    }

    #[tokio::test]
    async fn the_newest_generations_stay_and_each_output_once() {
        assert_eq!(left_of("master", true).await, [(3, 'c'), (4, 'a'), (5, 'd')]);
        // Candidates go by their age (`retention`), not by their number.
        let candidates = [(2, 'b'), (3, 'c'), (4, 'a'), (5, 'd')];
        assert_eq!(left_of("update/x", false).await, candidates);
    }

    #[tokio::test]
    async fn the_newest_root_is_that_of_its_job_and_output_and_made_in_this_life() {
        let folder = || tempfile::tempdir().expect("a folder");
        let (dir, store) = (folder(), folder());
        let new = |store_dir| Roots::new(dir.path().to_owned(), 3, store_dir);
        let roots = new(Some(store.path().to_owned()));
        let job = |digit: &str| -> JobKey {
            format!("r.{}.web", digit.repeat(40)).parse().expect("a job")
        };
        let branch = |tracked| Branch { name: "b".to_owned(), tracked };
        let (first, second) = (job("1"), job("2"));
        let add = async |job: &JobKey, of: char| {
            let output = output(of);
            let link = async |link: &Path| symlink(output.as_str(), link);
            roots.add_generation(job, &branch(true), &output, link).await.expect("a root");
        };
        let is_newest = |job: &JobKey, of| roots.is_newest(job, &branch(true), &output(of));
        let file = |of| store.path().join(&output(of).as_str()["/nix/store/".len()..]);
        assert!(!is_newest(&first, 'a'));
        add(&first, 'a').await;
        assert!(!is_newest(&first, 'a'), "its output is not there");
        fs::write(file('a'), "").expect("a file");
        assert!(is_newest(&first, 'a'));
        assert!(!is_newest(&first, 'b') && !is_newest(&second, 'a'));
        let former_life = new(Some(store.path().to_owned()));
        assert!(!former_life.is_newest(&first, &branch(true), &output('a')));
        fs::write(file('b'), "").expect("a file");
        add(&second, 'b').await;
        assert!(!is_newest(&first, 'a'), "there is a newer one");
        assert!(is_newest(&second, 'b'));
        // A candidate is as good as made now.
        let link = dir.path().join("r/web/b").join(generation(2, second.revision.short()));
        let old = rustix::fs::Timespec { tv_sec: 1, tv_nsec: 0 };
        let old = rustix::fs::Timestamps { last_access: old, last_modification: old };
        let itself = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::utimensat(rustix::fs::CWD, &link, &old, itself).expect("a link");
        let age = || link.symlink_metadata().expect("a link").modified().expect("a time");
        let before = age();
        assert!(is_newest(&second, 'b') && age() == before);
        assert!(roots.is_newest(&second, &branch(false), &output('b')) && age() > before);
        fs::remove_file(&link).expect("removed");
        assert!(!is_newest(&second, 'b'));
    }

    #[test]
    fn a_held_derivation_is_linked_over_another() {
        let dir = tempfile::tempdir().expect("a folder");
        let roots = Roots::new(dir.path().to_owned(), 1, None);
        let job: JobKey = format!("r.{}.web", "0".repeat(40)).parse().expect("a job");
        let links = roots.in_use(&job, Epoch(1)).expect("links");
        for letter in ['a', 'a', 'b'] {
            links.hold(&output(letter)).expect("held");
            let target = fs::read_link(links.drv()).expect("a link");
            assert_eq!(target, Path::new(output(letter).as_str()));
        }
        drop(links);
        assert_eq!(fs::read_dir(dir.path().join(".in-use")).expect("a folder").count(), 0);
    }
}
