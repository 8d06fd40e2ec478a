//! Gathers facts: every call is bounded in time, and none leaves anything behind.
//!
//! It judges nothing; whatever fails becomes a [`Trouble`].

pub(super) mod broker;
pub(super) mod cache;
pub(super) mod git;
pub(super) mod machine;
pub(super) mod nix;
pub(super) mod space;

use std::{collections::VecDeque, time::Duration};

use tokio::{sync::oneshot, time::timeout};
use tokio_util::sync::CancellationToken;

use super::trouble::Trouble;
use crate::nix::process::{Guard, Halt, Invocation, Supervisor};

/// For one call of a program to a local service.
pub(super) const CALL_WALL: Duration = Duration::from_secs(30);
/// For one call over the network.
pub(super) const NETWORK_WALL: Duration = Duration::from_secs(45);
/// For a killed call to be gone, beyond its own deadline: a process that hangs in the kernel is
/// left behind, and ends when it can.
const GONE_WALL: Duration = Duration::from_secs(5);
/// Lines of stderr that are kept.
const STDERR_LINES: usize = 8;

/// What a program said that ran to its end.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) success: bool,
    pub(super) stdout: String,
    /// Its last lines.
    pub(super) stderr: Vec<String>,
}

impl Answer {
    /// Its stdout, if it ended well.
    pub(super) fn good(self) -> Result<String, Trouble> {
        match self.success {
            true => Ok(self.stdout),
            false => Err(self.trouble()),
        }
    }

    /// Nix's last error with what belongs to it, without the warnings and retries before; of other
    /// programs all of their last lines.
    pub(super) fn trouble(&self) -> Trouble {
        let error = self.stderr.iter().rposition(|line| line.starts_with("error:"));
        Trouble::Failed(self.stderr[error.unwrap_or(0)..].join("; "))
    }
}

/// Runs a program to its end, or not longer than `wall`.
pub(super) async fn ask(
    supervisor: &Supervisor,
    invocation: &Invocation,
    wall: Duration,
) -> Result<Answer, Trouble> {
    let guard = Guard::new(&CancellationToken::new(), wall);
    let mut said = VecDeque::new();
    let run = supervisor.run(invocation, &guard, |line| {
        if said.len() == STDERR_LINES {
            said.pop_front();
        }
        said.push_back(crate::nix::events::plain(&line.text));
    });
    let ended = match timeout(wall + GONE_WALL, run).await {
        Ok(Ok(exit)) => exit,
        Ok(Err(Halt::Spawn(error))) => return Err(Trouble::Failed(error.to_string())),
        Ok(Err(_)) | Err(_) => return Err(Trouble::Late(wall)),
    };
    let stderr = Vec::from(said);
    let unstarted = |line: &String| line.contains("cannot supervise");
    if ended.code == Some(crate::supervise::CANNOT_RUN) && stderr.iter().any(unstarted) {
        return Err(Trouble::Missing(invocation.program));
    }
    let Some(stdout) = ended.text() else {
        return Err(Trouble::Failed("it said more than is read, or no text".to_owned()));
    };
    Ok(Answer { success: ended.success(), stdout: stdout.to_owned(), stderr })
}

/// Runs what may hang in the kernel, such as a look at a file system whose server is away. Its own
/// thread, which nobody joins: the runtime's blocking threads would hold up the end of the program.
pub(super) async fn looked<T: Send + 'static>(
    look: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Trouble> {
    let (tell, told) = oneshot::channel();
    std::thread::spawn(move || tell.send(look()).ok());
    match timeout(CALL_WALL, told).await {
        Ok(Ok(seen)) => Ok(seen),
        Ok(Err(_)) => Err(Trouble::Failed("the look panicked".to_owned())),
        Err(_) => Err(Trouble::Late(CALL_WALL)),
    }
}
