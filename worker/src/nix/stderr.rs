//! A child's stderr, read so that the child is not held up by its reader.
//!
//! Whoever reads a pipe as fast as it is written is woken for each line, and waking it costs the
//! writer more than the line: a build of a million lines took half as long again. So a child that
//! keeps talking is read in intervals, into a pipe that holds what comes meanwhile; and between two
//! reads nobody waits for the pipe, because a write wakes each waiter.

use std::{io, os::fd::OwnedFd, time::Duration};

use rustix::{io::Errno, pipe::fcntl_setpipe_size};
use tokio::{
    net::unix::pipe::Receiver,
    process::ChildStderr,
    time::{Instant, sleep_until},
};

/// What the pipe of a child that keeps talking should hold: the most that a user may ask for
/// (`/proc/sys/fs/pipe-max-size`), some 25 ms of the fastest log that Nix was seen to write.
const PIPE_BYTES: usize = 1 << 20;
/// Between two reads of it, far below what a reader of a live log notices.
const PAUSE: Duration = Duration::from_millis(4);
/// The same when the pipe has the size that it came with: 64 KiB are full after 2 ms.
const PAUSE_SMALL: Duration = Duration::from_millis(1);
/// Reads without a pause: most children say less than this in all, and end sooner without.
const READS_AT_ONCE: u32 = 32;
/// Reads further apart than this are not of a child that keeps talking.
const QUIET: Duration = Duration::from_millis(50);

/// See the module.
#[derive(Debug)]
pub(super) struct Stderr {
    pipe: OwnedFd,
    /// Between two reads, once they are paused.
    pause: Option<Duration>,
    /// Reads so far with less than [`QUIET`] between them.
    in_a_row: u32,
    read_at: Instant,
    not_before: Option<Instant>,
}

impl Stderr {
    pub(super) fn new(stderr: ChildStderr) -> io::Result<Self> {
        let pipe = stderr.into_owned_fd()?;
        rustix::io::ioctl_fionbio(&pipe, true)?;
        Ok(Self { pipe, pause: None, in_a_row: 0, read_at: Instant::now(), not_before: None })
    }

    /// Reads what is there, or waits for it; 0 at the end of the stream. Cancel-safe.
    pub(super) async fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if let Some(at) = self.not_before {
            sleep_until(at).await;
            self.not_before = None;
        }
        loop {
            match rustix::io::read(&self.pipe, &mut *into) {
                Ok(bytes) => {
                    self.pace(bytes == into.len());
                    return Ok(bytes);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    // A second name for the pipe, known to the poller only while it is empty.
                    let waiting = Receiver::from_owned_fd(self.pipe.try_clone()?)?;
                    waiting.readable().await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn pace(&mut self, more_is_there: bool) {
        let now = Instant::now();
        let quiet = now.saturating_duration_since(self.read_at) >= QUIET;
        self.in_a_row = if quiet { 0 } else { self.in_a_row.saturating_add(1) };
        self.read_at = now;
        if self.in_a_row >= READS_AT_ONCE && !more_is_there {
            let pipe = &self.pipe;
            // Refused where the user's pipes together are at their limit, or one may not be so large.
            let enlarged = || fcntl_setpipe_size(pipe, PIPE_BYTES).is_ok();
            let pause = || if enlarged() { PAUSE } else { PAUSE_SMALL };
            self.not_before = Some(now + *self.pause.get_or_insert_with(pause));
        }
    }
}
