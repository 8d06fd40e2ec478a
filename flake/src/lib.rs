//! Asking git and Nix what a flake holds: which commit a branch is at, which hosts a commit has,
//! and what each of them needs of a worker.
//!
//! It runs git and Nix and reads their answers. It builds nothing, keeps nothing, and does not know
//! the broker, a run or a verdict.

pub mod git;
pub mod hosts;
pub mod listing;
pub mod process;

pub use git::{Access, GitError, full_ref, resolve, resolve_ref, unattended};
pub use hosts::{Flake, FlakeError};
pub use listing::{Listing, ListingError};
