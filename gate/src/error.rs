//! Why a command fails, and the exit code of each reason. A verdict is no error.

use std::{io, path::PathBuf, time::Duration};

use proto::{ExitCode, Identity, Repo, Revision, RunId, gate::Holder};

use crate::{
    checkout::CheckoutError, config::GateTableError, forge, lease::Trouble, steps::StepError,
};

/// A command that failed. Each message goes on after "failed to …".
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The config file cannot be used.
    #[error("use the configuration: {0}")]
    Settings(#[from] settings::SettingsError),
    /// The config file has a table that cannot be used.
    #[error("use the config file {}: {source}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// Why.
        source: GateTableError,
    },
    /// The repository's URL is needed, and nobody said it.
    #[error("find repo {repo}: {known}")]
    UnknownRepo {
        /// Which.
        repo: Repo,
        /// What is known instead.
        known: String,
    },
    /// Nothing can be landed without a forge.
    #[error("use the forge: {0} has no [forge]; it needs url, repo and token_file")]
    NoForge(String),
    /// `[forge]` is about another repository.
    #[error(
        "land on repo {repo}: its url {url} does not end in {name}, which [forge] repo names; \
         one of the two is wrong"
    )]
    OtherForge {
        /// The repository.
        repo: Repo,
        /// Its URL.
        url: String,
        /// Its name on the forge.
        name: String,
    },
    /// The forge did not answer, or not as one.
    #[error("use the forge: {0}")]
    Forge(#[source] forge::Error),
    /// Another gate is at work.
    #[error(
        "take the lease of {base} of repo {repo}: {} ({}) has it for {} more, if it is not renewed",
        holder.place, holder.by, settings::Span(*.left)
    )]
    Busy {
        /// The repository.
        repo: Repo,
        /// The branch.
        base: String,
        /// Who has it.
        holder: Box<Holder>,
        /// For how long.
        left: Duration,
    },
    /// A run stopped in the middle; it is on record.
    #[error("{0}")]
    Step(#[source] StepError),
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
    /// The push gateway's address makes no sense.
    #[error("use --push-metrics: {0}")]
    PushUrl(#[from] exposition::PushUrlError),
    /// stdout failed.
    #[error("write the output: {0}")]
    Output(#[from] io::Error),
    /// The runtime did not start.
    #[error("start the runtime: {0}")]
    Runtime(io::Error),
}

impl Error {
    pub(crate) fn checkout(error: CheckoutError) -> Self {
        Self::Step(StepError::Checkout(error))
    }

    /// A lease that was lost is somebody else's.
    pub(crate) fn lease(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Lost => Self::Bus(bus::Error::Conflict { subject: "the lease".to_owned() }),
            Trouble::Bus(error) => Self::Bus(error),
        }
    }

    /// The one place where a failure becomes an exit code.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Settings(_)
            | Self::Config { .. }
            | Self::UnknownRepo { .. }
            | Self::NoForge(_)
            | Self::OtherForge { .. }
            | Self::UnknownRun(_)
            | Self::Untrusted { .. }
            | Self::OtherCommit { .. }
            | Self::PushUrl(_) => ExitCode::Usage,
            Self::Connect(error) if error.is_usage() => ExitCode::Usage,
            // The rights of an identity are configuration; time does not mend them.
            Self::Bus(bus::Error::Denied { .. }) => ExitCode::Usage,
            // A token file or an address that a person has to mend.
            Self::Forge(error) if !error.transient() => ExitCode::Usage,
            Self::Step(error) => error.exit_code(),
            Self::Connect(_)
            | Self::Bus(_)
            | Self::Forge(_)
            | Self::Busy { .. }
            | Self::Output(_)
            | Self::Runtime(_) => ExitCode::Undecided,
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
