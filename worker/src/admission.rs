//! Whether this machine has room for another build (DESIGN section 7).
//!
//! A worker that is short of space or memory takes no new job, says why and goes on by itself. It
//! never fails a job for it: running builds go on, and waiting ones are for whoever has room.

use std::{fs, path::Path, path::PathBuf, time::Duration};

use proto::worker::{self, PlaceRoom};
use rustix::fs::statvfs;
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::metrics::Metrics;

/// What a machine must have left before it takes another job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    /// Folders that are written to, with what they are for.
    pub places: Vec<Place>,
    /// Free inodes of each.
    pub inodes_free_min: u64,
    /// Share of time, in percent, in which some task waited for memory (the kernel's pressure
    /// stall information, mean over ten seconds).
    pub memory_pressure_max: u8,
}

/// A folder and the free bytes it must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its name in messages.
    pub name: &'static str,
    /// Its name in metrics.
    pub label: &'static str,
    /// Where.
    pub path: PathBuf,
    /// Free bytes.
    pub bytes_free_min: u64,
}

/// Why a worker takes no new job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Of which kind.
    pub reason: Reason,
    /// In words, with numbers.
    pub why: String,
}

/// Kinds of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Too few free bytes.
    Space,
    /// Too few free inodes.
    Inodes,
    /// Too much waiting for memory.
    Memory,
    /// Its clock is wrong.
    Clock,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Space, Self::Inodes, Self::Memory, Self::Clock];

    /// The name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Space => "space",
            Self::Inodes => "inodes",
            Self::Memory => "memory",
            Self::Clock => "clock",
        }
    }
}

/// What one look found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// What is left, as the registry shows it.
    pub room: worker::Room,
    /// Why no job may be taken now, if so.
    pub trouble: Option<Trouble>,
}

/// What is left in a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Free bytes for an ordinary user.
    pub bytes: u64,
    /// Free inodes; none where the file system makes them as it needs them.
    pub inodes: Option<u64>,
}

/// A worker that paused goes on only with this much more than the limit, in percent: a value that
/// swings around the limit would otherwise start and stop it all the time.
const RESUME_PERCENT: u64 = 110;

/// Memory pressure has to fall to this share of the limit, in percent.
const CALM_PERCENT: u64 = 80;

/// Between two looks: a build fills a disk in minutes, not in seconds.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Looks at once and then again and again, and has each look counted; the receiver is told when
/// jobs may no longer be taken, or may be taken again. The first words stay while it lasts: the
/// numbers change all the time, and whoever wants them borrows them.
pub(crate) async fn watch(
    admission: Admission,
    metrics: Metrics,
    stop: CancellationToken,
    tasks: &TaskTracker,
) -> watch::Receiver<Look> {
    let first = look(&admission, &metrics, false).await.unwrap_or_default();
    let (say, looks) = watch::channel(first);
    tasks.spawn(async move {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            let paused = say.borrow().trouble.is_some();
            // One that saw nothing is no trouble.
            let new = look(&admission, &metrics, paused).await.unwrap_or_default();
            say.send_if_modified(|now| {
                now.room = new.room;
                let turned = new.trouble.is_some() != paused;
                if turned {
                    now.trouble = new.trouble;
                }
                turned
            });
        }
    });
    looks
}

/// A file system that hangs must not hold up the loop. A look that panicked or was cancelled saw
/// nothing.
async fn look(admission: &Admission, metrics: &Metrics, paused: bool) -> Option<Look> {
    let measuring = admission.clone();
    let looked = tokio::task::spawn_blocking(move || {
        let rooms = measuring.rooms();
        let trouble = measuring.trouble(&rooms, paused);
        let room = measuring.told(&rooms);
        (rooms, Look { room, trouble })
    });
    let (rooms, look) = looked.await.ok()?;
    metrics.measured(admission, &rooms);
    Some(look)
}

impl Admission {
    /// Measures what is left in each place; none where it cannot be had.
    pub fn rooms(&self) -> Vec<Option<Room>> {
        self.places.iter().map(|place| room(&place.path)).collect()
    }

    /// Why no job may be taken now, if so. `paused`: none is being taken.
    pub fn trouble(&self, rooms: &[Option<Room>], paused: bool) -> Option<Trouble> {
        let rooms = self.places.iter().zip(rooms);
        let short = rooms.filter_map(|(place, room)| self.short(place, (*room)?, paused)).next();
        short.or_else(|| {
            let why = self.pressed(pressure()?, paused)?;
            Some(Trouble { reason: Reason::Memory, why })
        })
    }

    /// The same for the registry. A place that cannot be measured is left out.
    fn told(&self, rooms: &[Option<Room>]) -> worker::Room {
        let place = |(place, room): (&Place, &Option<Room>)| {
            let Room { bytes, inodes } = (*room)?;
            Some(PlaceRoom {
                name: place.name.to_owned(),
                bytes_free: bytes,
                bytes_free_min: place.bytes_free_min,
                inodes_free: inodes,
                inodes_free_min: self.inodes_free_min,
            })
        };
        worker::Room {
            places: self.places.iter().zip(rooms).filter_map(place).collect(),
            memory_pressure: pressure().map(percent),
            memory_pressure_max: self.memory_pressure_max,
        }
    }

