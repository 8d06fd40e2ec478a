//! Why a command fails, and the exit code of each reason.

use std::{io, path::PathBuf};

use flake::{FlakeError, GitError, ListingError};
use proto::{Class, ExitCode, Identity, JobKey, Repo, RunId};

use crate::{broker_file::BrokerFileError, config::ClassError};

/// A command that failed. Each message goes on after "failed to …".
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The config file cannot be used.
    #[error("use the configuration: {0}")]
    Settings(#[from] settings::SettingsError),
    /// The config file asks for a class that cannot be.
    #[error("use the config file {}: {source}", path.display())]
    Class {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<ClassError>,
    },
    /// The broker's keys file cannot be used.
    #[error("use the keys file {}: {source}", path.display())]
    BrokerFile {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: BrokerFileError,
    },
    /// No key was made.
    #[error(transparent)]
    NewKey(#[from] bus::NewKeyError),
    /// The repository's URL is needed, and nobody said it.
    #[error("find repo {repo}: {known}")]
    UnknownRepo {
        /// Which.
        repo: Repo,
        /// What is known instead.
        known: String,
    },
    /// No connection.
    #[error(transparent)]
    Connect(#[from] bus::ConnectError),
    /// The broker said no, or nothing.
    #[error("use the broker: {0}")]
    Bus(#[from] bus::Error),
    /// The ref was not resolved.
    #[error(transparent)]
    Git(#[from] GitError),
    /// The flake's hosts make no jobs.
    #[error(transparent)]
    Listing(#[from] ListingError),
    /// An input cannot come to two things.
    #[error("override input {0}: it is given twice")]
    OverriddenTwice(proto::Input),
    /// What is to override inputs cannot.
    #[error("override inputs: {0}")]
    Overrides(proto::TokenError),
    /// The revision has a digest of overrides.
    #[error(
        "submit {0}: it names overridden inputs; \
         give the commit alone and each of them as --override-input"
    )]
    OtherOverrides(proto::Revision),
    /// Nothing is left to build.
    #[error("find a host to build: {0}")]
    NoHosts(&'static str),
    /// Nobody could ever take such a job.
    #[error(
        "submit: the broker has no consumer for class {classes}; \
         run `producer setup --classes {classes}`"
    )]
    MissingConsumers {
        /// The classes, with commas between.
        classes: String,
    },
    /// A class that nobody set up.
    #[error(
        "find class {class}: nobody set it up, or not all of it{hint}; \
         `producer setup --classes {class}` does"
    )]
    UnknownClass {
        /// Which.
        class: Class,
        /// What may have been meant.
        hint: String,
    },
    /// No such run.
    #[error("find run {0}: nobody recorded it, or its record contradicts its key")]
    UnknownRun(RunId),
    /// This identity has no run that fits.
    #[error("find a run of {by}{of}: there is none{hint}; name a run, or --repo and --rev")]
    NoRun {
        /// Whose.
        by: Identity,
        /// What it should have had.
        of: String,
        /// What may have been meant.
        hint: String,
    },
    /// Nobody ever asked for it.
    #[error("find job {job}: nobody asked for it{hint}")]
    UnknownJob {
        /// Its name.
        job: String,
        /// What may have been meant.
        hint: String,
    },
    /// Its first digits are those of several commits.
    #[error("find {name}: several fit: {fitting}; name one of them")]
    Ambiguous {
        /// As it was named.
        name: String,
        /// Whole names, with commas between.
        fitting: String,
    },
    /// Nothing is known of a host.
    #[error("find the history of {host} of repo {repo}: no result of it is kept{hint}")]
    NoHistory {
        /// Its repository.
        repo: Repo,
        /// The host.
        host: proto::Host,
        /// What may have been meant.
        hint: String,
    },
    /// No good build of a host is known.
    #[error(
        "find the last good build of {host} of repo {repo}: \
         no commit of its tracked branch was built{hint}"
    )]
    NoLastGood {
        /// Its repository.
        repo: Repo,
        /// The host.
        host: proto::Host,
        /// What may have been meant.
        hint: String,
    },
    /// No such dead letter.
    #[error("find dead letter {0}: it is not there; `producer dead list` says which are")]
    UnknownLetter(u64),
    /// A dead letter that cannot be asked for again.
    #[error("requeue dead letter {0}: it names no job; `producer dead drop {0}` forgets it")]
    NamesNoJob(u64),
    /// A job has no hosts of which some failed.
    #[error("retry: --failed is about runs, and {0} is a job")]
    FailedOfJob(String),
    /// Nothing is known of a commit.
    #[error("find a job of {0}: nobody asked for one")]
    UnknownRevision(String),
    /// A host that is not one of the run's.
    #[error("find host {host} in run {run}: it is not one of its hosts")]
    NotInRun {
        /// The host.
        host: proto::Host,
        /// The run.
        run: RunId,
    },
    /// The attempt's log is not kept.
    #[error("find the log of attempt {asked} of {job}: {kept} attempts have a kept log")]
    NoAttempt {
        /// The number asked for.
        asked: usize,
        /// The job.
        job: JobKey,
        /// How many there are.
        kept: usize,
    },
    /// The push gateway's address makes no sense.
    #[error("use --push-metrics: {0}")]
    PushUrl(#[from] exposition::PushUrlError),
    /// A point in time that cannot be read.
    #[error("read --since: {0}")]
    Since(String),
    /// Nobody can connect to the page.
    #[error("listen on {listen}: {source}; choose another address with --listen")]
    Listen {
        /// Where.
        listen: std::net::SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// stdout failed.
    #[error("write the output: {0}")]
    Output(#[from] io::Error),
    /// The runtime did not start.
    #[error("start the runtime: {0}")]
    Runtime(io::Error),
}

impl Error {
    /// The one place where a failure becomes an exit code.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Settings(_)
            | Self::Class { .. }
            | Self::BrokerFile { .. }
            | Self::NewKey(_)
            | Self::UnknownRepo { .. }
            | Self::Listing(ListingError::BadNames(_) | ListingError::HostClass(_))
            | Self::NoHosts(_)
            | Self::OverriddenTwice(_)
            | Self::Overrides(_)
            | Self::OtherOverrides(_)
            | Self::MissingConsumers { .. }
            | Self::UnknownClass { .. }
            | Self::UnknownRun(_)
            | Self::NoRun { .. }
            | Self::UnknownJob { .. }
            | Self::Ambiguous { .. }
            | Self::NoHistory { .. }
            | Self::Since(_)
            | Self::UnknownRevision(_)
            | Self::NoLastGood { .. }
            | Self::UnknownLetter(_)
            | Self::NamesNoJob(_)
            | Self::FailedOfJob(_)
            | Self::NotInRun { .. }
            | Self::NoAttempt { .. }
            | Self::PushUrl(_)
            | Self::Listen { .. }
            | Self::Git(GitError::NoSuchRef { .. }) => ExitCode::Usage,
            Self::Connect(error) if error.is_usage() => ExitCode::Usage,
            // The rights of an identity are configuration; time does not mend them.
            Self::Bus(bus::Error::Denied { .. }) => ExitCode::Usage,
            Self::Listing(ListingError::Flake(FlakeError::Broken { .. })) => ExitCode::Failed,
            Self::Output(_) if self.is_broken_pipe() => ExitCode::Done,
            Self::Connect(_)
            | Self::Bus(_)
            | Self::Git(GitError::Failed { .. } | GitError::Answer { .. })
            | Self::Listing(ListingError::Flake(_))
            | Self::Output(_)
            | Self::Runtime(_) => ExitCode::Undecided,
        }
    }

    /// The reader of stdout has seen enough.
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_has_its_exit_code() {
        let check = |error: Error, code: u8| assert_eq!(error.exit_code().code(), code, "{error}");
        let subject = || "s".to_owned();
        check(Error::NoHosts("none"), 2);
        check(Error::Listing(ListingError::BadNames(vec!["x".into()])), 2);
        check(Error::Bus(bus::Error::Denied { operation: "put", subject: subject() }), 2);
        check(Error::Bus(bus::Error::NoAnswer { operation: "put", subject: subject() }), 3);
        let away = bus::ConnectError::Unreachable { url: subject(), reason: subject() };
        check(Error::Connect(away), 3);
        check(Error::Connect(bus::ConnectError::Seed { path: "s".into() }), 2);
        check(Error::Output(io::ErrorKind::BrokenPipe.into()), 0);
        check(Error::Output(io::ErrorKind::StorageFull.into()), 3);
        let flake = |error| Error::Listing(ListingError::Flake(error));
        check(flake(FlakeError::Broken { message: subject() }), 1);
        check(flake(FlakeError::Failed { message: subject() }), 3);
    }
}
