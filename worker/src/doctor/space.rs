//! Room now, and the room that the kept generations need ("is 100 GB enough?"). Pure.

use std::path::PathBuf;

use super::{
    finding::{Check, Finding, Group},
    quantity::{bytes, count},
    trouble::Trouble,
};

/// What is known of the room.
#[derive(Clone, Debug)]
pub struct SpaceFacts {
    /// The places that admission looks at.
    pub places: Vec<PlaceFacts>,
    /// What is built and kept.
    pub kept: Result<Kept, Trouble>,
    /// `[roots] keep_generations`.
    pub keep_generations: usize,
}

/// One place and its limits.
#[derive(Clone, Debug)]
pub struct PlaceFacts {
    /// `the store`, `the build folder`.
    pub name: &'static str,
    /// Where.
    pub path: PathBuf,
    /// Bytes that must be free.
    pub bytes_min: u64,
    /// Inodes that must be free.
    pub inodes_min: u64,
    /// What there is; none when it cannot be measured.
    pub room: Result<Option<Room>, Trouble>,
}

/// A file system's room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Bytes in all.
    pub total: u64,
    /// Free bytes for an ordinary user.
    pub free: u64,
    /// Free inodes; none where they are made as needed.
    pub inodes: Option<u64>,
}

/// What the pool has built of this worker's repos, and what this store holds of it. All sizes are
/// NAR sizes: a file system with blocks or compression takes somewhat more or less.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Hosts with a last good build.
    pub hosts: usize,
    /// Of these, hosts whose newest closure is in this store.
    pub here: usize,
    /// Their closures, what they share counted once.
    pub newest: u64,
    /// The closures that are not here, by their records: nobody knows what those share.
    pub elsewhere: u64,
    /// Chains of generations here: one per repo, host and branch.
    pub chains: usize,
    /// Generations here beyond the newest of each chain.
    pub older: usize,
    /// What the newest of all chains take, shared paths once.
    pub rooted_newest: u64,
    /// What all generations take, shared paths once.
    pub rooted: u64,
}

/// Bytes that the kept generations will need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Need {
    least: u64,
    most: u64,
}

/// What there is to say of it.
pub fn findings(facts: &SpaceFacts) -> Vec<Finding> {
    let mut all: Vec<Finding> = facts.places.iter().map(place).collect();
    all.push(kept(facts));
    all
}

fn place(place: &PlaceFacts) -> Finding {
    let check = Check(Group::Space, place.name);
    let path = place.path.display();
    let grow = "run `nix-collect-garbage`, keep less ([roots] keep_generations), or give it a \
                larger disk";
    let room = match &place.room {
        Ok(Some(room)) => room,
        Ok(None) => {
            return check.warning(
                format!("{path} cannot be measured"),
                "the worker does not notice when it is full",
                format!("correct [admission] {}_dir", place.key()),
            );
        }
        Err(trouble) => {
            let fix = format!("look at the mount of {path}");
            return check.undecided(trouble.to_string(), "builds hang with it", fix);
        }
    };
    let inodes = room.inodes.map_or_else(String::new, |inodes| format!(", {inodes} inodes"));
    let (free, total) = (bytes(room.free), bytes(room.total));
    let seen = format!("{path}: {free} of {total} free{inodes}");
    let (min, key) = (place.bytes_min, place.key());
    let limit = bytes(min);
    if room.free < min {
        return check.problem(
            format!("{seen}; below {limit} the worker takes no jobs"),
            "it waits until there is room, and so does whoever needs a build",
            format!("{grow}; or lower [admission] {key}_free"),
        );
    }
    if room.inodes.is_some_and(|inodes| inodes < place.inodes_min) {
        return check.problem(
            format!("{seen}; below {} inodes the worker takes no jobs", place.inodes_min),
            "a file system without inodes is full, whatever its bytes",
            format!(
                "{grow} made with more inodes (mkfs.ext4 -i 8192; btrfs and xfs have no \
                     limit); or lower [admission] inodes_free"
            ),
        );
    }
    if room.free / 2 < min {
        return check.warning(
            format!("{seen}; below {limit} the worker takes no jobs"),
            "one large build may bring it there",
            grow,
        );
    }
    check.ok(seen)
}

