//! One file per command: its arguments and what it does with them.

pub(crate) mod cancel;
pub(crate) mod dashboard;
pub(crate) mod dead;
pub(crate) mod events;
pub(crate) mod explain;
pub(crate) mod history;
pub(crate) mod keys;
pub(crate) mod last_good;
pub(crate) mod logs;
pub(crate) mod pause;
pub(crate) mod queue;
pub(crate) mod retry;
pub(crate) mod setup;
pub(crate) mod status;
pub(crate) mod submit;
pub(crate) mod watch;
pub(crate) mod workers;
