//! A directory of topic files that belongs to one process at a time.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::FileSinkError;
use crate::log::Status;

/// A locked directory. The lock is the kernel's and ends with the process, however it ends.
pub(crate) struct Directory {
    path: PathBuf,
    created: bool,
    status: Arc<Status>,
    _lock: File,
}

impl Directory {
    /// Makes the directory where it is missing, and locks it.
    pub(crate) fn open(path: &Path, status: Arc<Status>) -> Result<Self, FileSinkError> {
        let refused = |source| FileSinkError::Directory {
            directory: path.to_owned(),
            source,
        };
        let created = create(path).map_err(refused)?;
        let lock = private()
            .create(true)
            .open(path.join(".lock"))
            .map_err(refused)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => FileSinkError::Locked {
                directory: path.to_owned(),
            },
            TryLockError::Error(source) => refused(source),
        })?;
        Ok(Self {
            path: path.to_owned(),
            created,
            status,
            _lock: lock,
        })
    }

    /// Whether [`Directory::open`] made it.
    pub(crate) fn created(&self) -> bool {
        self.created
    }

    /// The file that a topic is appended to.
    pub(crate) fn file(&self, topic: &str) -> PathBuf {
        self.path.join(format!("{topic}.ndjson"))
    }

    /// Makes a file for the incomplete last line of a topic's file.
    pub(crate) fn create_torn(&self, topic: &str) -> io::Result<(File, PathBuf)> {
        let mut number = 1;
        loop {
            let path = self.path.join(format!("{topic}.torn-{number}"));
            match private().create_new(true).open(&path) {
                Ok(file) => return Ok((file, path)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// Where a topic's full file goes: numbered on from the highest there is, six digits, so that
    /// names sort by age.
    pub(crate) fn rotated(&self, topic: &str) -> io::Result<PathBuf> {
        let mut last = 0;
        for entry in fs::read_dir(&self.path)? {
            let number = rotated_number(&entry?.file_name(), topic);
            last = last.max(number.unwrap_or(0));
        }
        Ok(self.path.join(rotated_name(topic, last + 1)))
    }

    /// Makes a file's content and length durable.
    pub(crate) fn sync_file(&self, file: &File) -> io::Result<()> {
        self.status.before_fsync()?;
        file.sync_data()
    }

    /// Makes the names in the directory durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.status.before_fsync()?;
        File::open(&self.path)?.sync_all()
    }
}

/// The number in the name of a full file of the topic.
fn rotated_number(name: &OsStr, topic: &str) -> Option<u64> {
    let rest = name.to_str()?.strip_prefix(topic)?.strip_prefix('-')?;
    rest.strip_suffix(".ndjson")?.parse().ok()
}

fn rotated_name(topic: &str, number: u64) -> String {
    format!("{topic}-{number:06}.ndjson")
}

/// The files of the directory that were a topic's and are full, oldest first; `vod-1.ndjson` is the
/// file of another topic.
pub(crate) fn rotated_files(directory: &Path, topic: &str) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let number = rotated_number(&name, topic);
        if let Some(number) = number.filter(|number| *name == *rotated_name(topic, *number)) {
            files.push((number, directory.join(name)));
        }
    }
    files.sort();
    Ok(files.into_iter().map(|(_, path)| path).collect())
}

/// Options for a file that only its owner may read: it holds customer data.
pub(crate) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).append(true).mode(0o600);
    options
}

/// Makes a directory and its missing parents, durably. True: it was missing.
fn create(path: &Path) -> io::Result<bool> {
    let missing: Vec<&Path> = path
        .ancestors()
        .take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists())
        .collect();
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    for dir in &missing {
        let parent = match dir.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        File::open(parent)?.sync_all()?;
    }
    Ok(!missing.is_empty())
}
