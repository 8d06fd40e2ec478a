//! Why a command fails, and the exit code of each reason. A verdict is no error.

use std::{io, path::PathBuf};

use proto::{ExitCode, Identity, Repo, Revision, RunId};

use crate::config::TrustError;

/// A command that failed. Each message goes on after "failed to …".
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The config file cannot be used.
    #[error("use the configuration: {0}")]
    Settings(#[from] settings::SettingsError),
    /// The config file trusts nobody.
    #[error("use the config file {}: {source}", path.display())]
    Trust {
        /// The file.
        path: PathBuf,
        /// Why.
        source: TrustError,
    },
    /// No connection.
    #[error(transparent)]
    Connect(#[from] bus::ConnectError),
    /// The broker said no, or nothing.
    #[error("use the broker: {0}")]
    Bus(#[from] bus::Error),
    /// No such run.
    #[error("find run {0}: nobody recorded it, or its record contradicts its key")]
    UnknownRun(RunId),
    /// Somebody recorded it whose word does not count.
    #[error(
        "accept run {run}: it is {by}'s, who is not trusted; \
         name that identity in [gate] trusted_identities if it should be"
    )]
    Untrusted {
        /// The run.
        run: RunId,
        /// Whose.
        by: Identity,
    },
    /// The run is about something else.
    #[error("accept run {run}: it is about {repo} at {revision}, not what was asked for")]
    OtherCommit {
        /// The run.
        run: RunId,
        /// Its repository.
        repo: Repo,
        /// Its commit.
        revision: Revision,
    },
    /// stdout failed.
    #[error("write the output: {0}")]
    Output(io::Error),
    /// The runtime did not start.
    #[error("start the runtime: {0}")]
    Runtime(io::Error),
}

impl Error {
    /// The one place where a failure becomes an exit code.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Settings(_)
            | Self::Trust { .. }
            | Self::UnknownRun(_)
            | Self::Untrusted { .. }
            | Self::OtherCommit { .. } => ExitCode::Usage,
            Self::Connect(error) if error.is_usage() => ExitCode::Usage,
            // The rights of an identity are configuration; time does not mend them.
            Self::Bus(bus::Error::Denied { .. }) => ExitCode::Usage,
            Self::Connect(_) | Self::Bus(_) | Self::Output(_) | Self::Runtime(_) => {
                ExitCode::Undecided
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_failure_ever_looks_like_a_pass() {
        let check = |error: Error, code: u8| assert_eq!(error.exit_code().code(), code, "{error}");
        let subject = || "s".to_owned();
        let run = RunId(uuid::Uuid::nil());
        check(Error::UnknownRun(run), 2);
        check(Error::Untrusted { run, by: Identity::local() }, 2);
        check(Error::Bus(bus::Error::Denied { operation: "read", subject: subject() }), 2);
        check(Error::Bus(bus::Error::NoAnswer { operation: "read", subject: subject() }), 3);
        check(
            Error::Connect(bus::ConnectError::Unreachable { url: subject(), reason: subject() }),
            3,
        );
        check(Error::Output(io::ErrorKind::StorageFull.into()), 3);
    }
}
