//! Why a worker ends with an error, and the exit code of each.

use bus::ConnectError;
use proto::ExitCode;

use crate::{broker::BrokerError, config::ConfigError};

/// Why a worker ends.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The config file.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The broker, once connected.
    #[error(transparent)]
    Bus(#[from] bus::Error),
    /// The private broker.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// A folder of the worker.
    #[error("prepare {path}: {source}")]
    Folder {
        /// Which.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Another worker has the state folder.
    #[error(
        "another worker is running in this state folder (it holds {path}): \
         stop it, or give this one its own [worker] state_dir"
    )]
    Locked {
        /// The lock file.
        path: std::path::PathBuf,
    },
    /// The address for metrics.
    #[error("serve metrics at {address} ([telemetry] listen): {source}")]
    Listen {
        /// Where.
        address: std::net::SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// Not the worker's user.
    #[error(
        "work in the state folder of somebody else: run this as the owner of {path}, such as by \
         `sudo -u nix-build-pool`"
    )]
    Owner {
        /// The state folder.
        path: std::path::PathBuf,
    },
    /// The signal handlers.
    #[error("listen for signals: {0}")]
    Signals(std::io::Error),
    /// What was found cannot be told.
    #[error("write to stdout: {0}")]
    Output(std::io::Error),
}

impl Error {
    /// The exit code that scripts and systemd see.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Config(_)
            | Self::Folder { .. }
            | Self::Locked { .. }
            | Self::Owner { .. }
            | Self::Broker(_)
            | Self::Listen { .. } => ExitCode::Usage,
            Self::Connect(error) if error.is_usage() => ExitCode::Usage,
            Self::Connect(_) | Self::Bus(_) | Self::Signals(_) | Self::Output(_) => {
                ExitCode::Undecided
            }
        }
    }
}
