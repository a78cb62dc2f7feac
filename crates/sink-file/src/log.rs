//! A directory of NDJSON files that lines are appended to by topic.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::sync::{mpsc, oneshot};
use vodbridge_core::{Health, HealthCell};

use crate::directory::Directory;
use crate::error::{AppendError, FileSinkError};
use crate::writer::{Append, Command, Writer};

/// So many threads write, each its own topics: fsyncs of several files at once share the file
/// system's commits, while one after the other each waits for its own. More threads would be faster
/// still, but take fewer events to an fsync, which costs a processor 50 µs.
pub(crate) const WRITERS: usize = 4;
/// How many appends may wait for a writer; more wait in [`FileLog::append`].
const WAITING: usize = 1024;
/// Bytes of a topic at most: a file system takes names of 255, and files that are set aside add
/// a number.
pub const LONGEST_TOPIC: usize = 200;

/// Appends lines to `DIRECTORY/TOPIC.ndjson`. The writer of a topic takes what waits, appends it
/// with one fsync per file, and only then answers. Files are mode 0600, a directory that it makes
/// 0700.
pub struct FileLog {
    writers: Vec<mpsc::Sender<Command>>,
    status: Arc<Status>,
    created: bool,
}

/// What the writer tells the world.
pub(crate) struct Status {
    pub(crate) health: HealthCell,
    fsyncs: AtomicU64,
    #[cfg(test)]
    pub(crate) refuse_fsync: std::sync::atomic::AtomicBool,
}

impl Status {
    fn new(doing: String) -> Self {
        Self {
            health: HealthCell::starting(doing),
            fsyncs: AtomicU64::new(0),
            #[cfg(test)]
            refuse_fsync: false.into(),
        }
    }

    pub(crate) fn before_fsync(&self) -> io::Result<()> {
        self.fsyncs.fetch_add(1, Ordering::Relaxed);
        #[cfg(test)]
        if self.refuse_fsync.swap(false, Ordering::Relaxed) {
            return Err(io::Error::other("injected fsync failure"));
        }
        Ok(())
    }
}

impl FileLog {
    /// Makes the directory where it is missing, locks it and starts the writers. A file that has
    /// grown past `rotate_bytes` is set aside as `TOPIC-<number>.ndjson`.
    pub fn open(directory: &Path, rotate_bytes: u64) -> Result<Self, FileSinkError> {
        if rotate_bytes == 0 {
            return Err(FileSinkError::RotateBytes);
        }
        let doing = format!("appending to {}", directory.display());
        let status = Arc::new(Status::new(doing.clone()));
        let directory = Arc::new(Directory::open(directory, status.clone())?);
        let created = directory.created();
        let start = |number| {
            let (commands, waiting) = mpsc::channel(WAITING);
            let (directory, status) = (directory.clone(), status.clone());
            let writer = Writer::new(directory, rotate_bytes, doing.clone(), status);
            std::thread::Builder::new()
                .name(format!("file-writer-{number}"))
                .spawn(move || writer.run(waiting))
                .map(|_| commands)
                .map_err(FileSinkError::Thread)
        };
        let writers = (0..WRITERS).map(start).collect::<Result<_, _>>()?;
        status.health.up(doing);
        Ok(Self {
            writers,
            status,
            created,
        })
    }

    /// Resolves once the line is durable. `line` has no newline in it; one is added.
    ///
    /// Dropping the future means "not appended"; the line may be in the file nevertheless.
    pub async fn append(&self, topic: &str, line: Bytes) -> Result<(), AppendError> {
        if !is_file_name(topic) {
            return Err(AppendError::UnsafeTopic(topic.into()));
        }
        if line.contains(&b'\n') {
            return Err(AppendError::NotOneLine(topic.into()));
        }
        let (answer, answered) = oneshot::channel();
        let append = Append {
            topic: topic.into(),
            line,
            answer,
        };
        self.writer(topic)
            .send(Command::Append(append))
            .await
            .map_err(|_| AppendError::Closed)?;
        answered.await.unwrap_or(Err(AppendError::Closed))
    }

    /// What it does, and what is wrong.
    pub fn health(&self) -> Health {
        self.status.health.get()
    }

    /// How many fsyncs there were, of files and of the directory.
    pub fn fsyncs(&self) -> u64 {
        self.status.fsyncs.load(Ordering::Relaxed)
    }

    /// Whether [`FileLog::open`] made the directory.
    pub fn created(&self) -> bool {
        self.created
    }

    /// Ends the writers after what waits, and unlocks the directory. Appends fail from then on.
    pub async fn close(&self) {
        let close = async |writer: &mpsc::Sender<Command>| {
            let (done, closed) = oneshot::channel();
            if writer.send(Command::Close(done)).await.is_ok() {
                // An error here says that the writer has ended already, as was wanted.
                closed.await.unwrap_or(());
            }
        };
        join_all(self.writers.iter().map(close)).await;
    }

    /// Always the same for a topic, so that one thread alone has its file.
    fn writer(&self, topic: &str) -> &mpsc::Sender<Command> {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(topic);
        &self.writers[hash as usize % self.writers.len()]
    }

    #[cfg(test)]
    pub(crate) fn status(&self) -> &Status {
        &self.status
    }
}

/// Whether `TOPIC.ndjson`, and the longer names made from it, are plain visible file names.
pub(crate) fn is_file_name(topic: &str) -> bool {
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    !topic.is_empty()
        && topic.len() <= LONGEST_TOPIC
        && !topic.starts_with('.')
        && topic.bytes().all(safe)
}
