//! Metrics as Prometheus reads them: its text format, a small server for scrapers, and pushing to
//! a push gateway.
//!
//! It knows HTTP and the format; not what any metric means, and not who counts. Answers are small
//! and made in memory, so nobody on the other end of a connection can hold anything up.

mod push;
mod server;
mod sheet;

pub use push::{Gateway, Group, PushError, PushTarget, PushUrlError};
pub use server::{Answer, Site, serve};
pub use sheet::{Sheet, text};
