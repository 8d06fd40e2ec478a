//! The model between the one task that writes it and all requests that read it, and what of it a
//! page shows: one that is open is told of that and of nothing else.

use std::{
    fmt,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    str::FromStr,
    sync::{Arc, PoisonError, RwLock},
};

use proto::{JobKey, TokenError};
use tokio::sync::watch;

use super::model::Model;

/// Clones share it. Nobody holds the lock over an `await`.
#[derive(Clone)]
pub(crate) struct Shared(Arc<Inner>);

struct Inner {
    model: RwLock<Model>,
    versions: watch::Sender<Versions>,
}

/// Both only grow.
#[derive(Clone, Copy)]
pub(crate) struct Versions {
    /// With every change but those of lines.
    facts: u64,
    /// With what running builds said last.
    lines: u64,
}

/// What an open page shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shows {
    /// Everything, and the last lines of running builds.
    Lines,
    /// Everything else.
    Facts,
    /// One job, and whether the broker answers.
    Job(JobKey),
}

const LINES: &str = "lines";
const FACTS: &str = "facts";

impl fmt::Display for Shows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lines => f.write_str(LINES),
            Self::Facts => f.write_str(FACTS),
            // Its dots are in no other name.
            Self::Job(job) => job.fmt(f),
        }
    }
}

impl FromStr for Shows {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        Ok(match text {
            LINES => Self::Lines,
            FACTS => Self::Facts,
            job => Self::Job(job.parse()?),
        })
    }
}

impl Shared {
    pub(crate) fn new() -> Self {
        // Not from zero: a page that is open knows a number of the program's life before.
        let (versions, _) = watch::channel(Versions { facts: bus::clock::now().0, lines: 0 });
        Self(Arc::new(Inner { model: RwLock::default(), versions }))
    }

    /// A number that is another one when a page has something else to show.
    pub(crate) fn mark(&self, shows: &Shows) -> u64 {
        let versions = *self.0.versions.borrow();
        match shows {
            Shows::Lines => versions.facts.wrapping_add(versions.lines),
            Shows::Facts => versions.facts,
            Shows::Job(job) => self.read(|model| {
                let mut hasher = DefaultHasher::new();
                model.traits_of(job, bus::clock::now()).hash(&mut hasher);
                hasher.finish()
            }),
        }
    }

    pub(crate) fn read<T>(&self, look: impl FnOnce(&Model) -> T) -> T {
        look(&self.0.model.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Model)) {
        self.change_if(|model| {
            change(model);
            true
        });
    }

    /// Tells the watchers when the change says that it was one.
    pub(crate) fn change_if(&self, change: impl FnOnce(&mut Model) -> bool) {
        if self.changed(change) {
            self.0.versions.send_modify(|versions| versions.facts += 1);
        }
    }

    /// The same of what running builds said last, which few pages show.
    pub(crate) fn change_lines_if(&self, change: impl FnOnce(&mut Model) -> bool) {
        if self.changed(change) {
            self.0.versions.send_modify(|versions| versions.lines += 1);
        }
    }

    fn changed(&self, change: impl FnOnce(&mut Model) -> bool) -> bool {
        change(&mut self.0.model.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// The broker does not answer; says whether that is new.
    pub(crate) fn away(&self) -> bool {
        let mut new = false;
        self.change_if(|model| {
            new = model.away_since.is_none();
            model.away_since.get_or_insert_with(bus::clock::now);
            new
        });
        new
    }

    /// The broker answers.
    pub(crate) fn back(&self) {
        self.change_if(|model| model.away_since.take().is_some());
    }

    /// Wakes with every change, whoever shows it.
    pub(crate) fn watch(&self) -> watch::Receiver<Versions> {
        self.0.versions.subscribe()
    }

    /// Somebody has the page open.
    pub(crate) fn is_watched(&self) -> bool {
        self.0.versions.receiver_count() > 0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use bus::Entry;
    use proto::{Identity, Overrides, Priority, RunId, RunRecord, Timestamp, V1};
    use stand::{
        Seen,
        examples::{class, entry, job, record, request, running},
    };

    use super::*;
    use crate::dashboard::shared::Shows::{Facts, Job, Lines};

    /// Which pages a change is told to: all of them, or those of `web` and `db`.
    #[track_caller]
    fn check(shared: &Shared, change: impl FnOnce(&Shared), told: &[Shows]) {
        let all = [Lines, Facts, Job(job("web")), Job(job("db"))];
        let before = all.each_ref().map(|shows| shared.mark(shows));
        change(shared);
        let is_told = |(shows, before): &(&Shows, u64)| shared.mark(shows) != *before;
        let heard = all.iter().zip(before).filter(is_told).map(|(shows, _)| shows.clone());
        assert_eq!(heard.collect::<Vec<_>>(), told);
    }

    #[test]
    fn a_page_is_told_of_what_it_shows_and_of_nothing_else() {
        let shared = Shared::new();
        let (web, db) = (job("web"), job("db"));
        let run = RunRecord {
            v: V1,
            run: RunId(uuid::Uuid::nil()),
            by: Identity::local(),
            at: Timestamp(1),
            repo: web.repo.clone(),
            revision: web.revision.clone(),
            git_ref: None,
            overrides: Overrides::default(),
            hosts: [&web, &db].map(|it| (it.host.clone(), class("aarch64-linux"))).into(),
            excluded: Vec::new(),
            priority: Priority::Normal,
            force: false,
            trace: None,
        };
        shared.change_if(|model| model.take_run(&run));
        let seen = || Seen { request: entry(Some(request(7, 1))), record: entry(None) };
        let read = |shared: &Shared| {
            shared.change(|model| {
                model.take_job(web.clone(), class("aarch64-linux"), seen());
            });
        };
        check(&shared, read, &[Lines, Facts, Job(web.clone())]);
        let taken = Entry { revision: 2, ..entry(Some(record(7, running()))) };
        let claimed = |shared: &Shared| shared.change_if(|model| model.take_record(&web, taken));
        check(&shared, claimed, &[Lines, Facts, Job(web.clone())]);
        let said: HashMap<_, _> = [(web.clone(), "line".to_owned())].into();
        let says = |shared: &Shared| shared.change_lines_if(|model| model.take_last_lines(said));
        check(&shared, says, &[Lines]);
        let away = |shared: &Shared| assert!(shared.away());
        check(&shared, away, &[Lines, Facts, Job(web.clone()), Job(db.clone())]);
        check(&shared, |shared| assert!(!shared.away()), &[]);
        check(&shared, Shared::back, &[Lines, Facts, Job(web.clone()), Job(db)]);
    }

    #[test]
    fn what_a_page_shows_is_read_as_it_was_written() {
        for shows in [Lines, Facts, Job(job("web"))] {
            assert_eq!(shows.to_string().parse(), Ok(shows));
        }
        assert!("lines.x".parse::<Shows>().is_err());
    }
}
