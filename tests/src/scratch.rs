//! Temporary folders that one can tell from those of others.

use tempfile::TempDir;

/// An empty folder that goes when it is dropped.
pub fn scratch() -> TempDir {
    let folder = tempfile::Builder::new().prefix("nbp-test-").tempdir();
    folder.expect("a writable folder for temporary files")
}
