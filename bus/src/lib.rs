//! The only crate that names the NATS client.
//!
//! It connects, makes the topology, reads and writes typed records by compare-and-set, pulls and
//! settles deliveries, publishes jobs, logs and events. It decides nothing about jobs: the rules
//! stand in `proto` (asking) and in the worker's job machine (building).

mod api;
mod bucket;
mod changes;
pub mod clock;
mod connection;
mod dead;
mod delivery;
mod error;
mod events;
mod examine;
mod gates;
mod key;
mod lanes;
mod listener;
mod newest;
mod patience;
mod pause;
mod pokes;
mod probe;
mod publish;
mod pull;
mod reconcile;
pub mod signature;
mod streams;
mod submit;
mod sweep;
mod takeover;
mod tls;
mod unreadable;

pub use bucket::{Entry, Records};
pub use changes::Change;
pub use connection::{ANSWER_WAIT, Bus, ConnectError, Endpoint, Link, URL_DEFAULT};
pub use dead::StoredLetter;
pub use delivery::Delivery;
pub use error::Error;
pub use events::StoredEvent;
pub use examine::Examined;
pub use key::{NewKeyError, PublicKey, PublicKeyError, SeedForm, new_key, public_key_in};
pub use lanes::{Lane, LaneState};
pub use patience::retried;
pub use pause::UNTIL_RESUMED;
pub use pokes::Pokes;
pub use probe::{Probed, Sample};
pub use pull::{Pulled, Rest};
pub use reconcile::{Drift, Reconciled};
pub use streams::{Queued, StoredChunk};
pub use submit::{Asked, ask_of};
pub use sweep::{OpenJob, SweepMemory, SweepScope, Swept};
pub use unreadable::Unreadable;
