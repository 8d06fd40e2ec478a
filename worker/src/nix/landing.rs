//! Where a candidate that has landed belongs among the generations of the tracked branch. Pure.
//!
//! Generations are in the order of their numbers, and a number is never put between two others. So
//! what is newer than the candidate is rooted once more after it. Each step makes a link before it
//! removes one, and the candidate's own goes last: whoever is killed in between begins again.

use std::collections::BTreeMap;

use super::{
    retention::{Fate, Root},
    roots::OVERRIDDEN,
};

/// What the tracked branch contains: an ancestor has a lower number than its descendants.
pub(crate) type Landed = BTreeMap<String, u64>;

/// What becomes of a candidate whose time is over.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Landing<'a> {
    /// It goes, as it is of no use: this says why.
    Goes(Fate),
    /// These become the newest generations, in this order; then the candidate goes.
    Promote(Vec<&'a Root>),
}

/// Whether a commit says what this was built of.
pub(crate) fn may_land(root: &Root) -> bool {
    !root.branch.ends_with(OVERRIDDEN)
}

/// `generations` are all of the tracked branch for the candidate's host, oldest first.
pub(crate) fn landing<'a>(
    candidate: &'a Root,
    generations: &'a [Root],
    landed: &Landed,
    keep_generations: usize,
) -> Landing<'a> {
    let Some(place) = landed.get(candidate.commit()).filter(|_| may_land(candidate)) else {
        return Landing::Goes(Fate::Expired);
    };
    // What the branch no longer contains, because it was rewound, is older than all that it does.
    let is_newer = |root: &Root| landed.get(root.commit()).is_some_and(|other| other > place);
    let first = generations.iter().position(is_newer).unwrap_or(generations.len());
    let (older, newer) = generations.split_at(first);
    let same = |root: &&Root| root.target == candidate.target;
    // In its place already; after a newer one it is what was cut short.
    let is_there = older.iter().filter(same).any(|root| root.commit() == candidate.commit())
        || newer.iter().filter(same).any(is_newer);
    let newer: Vec<&Root> = newer.iter().filter(|root| !same(root)).collect();
    if is_there || newer.len() >= keep_generations {
        return Landing::Goes(Fate::Surplus);
    }
    Landing::Promote(std::iter::once(candidate).chain(newer).collect())
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    /// A root of a commit, which is also the end of its target.
    fn root(branch: &str, number: u64, commit: &str) -> Root {
        Root {
            repo: "r".into(),
            host: "web".into(),
            branch: branch.into(),
            number,
            link: format!("/roots/r/web/{branch}/{number}-{commit}").into(),
            target: format!("/nix/store/{commit}").into(),
            made: SystemTime::UNIX_EPOCH,
        }
    }

    /// The branch is a, b, c, d, e; three generations stay. What becomes of candidate `c`?
    #[track_caller]
    fn check(candidate: &Root, generations: &[&str], expected: Result<&[&str], Fate>) {
        let landed = ["a", "b", "c", "d", "e"].map(str::to_owned).into_iter().zip(1..).collect();
        let generation = |(number, commit): (u64, &&str)| root("master", number, commit);
        let generations: Vec<Root> = (1..).zip(generations).map(generation).collect();
        let landing = landing(candidate, &generations, &landed, 3);
        let found = match &landing {
            Landing::Goes(fate) => Err(*fate),
            Landing::Promote(roots) => Ok(roots.iter().map(|root| root.commit()).collect()),
        };
        assert_eq!(found, expected.map(<[&str]>::to_vec));
    }

    #[test]
    fn what_landed_takes_its_place_by_commit_and_what_did_not_goes() {
        let c = root("flake-update%2F1", 1, "c");
        check(&c, &[], Ok(&["c"]));
        check(&c, &["a", "b"], Ok(&["c"]));
        check(&c, &["a", "b", "d"], Ok(&["c", "d"]));
        check(&c, &["d", "e"], Ok(&["c", "d", "e"]));
        check(&c, &["a", "d", "e"], Ok(&["c", "d", "e"]));
        // Rewound away, so older; but what comes after it is rooted again with all behind it.
        check(&c, &["x", "d"], Ok(&["c", "d"]));
        check(&c, &["d", "x"], Ok(&["c", "d", "x"]));
        // Three that are newer.
        check(&c, &["d", "d", "e"], Err(Fate::Surplus));
        check(&c, &["a", "d", "x", "e"], Err(Fate::Surplus));
        // Built of the branch meanwhile.
        check(&c, &["a", "c", "d"], Err(Fate::Surplus));
        // Cut short before the newer one was rooted again.
        check(&c, &["a", "d", "c"], Ok(&["c", "d"]));
        // Never landed.
        check(&root("flake-update%2F1", 1, "x"), &["a"], Err(Fate::Expired));
        check(&root("flake-update%2F1~overridden", 1, "c"), &["a"], Err(Fate::Expired));
    }

    #[test]
    fn the_same_output_of_a_newer_commit_is_enough_and_of_an_older_one_is_not() {
        let same = |as_of: &str| Root { target: root("", 0, as_of).target, ..root("u", 1, "c") };
        check(&same("d"), &["a", "d"], Err(Fate::Surplus));
        check(&same("a"), &["a", "d"], Ok(&["c", "d"]));
    }
}