impl PlaceFacts {
    fn key(&self) -> &'static str {
        if self.name.contains("build") { "build" } else { "store" }
    }
}

impl Kept {
    /// See [`Kept::how`].
    fn need(&self, generations: usize) -> Need {
        let most_times = |bytes: u64, times: usize| {
            bytes.saturating_mul(u64::try_from(times).unwrap_or(u64::MAX))
        };
        if self.older > 0 {
            let each = self.rooted.saturating_sub(self.rooted_newest) / self.older as u64;
            // Hosts that are not built here yet have a chain each, some day.
            let chains = self.chains.max(self.hosts);
            let to_come = (chains * (generations - 1)).saturating_sub(self.older);
            let held = self.rooted.max(self.newest);
            let least = held.saturating_add(most_times(each, to_come));
            return Need { least, most: least.saturating_add(self.elsewhere) };
        }
        let newest = self.newest.max(self.rooted_newest);
        let all = newest.saturating_add(self.elsewhere);
        Need { least: newest, most: most_times(all, generations) }
    }

    /// How the need was estimated, in words.
    fn how(&self, generations: usize) -> String {
        let mut how = format!(
            "{} built, {} of them here with {} together, shared paths counted once",
            count(self.hosts, "host"),
            self.here,
            bytes(self.newest.max(self.rooted_newest))
        );
        if self.elsewhere > 0 {
            how += &format!(
                "; {} of closures that are not here, with unknown sharing",
                bytes(self.elsewhere)
            );
        }
        match self.older {
            0 => {
                how += &format!(
                    "; no older generation to measure with, so between all {generations} \
                     generations alike and nothing shared between them"
                );
            }
            older => {
                let each = self.rooted.saturating_sub(self.rooted_newest) / older as u64;
                how +=
                    &format!("; an older generation adds {} here (mean of {older})", bytes(each));
            }
        }
        how
    }
}

