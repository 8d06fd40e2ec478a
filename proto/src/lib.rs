//! What crosses a process boundary: names, records, subjects, topology and exit codes.
//!
//! This crate is pure. It does no IO, knows no clock, no environment and no async runtime, and it
//! names no NATS client. Whoever needs the time or a fresh uuid brings it along.

pub mod account;
pub mod event;
pub mod exit_code;
pub mod gate;
pub mod job;
pub mod last_good;
pub mod log;
pub mod outcome;
pub mod overrides;
pub mod permission;
pub mod priority;
pub mod record;
pub mod request;
pub mod revision;
pub mod run;
pub mod signature;
pub mod staff;
pub mod subject;
pub mod tally;
pub mod time;
pub mod token;
pub mod topology;
pub mod trace;
pub mod version;
pub mod worker;

pub use exit_code::ExitCode;
pub use job::{Before, GateId, Incarnation, Instance, JobKey, JobMessage, RunId};
pub use last_good::LastGood;
pub use outcome::{Built, ClosureDiff, Failure, FailureKind, InfraKind, Outcome, Standing, Work};
pub use overrides::{Override, Overrides};
pub use permission::Role;
pub use priority::Priority;
pub use record::{Attempt, AttemptEnd, Epoch, Finished, Phase, Record, Running, State, Waiting};
pub use request::{Request, Wish};
pub use revision::Revision;
pub use run::RunRecord;
pub use signature::Signature;
pub use staff::Staff;
pub use tally::Tally;
pub use time::Timestamp;
pub use token::{Class, HolderName, Host, Identity, Input, Repo, TokenError, WorkerName};
pub use trace::TraceParent;
pub use version::V1;
pub use worker::Presence;

/// For fields that are left out when there is nothing to say.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape that serde asks for")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// For a hint in a record: whatever this version cannot read counts as none. A hint that is lost must
/// never cost the record that it is in.
fn lenient<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: serde::Deserialize<'de> + Default,
{
    #[derive(serde::Deserialize)]
    #[serde(untagged)]
    enum Anything<T> {
        Known(T),
        Other(serde::de::IgnoredAny),
    }
    let read: Anything<T> = serde::Deserialize::deserialize(from)?;
    Ok(match read {
        Anything::Known(hint) => hint,
        Anything::Other(_) => T::default(),
    })
}
