//! Directories that do not outlive the tests, even those of a run that was killed.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use anyhow::{Context, Result};
use tempfile::TempDir;

static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
    let root = std::env::temp_dir().join("vodbridge-tests");
    sweep(&root);
    root.join(std::process::id().to_string())
});

/// A new directory, removed when dropped. What a static holds is never dropped: the next run
/// removes it.
///
/// # Errors
/// Where it cannot be made.
pub fn directory(name: &str) -> Result<TempDir> {
    std::fs::create_dir_all(&*ROOT).with_context(|| format!("cannot make {}", ROOT.display()))?;
    Ok(tempfile::Builder::new()
        .prefix(&format!("{name}-"))
        .tempdir_in(&*ROOT)?)
}

/// Removes the directories of processes that have ended.
fn sweep(root: &Path) {
    for entry in std::fs::read_dir(root).into_iter().flatten().flatten() {
        if !Path::new("/proc").join(entry.file_name()).exists() {
            // Another run may be sweeping too: whoever is second finds nothing.
            std::fs::remove_dir_all(entry.path()).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_of_ended_processes_are_swept() {
        let root = tempfile::tempdir().unwrap();
        let ended = root.path().join("4294967294");
        let own = root.path().join(std::process::id().to_string());
        std::fs::create_dir(&ended).unwrap();
        std::fs::create_dir(&own).unwrap();
        sweep(root.path());
        assert!(own.exists() && !ended.exists());
    }
}
