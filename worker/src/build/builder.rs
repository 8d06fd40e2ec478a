//! The seam between a worker and what it builds with.
//!
//! Everything else of a worker is the same whoever stands here, so that the path around a build
//! (claim, lease, result, ack) can be measured without one.

use futures_util::future::BoxFuture;
use proto::{JobKey, Repo, Revision};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{BuildContext, Ended, Limits, Notice, Source, Task, build};
use crate::{
    log_sink::LogSink,
    mirror::{Git, MirrorError},
};

/// Builds, and knows the history of what it builds.
pub trait Builder: Send + Sync {
    /// Bytes of log that are kept of one build of this repository.
    fn log_keep_max(&self, repo: &Repo) -> u64;

    /// Runs one attempt. `stop` may fire at any time; then nothing of it may be left running when
    /// this ends.
    fn build(
        &self,
        task: Task,
        notices: mpsc::Sender<Notice>,
        log: LogSink,
        stop: CancellationToken,
    ) -> BoxFuture<'_, Ended>;

    /// Whether a good build of this job takes the place of the one of `old` as its host's newest.
    ///
    /// # Errors
    /// When the history cannot be asked.
    fn replaces<'a>(
        &'a self,
        job: &'a JobKey,
        old: Option<&'a Revision>,
    ) -> BoxFuture<'a, Result<bool, MirrorError>>;
}

impl Builder for BuildContext {
    fn log_keep_max(&self, repo: &Repo) -> u64 {
        let limits = self.sources.get(repo).map_or(&Limits::DEFAULT, |source| &source.limits);
        limits.log_keep_max
    }

    fn build(
        &self,
        task: Task,
        notices: mpsc::Sender<Notice>,
        log: LogSink,
        stop: CancellationToken,
    ) -> BoxFuture<'_, Ended> {
        Box::pin(build(self, task, notices, log, stop))
    }

    fn replaces<'a>(
        &'a self,
        job: &'a JobKey,
        old: Option<&'a Revision>,
    ) -> BoxFuture<'a, Result<bool, MirrorError>> {
        Box::pin(async move {
            let Some(Source { mirror, .. }) = self.sources.get(&job.repo) else { return Ok(false) };
            let (stop, log) = (CancellationToken::new(), LogSink::mute());
            let git = Git { supervisor: &self.supervisor, nix: &self.nix, stop: &stop, log: &log };
            mirror.replaces(&git, &job.revision, old).await
        })
    }
}
