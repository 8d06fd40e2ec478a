//! One git at a time in a mirror, which is also what makes a lock file of git's, found on disk, a
//! stale one. Between attempts of one worker a mutex does it; `worker roots prune` is a process of
//! its own, so there is a file beside the mirror as well.

use std::{
    fs::{self, File, TryLockError},
    path::PathBuf,
    time::Duration,
};

use tokio::{
    sync::{Mutex, MutexGuard},
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use super::{FETCH_WALL, MirrorError};

/// Between two tries for the file. Two processes seldom want one mirror.
const AGAIN: Duration = Duration::from_millis(100);

/// What lets one at a time in.
#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
    here: Mutex<()>,
}

/// Held until it is dropped, or its process ends.
#[derive(Debug)]
pub(super) struct Held<'a> {
    _everywhere: File,
    _here: MutexGuard<'a, ()>,
}

impl Lock {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, here: Mutex::new(()) }
    }

    /// Waits for its turn; for another process no longer than that may take.
    pub(super) async fn take(&self, stop: &CancellationToken) -> Result<Held<'_>, MirrorError> {
        let taken = async {
            let here = self.here.lock().await;
            Ok(Held { _everywhere: self.everywhere().await?, _here: here })
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => Err(MirrorError::Stopped),
            held = taken => held,
        }
    }

    async fn everywhere(&self) -> Result<File, MirrorError> {
        let failed = |source| MirrorError::Io { path: self.path.clone(), source };
        if let Some(dir) = self.path.parent() {
            fs::create_dir_all(dir).map_err(failed)?;
        }
        let file = File::options().create(true).truncate(false).write(true).open(&self.path);
        let file = file.map_err(failed)?;
        let deadline = Instant::now() + FETCH_WALL;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::Error(source)) => return Err(failed(source)),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => sleep(AGAIN).await,
                Err(TryLockError::WouldBlock) => {
                    return Err(MirrorError::Held { path: self.path.clone() });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn another_process_waits_and_not_for_ever() {
        let dir = tempfile::tempdir().expect("a folder");
        let (path, stop) = (dir.path().join("mirrors/r.lock"), CancellationToken::new());
        // A file opened twice is as good as two processes.
        let (one, other) = (Lock::new(path.clone()), Lock::new(path));
        let held = one.take(&stop).await.expect("nobody has it");
        let waited = Instant::now();
        let refused = other.take(&stop).await.expect_err("it is held");
        assert!(matches!(refused, MirrorError::Held { .. }), "{refused}");
        assert!(waited.elapsed() >= FETCH_WALL);
        drop(held);
        let held = other.take(&stop).await.expect("given back");
        stop.cancel();
        assert!(matches!(one.take(&stop).await, Err(MirrorError::Stopped)));
        drop(held);
    }
}
