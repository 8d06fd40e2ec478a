//! Why a request to the forge did not do what it was meant to.

use std::path::PathBuf;

use reqwest::StatusCode;

/// A request that failed. Each message goes on after "failed to …", and none holds the token.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The token file cannot be used.
    #[error("read the forge's token from {}: {reason}", path.display())]
    Token { path: PathBuf, reason: String },
    /// The HTTP client cannot be set up.
    #[error("start the HTTP client: {0}")]
    Start(String),
    /// Nothing came back, after some tries. Nothing was changed that cannot be asked again.
    #[error("{what}: the forge does not answer ({reason})")]
    Unreachable { what: String, reason: String },
    /// It says that it cannot now (HTTP 5xx, 408, 429), after some tries.
    #[error("{what}: the forge cannot do it now (HTTP {status}: {message})")]
    Unavailable { what: String, status: StatusCode, message: String },
    /// It was to make something, and nobody knows whether it did: look before asking again.
    #[error("{what}: the forge gave no clear answer ({reason}), so it is done or not")]
    Unclear { what: String, reason: String },
    /// Something answered that is not the forge's interface: a login page, a proxy, another server.
    #[error(
        "{what}: what answers is not the forge's interface ({reason}); \
         check [forge] url and the proxies before it"
    )]
    Foreign { what: String, reason: String },
    /// It sends us elsewhere. The token goes to the configured address only, so this ends here.
    #[error(
        "{what}: the forge sends us on to {target}; write its present address into [forge] url, \
         or the repository's present name into [forge] repo"
    )]
    Redirected { what: String, target: String },
    /// HTTP 401.
    #[error(
        "{what}: the forge does not accept the token ({message}); make one with the scopes \
         write:repository, write:issue and read:user, and put it into [forge] token_file"
    )]
    Unauthorized { what: String, message: String },
    /// HTTP 403.
    #[error(
        "{what}: the forge forbids it ({message}); the token needs the scopes write:repository, \
         write:issue and read:user, and its user must be allowed to write to the repository"
    )]
    Forbidden { what: String, message: String },
    /// HTTP 404.
    #[error(
        "{what}: the forge knows no such thing ({message}); check [forge] repo, and that the \
         token's user may see the repository"
    )]
    Missing { what: String, message: String },
    /// Any other answer that is no success.
    #[error("{what}: the forge refuses (HTTP {status}: {message})")]
    Refused { what: String, status: StatusCode, message: String },
    /// A text that forges cut or refuse; it was not sent.
    #[error("{what}: its text has {bytes} bytes, more than the {max} that any forge takes")]
    TooLong { what: String, bytes: usize, max: usize },
}

impl Error {
    /// Whether time may mend it, without anybody changing anything.
    pub fn transient(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::Unavailable { .. }
            | Self::Unclear { .. }
            | Self::Foreign { .. } => true,
            Self::Token { .. }
            | Self::Start(_)
            | Self::Redirected { .. }
            | Self::Unauthorized { .. }
            | Self::Forbidden { .. }
            | Self::Missing { .. }
            | Self::Refused { .. }
            | Self::TooLong { .. } => false,
        }
    }

    /// Whether the very same request may be sent again without looking first.
    pub(super) fn repeatable(&self) -> bool {
        self.transient() && !matches!(self, Self::Unclear { .. })
    }

    pub(super) fn unclear(&self) -> bool {
        matches!(self, Self::Unclear { .. })
    }
}
