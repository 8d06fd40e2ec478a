//! How a host stands, and why it waits if it does: judged in one place, for everybody who shows it.
//!
//! [`around`] asks the broker who is alive and what is queued, [`view`] judges, purely, and [`reasons`]
//! has the words for many hosts. What is done about it is decided elsewhere, and nothing here writes.

pub mod around;
pub mod examples;
pub mod reasons;
pub mod view;

pub use around::{Around, Place};
pub use view::{Claim, HostStatus, Look, Queue, Seen, Stand, done, mainly_done, tally, utc};
