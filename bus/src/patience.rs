//! Trying an idempotent operation again while the broker does not answer.

use std::time::Duration;

use tokio::time::Instant;

use crate::error::Error;

/// A broker that restarts or elects a leader is back within this.
const RETRY_FOR: Duration = Duration::from_secs(30);
/// Between two tries.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// Tries an idempotent operation again while the broker does not answer, for a while.
///
/// # Errors
/// Whatever the operation meets that waiting does not mend, or its last silence.
pub async fn retried<T, F>(mut operation: impl FnMut() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let give_up = Instant::now() + RETRY_FOR;
    loop {
        match operation().await {
            Err(error) if error.transient() && Instant::now() < give_up => {
                tracing::debug!("trying again: {error}");
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            answer => return answer,
        }
    }
}
