//! The model between the one task that writes it and all requests that read it.

use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::watch;

use super::model::Model;

/// Clones share it. Nobody holds the lock over an `await`.
#[derive(Clone)]
pub(crate) struct Shared(Arc<Inner>);

struct Inner {
    model: RwLock<Model>,
    /// Grows with every change.
    version: watch::Sender<u64>,
}

impl Shared {
    pub(crate) fn new() -> Self {
        // Not from zero: a page that is open knows a number of the program's life before.
        let (version, _) = watch::channel(bus::clock::now().0);
        Self(Arc::new(Inner { model: RwLock::default(), version }))
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
        let changed = change(&mut self.0.model.write().unwrap_or_else(PoisonError::into_inner));
        if changed {
            self.0.version.send_modify(|version| *version += 1);
        }
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

    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.0.version.subscribe()
    }

    /// Somebody has the page open.
    pub(crate) fn is_watched(&self) -> bool {
        self.0.version.receiver_count() > 0
    }
}
