//! What the config files of worker, producer and gate have in common: how a file is read, how an
//! error in it is told, and the tables that all three accept.
//!
//! It does not know what any binary needs: defaults that belong to one of them, and checks over
//! several keys, stand in that binary's `config.rs`. Secrets never pass here, only their paths.

mod branch;
mod load;
mod near;
mod quantity;
mod tables;
mod url;

pub use branch::{Branch, BranchError, BranchGlob};
pub use load::{SettingsError, load, parse};
pub use near::{did_you_mean, near};
pub use quantity::{Size, Span};
pub use tables::{
    CLASS_DEFAULT, DEFAULT_REF, Feature, FeatureError, HostGlob, HostTable, LimitsTable, NatsTable,
    RepoTable, class_with,
};
pub use url::{RepoUrl, UrlError};