    fn short(&self, place: &Place, room: Room, paused: bool) -> Option<Trouble> {
        let percent = if paused { RESUME_PERCENT } else { 100 };
        let least = |limit: u64| limit.saturating_mul(percent) / 100;
        let (name, path) = (place.name, place.path.display());
        if room.bytes < least(place.bytes_free_min) {
            let (free, want) = (mib(room.bytes), mib(place.bytes_free_min));
            let why = format!("{name} {path} has {free} MiB free, wanted are {want} MiB");
            return Some(Trouble { reason: Reason::Space, why });
        }
        let inodes = room.inodes.filter(|inodes| *inodes < least(self.inodes_free_min))?;
        let want = self.inodes_free_min;
        let why = format!("{name} {path} has {inodes} inodes free, wanted are {want}");
        Some(Trouble { reason: Reason::Inodes, why })
    }

    fn pressed(&self, percent: f64, paused: bool) -> Option<String> {
        let calm = if paused { CALM_PERCENT } else { 100 };
        let limit = f64::from(self.memory_pressure_max);
        let over = percent * 100.0 > limit * f64::from(u32::try_from(calm).unwrap_or(100));
        over.then(|| format!("memory pressure is {percent:.0} %, allowed are {limit:.0} %"))
    }
}

/// What is left where `path` is; the nearest folder above it that exists speaks for it. None when
/// it cannot be had, which is no reason to stop.
fn room(path: &Path) -> Option<Room> {
    let stat = path.ancestors().find_map(|path| statvfs(path).ok())?;
    let inodes = (stat.f_files > 0).then_some(stat.f_favail);
    Some(Room { bytes: stat.f_bavail.saturating_mul(stat.f_frsize), inodes })
}

/// Waiting for memory now, in percent; none where the kernel does not tell.
fn pressure() -> Option<f64> {
    some_avg10(&fs::read_to_string("/proc/pressure/memory").ok()?)
}

/// For people, and far from needing more digits.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the value is clamped to what fits"
)]
fn percent(share: f64) -> u8 {
    share.round().clamp(0.0, 100.0) as u8
}

/// The mean over ten seconds of `some` in the kernel's text.
fn some_avg10(text: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.starts_with("some "))?;
    line.split(' ').find_map(|field| field.strip_prefix("avg10="))?.parse().ok()
}

fn mib(bytes: u64) -> u64 {
    bytes >> 20
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(bytes_free_min: u64) -> Place {
        Place { name: "the store", label: "store", path: "/".into(), bytes_free_min }
    }

    fn admission() -> Admission {
        let place = place(100 << 20);
        Admission { places: vec![place], inodes_free_min: 1000, memory_pressure_max: 50 }
    }

    fn short(mib: u64, inodes: Option<u64>, paused: bool) -> Option<String> {
        let admission = admission();
        let room = Room { bytes: mib << 20, inodes };
        admission.short(&admission.places[0], room, paused).map(|trouble| trouble.why)
    }

    #[test]
    fn too_little_room_is_named_with_both_numbers() {
        assert_eq!(short(100, Some(1000), false), None);
        let why = short(99, Some(1000), false).expect("one MiB short");
        assert_eq!(why, "the store / has 99 MiB free, wanted are 100 MiB");
        let why = short(100, Some(999), false).expect("one inode short");
        assert_eq!(why, "the store / has 999 inodes free, wanted are 1000");
        assert_eq!(short(100, None, false), None, "btrfs has no inode limit");
    }

    #[test]
    fn it_goes_on_only_with_some_room_to_spare() {
        assert!(short(109, Some(2000), true).is_some());
        assert_eq!(short(110, Some(1100), true), None);
        assert!(short(110, Some(1099), true).is_some());
        assert!(admission().pressed(41.0, true).is_some());
        assert_eq!(admission().pressed(40.0, true), None);
        assert_eq!(admission().pressed(50.0, false), None);
        let why = admission().pressed(51.2, false).expect("pressed");
        assert_eq!(why, "memory pressure is 51 %, allowed are 50 %");
    }

    #[test]
    fn this_machine_can_be_measured() {
        let here = room(Path::new("/no/such/folder")).expect("the root folder speaks for it");
        assert!(here.bytes > 0);
        let text = "some avg10=12.34 avg60=0.00 avg300=0.00 total=0\nfull avg10=1.00 total=0\n";
        assert_eq!(some_avg10(text), Some(12.34));
        assert_eq!(some_avg10(""), None);
        let limits = |bytes_free_min| Admission {
            places: vec![place(bytes_free_min)],
            inodes_free_min: 0,
            memory_pressure_max: 100,
        };
        let trouble = |limits: Admission| limits.trouble(&limits.rooms(), false);
        assert_eq!(trouble(limits(0)), None);
        assert_eq!(trouble(limits(u64::MAX)).map(|it| it.reason), Some(Reason::Space));
    }

    #[test]
    fn the_registry_is_told_of_what_could_be_measured() {
        let measured = [Some(Room { bytes: 7, inodes: None })];
        let told = admission().told(&measured);
        assert_eq!((told.places.len(), told.places[0].bytes_free), (1, 7));
        assert_eq!((told.places[0].bytes_free_min, told.memory_pressure_max), (100 << 20, 50));
        assert_eq!(admission().told(&[None]).places, []);
        assert_eq!((percent(12.34), percent(-1.0), percent(1e9)), (12, 0, 100));
    }
}
