//! Why a store cannot be opened, and why a record was not kept.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::ErrorCode;
use thiserror::Error;

use crate::store::FILE;

/// Why a store could not be opened.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The directory could not be made or written.
    #[error("cannot use directory {}: make it writable for this user, or choose another", directory.display())]
    Directory {
        /// The directory.
        directory: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Another process, or another part of this one, has it.
    #[error("the store in {} is in use by {holder}: stop that first, or give each source a directory of its own", directory.display())]
    Locked {
        /// The directory.
        directory: PathBuf,
        /// Process and host, as the holder wrote them down.
        holder: String,
    },
    /// There is no store to look at.
    #[error("there is no store in {}", directory.display())]
    Missing {
        /// The directory.
        directory: PathBuf,
    },
    /// Too small to hold even a few records.
    #[error("max_bytes is {max_bytes}, less than the {SMALLEST} that a store needs")]
    TooSmall {
        /// What was asked for.
        max_bytes: u64,
    },
    /// The file is something else, or was written by a version that knows more.
    #[error("{} is not a store that this version of vodbridge knows: use the version that wrote it, or another directory", file.display())]
    Foreign {
        /// The file.
        file: PathBuf,
    },
    /// What is on the disk contradicts itself.
    #[error("the store in {} is damaged: save what can be read with `vodbridge spool export`, then move the directory away", directory.display())]
    Damaged {
        /// The directory.
        directory: PathBuf,
        /// What was found.
        source: rusqlite::Error,
    },
    /// The disk could not be read or written.
    #[error("cannot read or write the store in {}: {}", directory.display(), remedy(source))]
    Io {
        /// The directory.
        directory: PathBuf,
        /// What was said.
        source: Cause,
    },
    /// The thread that writes could not be started.
    #[error("cannot start the thread of the store")]
    Thread(#[source] io::Error),
}

/// The least that `max_bytes` may be.
pub const SMALLEST: u64 = 1024 * 1024;

/// Why a record was not kept, or records cannot be read. Shared by all of a group, therefore
/// cheap to clone.
#[derive(Debug, Clone, Error)]
pub enum AccessError {
    /// The store holds as much as it may. Nothing was dropped to make room.
    #[error("the store is full ({max_bytes} bytes): raise max_bytes, or bring its sinks back")]
    Full {
        /// The limit.
        max_bytes: u64,
    },
    /// The disk did not take it or did not give it back. What was to be kept is not.
    #[error("cannot use the store in {}: {}", directory.display(), remedy(source))]
    Io {
        /// The directory.
        directory: PathBuf,
        /// What was said.
        source: Arc<Cause>,
    },
    /// The store has been closed.
    #[error("the store is closed")]
    Closed,
}

/// What the engine or the operating system said.
#[derive(Debug, Error)]
pub enum Cause {
    /// The engine.
    #[error(transparent)]
    Engine(#[from] rusqlite::Error),
    /// The operating system.
    #[error(transparent)]
    System(#[from] io::Error),
    /// The file system does not do what the engine builds on.
    #[error("no write-ahead log on this file system, but journal mode {0}")]
    NoLog(String),
    /// Somebody reads the store and does not end.
    #[error("the log could not be written back, since another process reads the store")]
    Busy,
    /// A file that is no store, or one of a later version.
    #[error("the file is not a store that this version knows")]
    Foreign,
}

impl Cause {
    fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Engine(error) => error.sqlite_error_code(),
            _ => None,
        }
    }

    /// What it means for whoever opens a store.
    pub(crate) fn on_opening(self, directory: &Path) -> StoreError {
        let directory = directory.to_owned();
        match self {
            Self::Foreign => StoreError::Foreign {
                file: directory.join(FILE),
            },
            // The statements are right: if they fail in general, tables are not what they were.
            Self::Engine(source)
                if matches!(source.sqlite_error_code(), None | Some(ErrorCode::Unknown))
                    || source.sqlite_error_code().is_some_and(is_damage) =>
            {
                StoreError::Damaged { directory, source }
            }
            source => StoreError::Io { directory, source },
        }
    }

    /// What it means for whoever uses one.
    pub(crate) fn on_access(self, directory: &Path) -> AccessError {
        AccessError::Io {
            directory: directory.to_owned(),
            source: Arc::new(self),
        }
    }

    /// Whether the content of the file is at fault.
    pub(crate) fn is_damage(&self) -> bool {
        self.code().is_some_and(is_damage)
    }

    /// Whether the disk is full, or the part of it that this user may have.
    pub(crate) fn is_no_space(&self) -> bool {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        match self {
            Self::System(error) => {
                matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
            }
            // The second: no space for the index of the log, which others see too.
            Self::Engine(rusqlite::Error::SqliteFailure(error, _)) => {
                error.code == ErrorCode::DiskFull
                    || error.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE
            }
            _ => false,
        }
    }
}

/// Whether the engine found its file to contradict itself.
pub(crate) fn is_damage(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
}

/// What an operator can do.
pub(crate) fn remedy(cause: &Cause) -> &'static str {
    if cause.is_no_space() {
        return "free space on the disk; it goes on by itself";
    }
    if cause.is_damage() {
        return "save what can be read with `vodbridge spool export`, then move the directory away";
    }
    if matches!(cause, Cause::Busy) {
        return "end the process that reads the store; it goes on by itself";
    }
    match cause.code() {
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
            "make the directory and its files writable for this user"
        }
        _ => "look at the disk and the kernel log; it is tried again with the next record",
    }
}
