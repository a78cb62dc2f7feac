//! A directory that belongs to one process at a time.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use crate::StoreError;

const LOCK: &str = ".lock";

/// Held as long as it lives. The lock is the kernel's and ends with the process, however it ends.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the directory, and writes down who has it.
    pub(crate) fn take(directory: &Path) -> Result<Self, StoreError> {
        let refused = |source| StoreError::Directory {
            directory: directory.to_owned(),
            source,
        };
        let mut file = private()
            .create(true)
            .truncate(false)
            .open(directory.join(LOCK))
            .map_err(refused)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::Locked {
                    directory: directory.to_owned(),
                    holder: holder(file),
                });
            }
            Err(TryLockError::Error(source)) => return Err(refused(source)),
        }
        // Only for the message above: a full disk must not stand in the way of emptying the store.
        name_holder(&mut file).unwrap_or_else(|error| {
            tracing::debug!(%error, "cannot write down who holds the store");
        });
        Ok(Self { _file: file })
    }
}

fn name_holder(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    write!(file, "process {} on {}", std::process::id(), host.trim())
}

fn holder(file: File) -> String {
    let mut text = String::new();
    match file.take(512).read_to_string(&mut text) {
        Ok(length) if length > 0 => text,
        _ => "another process".to_owned(),
    }
}

/// Makes a directory and its missing parents, durably, for this user alone.
pub(crate) fn make(directory: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = directory
        .ancestors()
        .take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists())
        .collect();
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    for dir in &missing {
        let parent = dir.parent().filter(|dir| !dir.as_os_str().is_empty());
        sync(parent.unwrap_or(Path::new(".")))?;
    }
    Ok(())
}

/// Makes the names in a directory durable.
pub(crate) fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Options for a file that only its owner may read: it holds customer data.
pub(crate) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}
