//! The exit codes of all binaries.

/// How a command ended, for scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitCode {
    /// 0: done; all built; pass.
    Done,
    /// 1: a build failed; the verdict is fail.
    Failed,
    /// 2: the command line or a config file is wrong.
    Usage,
    /// 3: undecided: infrastructure, time ran out, broker unreachable.
    Undecided,
    /// 4: cancelled or superseded.
    Cancelled,
}

impl ExitCode {
    /// The number that the process exits with.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Undecided => 3,
            Self::Cancelled => 4,
        }
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code.code())
    }
}
