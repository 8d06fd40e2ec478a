//! What was found out about commits, for as long as it is true: a look at the mirror's files takes
//! the place of a git process.
//!
//! That one commit contains another never changes. So what git said of a branch holds while the
//! branch is at the commit that it was at then. Refs that are kept in another form than one file
//! each or `packed-refs` are not found here, and then git is asked.

use std::{
    collections::HashMap,
    fs,
    path::Path,
    sync::{Mutex, PoisonError},
};

use proto::Revision;

/// Commits that are remembered. A worker seldom builds more than a few at a time; when there are
/// more, all are forgotten and asked for again.
const COMMITS_MAX: usize = 1024;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<HashMap<String, Found>>);

/// A branch that contains a commit, and where branches were when git said so.
#[derive(Clone, Debug)]
struct Found {
    branch: String,
    tip: String,
    /// The tracked branch is preferred; it may contain the commit since it has moved.
    tracked_tip: Option<String>,
}

impl Known {
    /// The branch that is known to contain `commit`, if neither it nor the tracked one has moved.
    pub(super) fn branch_of(&self, dir: &Path, tracked: &str, commit: &str) -> Option<String> {
        let found = self.lock().get(commit).cloned()?;
        let same = head(dir, &found.branch).as_ref() == Some(&found.tip)
            && head(dir, tracked) == found.tracked_tip;
        same.then_some(found.branch)
    }

    /// Notes what git has just said. The mirror is the caller's alone meanwhile.
    pub(super) fn note(&self, dir: &Path, tracked: &str, commit: &str, branch: &str) {
        let Some(tip) = head(dir, branch) else { return };
        let (branch, tracked_tip) = (branch.to_owned(), head(dir, tracked));
        let mut known = self.lock();
        if known.len() >= COMMITS_MAX {
            known.clear();
        }
        known.insert(commit.to_owned(), Found { branch, tip, tracked_tip });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Found>> {
        // Whole entries are written at once: whoever panicked left nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn head(dir: &Path, branch: &str) -> Option<String> {
    target(dir, &format!("refs/heads/{branch}"))
}

/// The commit that a ref is at; none when it is not there or kept in a form not known here.
pub(super) fn target(dir: &Path, name: &str) -> Option<String> {
    let commit = |text: &str| {
        let hex = |c: char| c.is_ascii_digit() || matches!(c, 'a'..='f');
        (text.len() == Revision::COMMIT_DIGITS && text.chars().all(hex)).then(|| text.to_owned())
    };
    // A file of its own counts before what is packed.
    if let Ok(text) = fs::read_to_string(dir.join(name)) {
        return commit(text.trim_end());
    }
    let packed = fs::read_to_string(dir.join("packed-refs")).ok()?;
    let mut lines = packed.lines().filter_map(|line| line.split_once(' '));
    lines.find(|(_, of)| *of == name).and_then(|(at, _)| commit(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(letter: char) -> String {
        letter.to_string().repeat(40)
    }

    fn point(dir: &Path, name: &str, to: &str) {
        let path = dir.join("refs/heads").join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, format!("{to}\n")).expect("a ref");
    }

    #[test]
    fn a_ref_is_its_own_file_or_packed_and_nothing_else_is_one() {
        let dir = tempfile::tempdir().expect("a folder");
        let dir = dir.path();
        let packed = format!(
            "# pack-refs with: peeled fully-peeled sorted\n{} refs/heads/a\n{} refs/heads/a/b\n",
            id('a'),
            id('b')
        );
        fs::write(dir.join("packed-refs"), packed).expect("a file");
        assert_eq!(head(dir, "a"), Some(id('a')));
        assert_eq!(head(dir, "a/b"), Some(id('b')));
        assert_eq!((head(dir, "b"), head(dir, "")), (None, None));
        fs::create_dir_all(dir.join("refs/heads")).expect("a folder");
        fs::write(dir.join("refs/heads/a"), format!("{}\n", id('c'))).expect("a ref");
        assert_eq!(head(dir, "a"), Some(id('c')), "newer than what is packed");
        fs::write(dir.join("refs/heads/a"), "ref: refs/heads/b\n").expect("a ref");
        assert_eq!(head(dir, "a"), None);
    }

    #[test]
    fn what_is_known_holds_until_a_branch_moves() {
        let dir = tempfile::tempdir().expect("a folder");
        let dir = dir.path();
        let (known, commit) = (Known::default(), id('1'));
        let of = |known: &Known| known.branch_of(dir, "master", &commit);
        known.note(dir, "master", &commit, "update/x");
        assert_eq!(of(&known), None, "there is no such branch to hold on to");
        point(dir, "update/x", &id('a'));
        known.note(dir, "master", &commit, "update/x");
        assert_eq!(of(&known).as_deref(), Some("update/x"));
        assert_eq!(known.branch_of(dir, "master", &id('2')), None);
        // It may have landed: then it is the tracked branch that counts.
        point(dir, "master", &id('b'));
        assert_eq!(of(&known), None);
        known.note(dir, "master", &commit, "update/x");
        assert_eq!(of(&known).as_deref(), Some("update/x"));
        // Rewound, and back again to where it was.
        point(dir, "update/x", &id('c'));
        assert_eq!(of(&known), None);
        point(dir, "update/x", &id('a'));
        assert_eq!(of(&known).as_deref(), Some("update/x"));
        fs::remove_file(dir.join("refs/heads/update/x")).expect("gone");
        assert_eq!(of(&known), None);
    }

    #[test]
    fn memory_is_bounded() {
        let dir = tempfile::tempdir().expect("a folder");
        point(dir.path(), "m", &id('a'));
        let known = Known::default();
        for commit in 0..3 * COMMITS_MAX {
            known.note(dir.path(), "m", &commit.to_string(), "m");
        }
        assert!(known.lock().len() <= COMMITS_MAX);
    }
}
