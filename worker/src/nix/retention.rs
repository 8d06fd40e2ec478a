//! Which roots of results stay and which go.
//!
//! The newest generations of a tracked branch (`default_ref`) stay, whatever their age: they are
//! what hosts run and go back to. What was built of any other branch, or with overridden inputs, is
//! a candidate, which stays for a time after it was last asked for. The verdict over a candidate
//! falls hours after its build at most, and a gate that comes back to it later asks for it again,
//! which roots it anew; so this needs no word from a gate, of which there may be none: what has
//! landed by then git knows (`landing`). Roots of a repository that is not in the config stay:
//! whether they are still of use only a person knows.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use super::{
    command::percent_encoded,
    roots::{Roots, branch_folder},
};

/// What stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Retention {
    /// The tracked branch of each repository.
    pub(crate) tracked: BTreeMap<String, String>,
    /// Generations of it that stay.
    pub(crate) keep_generations: usize,
    /// How long candidates stay.
    pub(crate) candidates_for: Duration,
}

/// One root.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Root {
    /// The repository, as its folder is called.
    pub(crate) repo: String,
    /// The host.
    pub(crate) host: String,
    /// The branch, as its folder is called.
    pub(crate) branch: String,
    /// Grows with each generation of a branch.
    pub(crate) number: u64,
    /// The link.
    pub(crate) link: PathBuf,
    /// The result.
    pub(crate) target: PathBuf,
    /// When the link was made.
    pub(crate) made: SystemTime,
}

/// What becomes of a root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is one of the newest generations of a tracked branch.
    Generation,
    /// It is a candidate, and goes after this time.
    Candidate(Duration),
    /// Its repository is not in the config.
    Unknown,
    /// There are newer generations enough.
    Surplus,
    /// It is a candidate whose time is over.
    Expired,
    /// The same, but the tracked branch contains its commit by now: it becomes a generation of it.
    Landed,
    /// The same, but whether it has landed nobody could say: it stays until somebody can.
    Unasked,
}

impl Fate {
    /// It is of no use any more.
    pub(crate) fn goes(self) -> bool {
        matches!(self, Self::Surplus | Self::Expired)
    }
}

impl Root {
    /// The first digits of the commit.
    pub(crate) fn commit(&self) -> &str {
        let name = self.link.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.split_once('-').map_or("", |(_, commit)| commit)
    }
}

impl Retention {
    /// The fate of each root. `roots` are in order: what is newer comes later.
    pub(crate) fn fates(&self, roots: Vec<Root>, now: SystemTime) -> Vec<(Root, Fate)> {
        let fate = |(at, root): (usize, &Root)| {
            let Some(tracked) = self.tracked.get(&root.repo) else { return Fate::Unknown };
            if root.branch != branch_folder(tracked) {
                // A clock that was set back makes it younger, never older.
                let age = now.duration_since(root.made).unwrap_or_default();
                return match self.candidates_for.checked_sub(age) {
                    Some(left) if !left.is_zero() => Fate::Candidate(left),
                    _ => Fate::Expired,
                };
            }
            let of = |root: &Root| (root.repo.clone(), root.host.clone(), root.branch.clone());
            let newer = roots[at + 1..].iter().filter(|other| of(other) == of(root)).count();
            if newer < self.keep_generations { Fate::Generation } else { Fate::Surplus }
        };
        let fates: Vec<Fate> = roots.iter().enumerate().map(fate).collect();
        roots.into_iter().zip(fates).collect()
    }
}

impl Roots {
    /// All roots of results, in order of repository, host, branch and number.
    ///
    /// # Errors
    /// When the folder cannot be read. A part of it that is gone meanwhile is no error.
    pub(crate) fn list(&self) -> io::Result<Vec<Root>> {
        let mut roots = Vec::new();
        for (repo, dir) in folders(self.dir())? {
            for (host, dir) in folders(&dir)? {
                for (branch, dir) in folders(&dir)? {
                    for (number, link) in super::roots::generations(&dir)? {
                        let (repo, host, branch) = (repo.clone(), host.clone(), branch.clone());
                        // Removed meanwhile.
                        let Ok(target) = fs::read_link(&link) else { continue };
                        let Ok(made) = made(&link) else { continue };
                        roots.push(Root { repo, host, branch, number, link, target, made });
                    }
                }
            }
        }
        roots.sort();
        Ok(roots)
    }

    /// Removes a root; what it held goes with the next garbage collection. A branch's folder goes
    /// with its last root. Left alone is one that somebody else removed and a build made anew.
    ///
    /// # Errors
    /// When it cannot be removed. One that is gone is no error.
    pub(crate) fn remove(&self, root: &Root) -> io::Result<()> {
        if made(&root.link).is_ok_and(|made| made != root.made) {
            return Ok(());
        }
        gone(fs::remove_file(&root.link))?;
        if let Some(branch) = root.link.parent() {
            // Refused while it holds anything.
            let _ = fs::remove_dir(branch);
        }
        Ok(())
    }
}

fn made(link: &Path) -> io::Result<SystemTime> {
    link.symlink_metadata()?.modified()
}

