//! Running git and Nix: no terminal, bounded time, bounded output. It does not know what they say.

use std::{io, process::ExitStatus, process::Stdio, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::Command,
};

/// What a program that ended has left.
#[derive(Debug)]
pub struct Finished {
    pub status: ExitStatus,
    /// To be read only at exit 0.
    pub stdout: Vec<u8>,
    /// The end of what it said, for people.
    pub stderr: String,
}

/// A program that gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It was not started.
    #[error("{program} cannot be started: {source}; is it installed and in PATH?")]
    Start {
        /// Its name.
        program: &'static str,
        /// Why.
        source: io::Error,
    },
    /// Its pipes or its exit could not be read.
    #[error("the output of {program} cannot be read: {source}")]
    Read {
        /// Its name.
        program: &'static str,
        /// Why.
        source: io::Error,
    },
    /// It took too long and was killed.
    #[error("{program} gave no answer within {}", settings::Span(*.limit))]
    Deadline {
        /// Its name.
        program: &'static str,
        /// The time it was given.
        limit: Duration,
    },
}

/// Names and systems of ten thousand hosts are below 1 MiB.
const STDOUT_BYTES_MAX: u64 = 16 << 20;
/// Nix prints a trace before the message that counts, which comes last.
const STDERR_BYTES_KEPT: usize = 16 << 10;

/// Runs a program to its end. It shares our process group, so that Ctrl-C reaches its children too.
pub async fn finished(
    program: &'static str,
    command: &mut Command,
    limit: Duration,
) -> Result<Finished, ProcessError> {
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let started = command.kill_on_drop(true).spawn();
    let mut child = started.map_err(|source| ProcessError::Start { program, source })?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let work = async {
        let (stdout, stderr) = tokio::try_join!(head(stdout), tail(stderr))?;
        // The pipes are closed: a program that would go on writing gets SIGPIPE.
        let stderr = String::from_utf8_lossy(&stderr).into_owned();
        io::Result::Ok(Finished { status: child.wait().await?, stdout, stderr })
    };
    match tokio::time::timeout(limit, work).await {
        Ok(done) => done.map_err(|source| ProcessError::Read { program, source }),
        Err(_) => Err(ProcessError::Deadline { program, limit }),
    }
}

async fn head(pipe: Option<impl AsyncRead + Unpin>) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    if let Some(pipe) = pipe {
        pipe.take(STDOUT_BYTES_MAX).read_to_end(&mut head).await?;
    }
    Ok(head)
}

async fn tail(pipe: Option<impl AsyncRead + Unpin>) -> io::Result<Vec<u8>> {
    let (mut tail, mut chunk) = (Vec::new(), [0; 4096]);
    let Some(mut pipe) = pipe else { return Ok(tail) };
    loop {
        let read = pipe.read(&mut chunk).await?;
        if read == 0 {
            return Ok(tail);
        }
        tail.extend_from_slice(&chunk[..read]);
        let spare = tail.len().saturating_sub(STDERR_BYTES_KEPT);
        tail.drain(..spare);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn both_streams_and_the_status_are_told_apart() {
        let done = finished("sh", &mut shell("echo out; echo err >&2; exit 3"), LIMIT).await;
        let done = done.expect("it ends");
        assert_eq!((done.status.code(), &done.stdout[..]), (Some(3), &b"out\n"[..]));
        assert_eq!(done.stderr, "err\n");
    }

    #[tokio::test]
    async fn a_program_that_hangs_is_given_up() {
        let limit = Duration::from_millis(50);
        let error = finished("sh", &mut shell("exec sleep 600"), limit).await.expect_err("hangs");
        assert!(error.to_string().contains("within 50ms"), "{error}");
    }

    #[tokio::test]
    async fn of_endless_messages_the_end_is_kept() {
        let script = "i=0; while [ $i -lt 9000 ]; do echo line $i >&2; i=$((i+1)); done";
        let done = finished("sh", &mut shell(script), LIMIT).await.expect("it ends");
        assert!(done.stderr.len() <= STDERR_BYTES_KEPT && done.stderr.ends_with("line 8999\n"));
    }
}
