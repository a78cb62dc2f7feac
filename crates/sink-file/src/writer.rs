//! A thread that does the blocking I/O of some topics.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use crate::directory::Directory;
use crate::error::{AppendError, remedy};
use crate::log::Status;
use crate::topic_file::TopicFile;

/// How many appends share an fsync at most.
const GROUP: usize = 1024;
/// How many files a writer has open at most; the one unused for longest is closed first.
pub(crate) const OPEN_FILES: usize = 32;

/// One line, and who waits for it to be durable.
pub(crate) struct Append {
    pub(crate) topic: String,
    pub(crate) line: Bytes,
    pub(crate) answer: oneshot::Sender<Result<(), AppendError>>,
}

pub(crate) enum Command {
    Append(Append),
    Close(oneshot::Sender<()>),
}

pub(crate) struct Writer {
    directory: Arc<Directory>,
    rotate_bytes: u64,
    doing: String,
    status: Arc<Status>,
    open: HashMap<String, Used>,
    clock: u64,
}

struct Used {
    file: TopicFile,
    last: u64,
}

impl Writer {
    pub(crate) fn new(
        directory: Arc<Directory>,
        rotate_bytes: u64,
        doing: String,
        status: Arc<Status>,
    ) -> Self {
        Self {
            directory,
            rotate_bytes,
            doing,
            status,
            open: HashMap::new(),
            clock: 0,
        }
    }

    /// Serves until it is told to close or every sender is gone.
    pub(crate) fn run(mut self, mut waiting: mpsc::Receiver<Command>) {
        let mut group = Vec::with_capacity(GROUP);
        while waiting.blocking_recv_many(&mut group, GROUP) > 0 {
            if let Some(done) = self.serve(group.drain(..)) {
                drop(waiting);
                drop(self);
                // Whoever asked may have stopped waiting.
                done.send(()).unwrap_or(());
                return;
            }
        }
    }

    /// Appends what waits, topic by topic, and answers. Returns who asked to close, if anyone did.
    fn serve(&mut self, group: impl Iterator<Item = Command>) -> Option<oneshot::Sender<()>> {
        let mut close = None;
        let mut topics: BTreeMap<String, Vec<(Bytes, oneshot::Sender<_>)>> = BTreeMap::new();
        for command in group {
            match command {
                // Nobody waits for it any more: written now, it could only be a copy.
                Command::Append(append) if append.answer.is_closed() => {}
                Command::Append(append) => topics
                    .entry(append.topic)
                    .or_default()
                    .push((append.line, append.answer)),
                Command::Close(done) => close = Some(done),
            }
        }
        for (topic, appends) in topics {
            let result = self.append(&topic, appends.iter().map(|(line, _)| line));
            let result = self.report(&topic, result);
            for (_, answer) in appends {
                // Whoever asked may have stopped waiting.
                answer.send(result.clone()).unwrap_or(());
            }
        }
        close
    }

    /// A file that fails stays closed until the next append to it.
    fn append<'a>(
        &mut self,
        topic: &str,
        lines: impl Iterator<Item = &'a Bytes>,
    ) -> io::Result<()> {
        let mut file = self.take_open(topic)?;
        if file.length() >= self.rotate_bytes {
            file = file.rotate(&self.directory, topic)?;
        }
        file.append(&self.directory, lines)?;
        self.clock += 1;
        let last = self.clock;
        self.open.insert(topic.into(), Used { file, last });
        Ok(())
    }

    fn take_open(&mut self, topic: &str) -> io::Result<TopicFile> {
        if let Some(Used { file, .. }) = self.open.remove(topic)
            && file.is_in_place(&self.directory, topic)?
        {
            return Ok(file);
        }
        self.make_room();
        TopicFile::open(&self.directory, topic)
    }

    fn make_room(&mut self) {
        if self.open.len() < OPEN_FILES {
            return;
        }
        let oldest = self.open.iter().min_by_key(|(_, used)| used.last);
        if let Some(topic) = oldest.map(|(topic, _)| topic.clone()) {
            self.open.remove(&topic);
        }
    }

    fn report(&self, topic: &str, result: io::Result<()>) -> Result<(), AppendError> {
        let Err(error) = result else {
            if self.status.health.up(self.doing.clone()) {
                tracing::info!("{} again", self.doing);
            }
            return Ok(());
        };
        let file = self.directory.file(topic);
        let what = format!("cannot append to {}: {error}", file.display());
        let remedy = remedy(&error);
        if self.status.health.down(what.clone(), remedy) {
            tracing::error!("{what}; {remedy}");
        }
        Err(AppendError::Io {
            file,
            source: Arc::new(error),
        })
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Seen only if it panicked: nobody asks after the close.
        self.status
            .health
            .down("the file writer has ended", "restart vodbridge");
    }
}