/// A file that is not there is as good as removed.
pub(super) fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The folders in a folder, by name. Names with a dot before them are not about results.
fn folders(dir: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().into_string();
        let name = name.ok().filter(|name| !name.starts_with('.'));
        if let (Some(name), true) = (name, entry.file_type()?.is_dir()) {
            found.push((name, entry.path()));
        }
    }
    Ok(found)
}

/// A branch as people know it, from its folder's name.
pub(crate) fn shown_branch(folder: &str) -> String {
    let mut name = Vec::new();
    let mut rest = folder.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|code| std::str::from_utf8(code).ok());
        let coded = code.and_then(|code| u8::from_str_radix(code, 16).ok());
        match coded.filter(|_| *byte == b'%') {
            Some(coded) => {
                name.push(coded);
                rest = &after[2..];
            }
            None => {
                name.push(*byte);
                rest = after;
            }
        }
    }
    // What is no text is shown as it is called.
    String::from_utf8(name).unwrap_or_else(|_| percent_encoded(folder.as_bytes(), b"%"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn retention() -> Retention {
        let tracked = [("r".to_owned(), "master".to_owned())].into();
        Retention { tracked, keep_generations: 2, candidates_for: 10 * HOUR }
    }

    /// A root made so many hours before `now`.
    fn root(of: (&str, &str, &str), number: u64, hours: u32) -> Root {
        let (repo, host, branch) = of;
        Root {
            repo: repo.into(),
            host: host.into(),
            branch: branch.into(),
            number,
            link: format!("/roots/{repo}/{host}/{branch}/{number}-0123").into(),
            target: "/nix/store/x".into(),
            made: now() - HOUR * hours,
        }
    }

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + 1_000_000 * HOUR
    }

    #[test]
    fn the_newest_of_the_tracked_branch_stay_and_candidates_go_in_time() {
        let master = ("r", "web", "master");
        let check = |roots: &[Root], expected: &[Fate]| {
            let fates = retention().fates(roots.to_vec(), now());
            let fates: Vec<Fate> = fates.into_iter().map(|(_, fate)| fate).collect();
            assert_eq!(fates, expected);
        };
        // Age does not count there, and each host counts for itself.
        check(
            &[root(master, 1, 900), root(master, 2, 800), root(master, 5, 700)],
            &[Fate::Surplus, Fate::Generation, Fate::Generation],
        );
        check(
            &[root(("r", "db", "master"), 1, 900), root(master, 1, 900), root(master, 2, 1)],
            &[Fate::Generation; 3],
        );
        for branch in ["flake-update%2Fx", "master~overridden", "main"] {
            let of = ("r", "web", branch);
            check(
                &[root(of, 1, 10), root(of, 2, 9), root(of, 3, 0), root(of, 4, 1)],
                &[
                    Fate::Expired,
                    Fate::Candidate(HOUR),
                    Fate::Candidate(10 * HOUR),
                    Fate::Candidate(9 * HOUR),
                ],
            );
        }
        check(&[root(("gone", "web", "master"), 1, 9000)], &[Fate::Unknown]);
        let future = Root { made: now() + HOUR, ..root(("r", "web", "x"), 1, 0) };
        check(&[future], &[Fate::Candidate(10 * HOUR)]);
    }

    #[test]
    fn roots_are_found_and_removed_and_nothing_else_is() {
        let dir = tempfile::tempdir().expect("a folder");
        let roots = Roots::new(dir.path().to_owned(), 2, None);
        assert_eq!(roots.list().expect("nothing yet"), []);
        let branch = dir.path().join("r/web/update%2Fx");
        fs::create_dir_all(&branch).expect("a folder");
        fs::create_dir_all(dir.path().join(".in-use")).expect("a folder");
        fs::write(branch.join("notes"), "by hand").expect("a file");
        for number in [10, 9] {
            symlink("/nix/store/x", branch.join(format!("{number}-0123"))).expect("a link");
        }
        let found = roots.list().expect("roots");
        assert_eq!(found.iter().map(|root| root.number).collect::<Vec<_>>(), [9, 10]);
        assert_eq!((found[0].host.as_str(), found[0].commit()), ("web", "0123"));
        let older = Root { made: found[0].made - HOUR, ..found[0].clone() };
        roots.remove(&older).expect("another one");
        assert_eq!(roots.list().expect("roots"), found);
        roots.remove(&found[0]).expect("removed");
        roots.remove(&found[0]).expect("gone already");
        assert_eq!(roots.list().expect("roots"), found[1..]);
        fs::remove_file(branch.join("notes")).expect("removed");
        roots.remove(&found[1]).expect("removed");
        assert!(!branch.exists() && dir.path().join("r/web").exists());
    }

    #[test]
    fn a_branch_is_shown_as_people_know_it() {
        assert_eq!(shown_branch(&branch_folder("flake-update/a+b")), "flake-update/a+b");
        assert_eq!(shown_branch("master~overridden"), "master~overridden");
        assert_eq!(shown_branch("100%"), "100%");
        assert_eq!(shown_branch("%é"), "%é");
    }
}