fn kept(facts: &SpaceFacts) -> Finding {
    let check = Check(Group::Space, "kept generations");
    let generations = facts.keep_generations.max(1);
    let kept = match &facts.kept {
        Ok(kept) if kept.hosts == 0 && kept.chains == 0 => {
            return check.ok("nothing was built yet: ask again after the first build");
        }
        Ok(kept) => kept,
        Err(trouble) => {
            return check.undecided(
                format!("no estimate: {trouble}"),
                "whether the disk is large enough is not known",
                "mend what is said above, then ask again",
            );
        }
    };
    let Need { least, most } = kept.need(generations);
    let need = match least == most {
        true => format!("about {}", bytes(most)),
        false => format!("{} to {}", bytes(least), bytes(most)),
    };
    let store = facts.places.first();
    let room = store.and_then(|it| it.room.as_ref().ok().copied().flatten());
    let (Some(store), Some(room)) = (store, room) else {
        return check.ok(format!("{need} ({})", kept.how(generations)));
    };
    // What they hold already stays theirs.
    let have = room.free.saturating_add(kept.rooted).saturating_sub(store.bytes_min);
    let seen = format!(
        "{need} for {}; there are {} for them on a disk of {}, with {} left for builds ({})",
        count(generations, "generation"),
        bytes(have),
        bytes(room.total),
        bytes(store.bytes_min),
        kept.how(generations)
    );
    let fix = format!(
        "a larger disk, or fewer generations: [roots] keep_generations = {}",
        generations.saturating_sub(1).max(1)
    );
    if least > have {
        return check.warning(seen, "the store will fill up with what is kept", fix);
    }
    if most > have {
        return check.warning(seen, "the store may fill up, if generations share little", fix);
    }
    check.ok(seen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Level;

    const GIB: u64 = 1 << 30;

    fn store(total: u64, free: u64, inodes: Option<u64>) -> PlaceFacts {
        PlaceFacts {
            name: "the store",
            path: "/nix/store".into(),
            bytes_min: 5 * GIB,
            inodes_min: 1000,
            room: Ok(Some(Room { total: total * GIB, free: free * GIB, inodes })),
        }
    }

    #[track_caller]
    fn check(finding: &Finding, level: Level, words: &str) {
        assert_eq!(finding.level, level, "{finding:?}");
        let text = format!("{} {:?} {:?}", finding.seen, finding.why, finding.fix);
        assert!(text.contains(words), "{text}");
    }

    #[test]
    fn a_full_place_is_told_before_jobs_wait() {
        check(&place(&store(100, 60, Some(5000))), Level::Ok, "60.0 GiB of 100.0 GiB free");
        check(&place(&store(100, 9, None)), Level::Warning, "one large build");
        check(&place(&store(100, 4, None)), Level::Problem, "[admission] store_free");
        check(&place(&store(100, 60, Some(999))), Level::Problem, "inodes_free");
        let hung =
            PlaceFacts { room: Err(Trouble::Late(super::super::SECOND)), ..store(1, 1, None) };
        check(&place(&hung), Level::Undecided, "mount");
        let build = PlaceFacts { name: "the build folder", ..store(100, 4, None) };
        check(&place(&build), Level::Problem, "build_free");
    }

    fn estimate(total: u64, free: u64, kept: Kept) -> Finding {
        let places = vec![store(total, free, None)];
        super::kept(&SpaceFacts { places, kept: Ok(kept), keep_generations: 3 })
    }

    #[test]
    fn a_first_generation_gives_a_range_and_says_how() {
        let one = Kept {
            hosts: 4,
            here: 4,
            newest: 20 * GIB,
            chains: 4,
            rooted_newest: 20 * GIB,
            rooted: 20 * GIB,
            ..Kept::default()
        };
        assert_eq!(one.need(3), Need { least: 20 * GIB, most: 60 * GIB });
        check(&estimate(100, 75, one), Level::Ok, "20.0 GiB to 60.0 GiB for 3 generations");
        check(&estimate(50, 25, one), Level::Warning, "may fill up");
        check(&estimate(50, 25, one), Level::Warning, "keep_generations = 2");
        let elsewhere = Kept { elsewhere: 10 * GIB, ..one };
        assert_eq!(elsewhere.need(3), Need { least: 20 * GIB, most: 90 * GIB });
        check(&estimate(200, 150, elsewhere), Level::Ok, "unknown sharing");
    }

    #[test]
    fn older_generations_are_what_the_next_ones_are_measured_by() {
        // Four chains of two: each older generation adds 2 GiB.
        let two = Kept {
            hosts: 4,
            here: 4,
            newest: 20 * GIB,
            chains: 4,
            older: 4,
            rooted_newest: 20 * GIB,
            rooted: 28 * GIB,
            ..Kept::default()
        };
        assert_eq!(two.need(3), Need { least: 36 * GIB, most: 36 * GIB });
        check(&estimate(100, 60, two), Level::Ok, "about 36.0 GiB");
        check(&estimate(100, 60, two), Level::Ok, "adds 2.0 GiB here (mean of 4)");
        check(&estimate(40, 8, two), Level::Warning, "will fill up");
        let full = Kept { older: 8, rooted: 36 * GIB, ..two };
        assert_eq!(full.need(3), Need { least: 36 * GIB, most: 36 * GIB });
    }

    #[test]
    fn before_the_first_build_there_is_no_estimate() {
        check(&estimate(100, 60, Kept::default()), Level::Ok, "nothing was built yet");
        let facts = SpaceFacts {
            places: Vec::new(),
            kept: Err(Trouble::Failed("the broker is away".into())),
            keep_generations: 3,
        };
        check(&super::kept(&facts), Level::Undecided, "the broker is away");
    }
}
