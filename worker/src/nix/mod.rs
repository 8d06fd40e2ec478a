//! The Nix side of the worker: command lines, children, what they say and what that means.
//!
//! Pure: [`events`], [`watcher`], [`classify`], [`command`], `landing`. With IO: [`process`], [`evaluate`],
//! [`realise`], [`roots`], `retention`. Nothing here knows the broker, leases, or why a build is stopped.

pub mod classify;
pub mod command;
pub mod evaluate;
pub mod events;
pub(crate) mod landing;
mod line;
mod memory;
mod patterns;
pub mod process;
pub mod realise;
pub(crate) mod retention;
pub mod roots;
mod sandbox;
mod stderr;
pub mod watcher;
