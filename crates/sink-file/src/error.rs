//! Why a directory cannot be opened, and why a line was not appended.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;
use vodbridge_core::PublishError;

/// Why a directory could not be opened for appending.
#[derive(Debug, Error)]
pub enum FileSinkError {
    /// It could not be made, or its lock file could not be.
    #[error("cannot use directory {}: make it writable for this user, or choose another", directory.display())]
    Directory {
        /// The directory.
        directory: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Another process, or another part of this one, appends to it.
    #[error("directory {} is in use: give each process and each sink its own", directory.display())]
    Locked {
        /// The directory.
        directory: PathBuf,
    },
    /// Every append would rotate.
    #[error("rotate_bytes must be at least 1")]
    RotateBytes,
    /// The thread that writes could not be started.
    #[error("cannot start the writer thread")]
    Thread(#[source] io::Error),
}

/// Why a line was not appended. Shared by all lines of a group, therefore cheap to clone.
#[derive(Debug, Clone, Error)]
pub enum AppendError {
    /// The topic cannot be a file name.
    #[error(
        "topic {0:?} cannot be a file name: use at most 200 letters, digits, `.`, `_` and `-`, the first not a `.`"
    )]
    UnsafeTopic(String),
    /// The line holds a newline, so it would be read back as two.
    #[error("the record for topic {0:?} is not one line")]
    NotOneLine(String),
    /// The operating system refused the write or the fsync.
    #[error("cannot append to {}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What the operating system said.
        source: Arc<io::Error>,
    },
    /// The log has been closed.
    #[error("the log is closed")]
    Closed,
}

impl From<AppendError> for PublishError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::UnsafeTopic(_) | AppendError::NotOneLine(_) => {
                Self::Permanent(error.into())
            }
            AppendError::Io { .. } | AppendError::Closed => Self::Transient(error.into()),
        }
    }
}

/// What an operator can do about an error of the operating system.
pub(crate) fn remedy(error: &io::Error) -> &'static str {
    use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    match error.kind() {
        StorageFull => "free space on the disk; appending goes on by itself",
        QuotaExceeded => "raise the disk quota or free space; appending goes on by itself",
        PermissionDenied => "make the directory and its files writable for this user",
        ReadOnlyFilesystem => "mount the file system for writing, or choose another directory",
        _ => "look at the disk and the kernel log; appending is tried again with a new handle",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_about_the_event_is_permanent() {
        let io = |kind: io::ErrorKind| AppendError::Io {
            file: "vod.ndjson".into(),
            source: Arc::new(kind.into()),
        };
        for (error, kind) in [
            (AppendError::UnsafeTopic("../x".into()), "permanent"),
            (AppendError::NotOneLine("vod".into()), "permanent"),
            (io(io::ErrorKind::StorageFull), "transient"),
            (io(io::ErrorKind::PermissionDenied), "transient"),
            (io(io::ErrorKind::Other), "transient"),
            (AppendError::Closed, "transient"),
        ] {
            let text = error.to_string();
            assert_eq!(PublishError::from(error).kind(), kind, "{text}");
        }
    }
}
