//! What is in a directory of topic files, read beside the bridge that writes them.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use vodbridge_core::{BoxError, Envelope, Foreign, Message, Messages, Reader, messages};

use crate::FileConfig;
use crate::directory::rotated_files;

/// How often files are looked at while the reading goes on.
const LOOK: Duration = Duration::from_millis(100);

/// Reads the topic files of a directory, those that were set aside first. It takes no lock, so
/// that a bridge may write meanwhile; a last line without its end is not read.
#[derive(Debug, Clone)]
pub struct FileReader {
    directory: PathBuf,
}

impl FileReader {
    /// For the directory of a sink with these settings.
    pub fn new(config: &FileConfig) -> Self {
        Self::of(&config.directory)
    }

    /// For a directory. One that is not there is empty.
    pub fn of(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
        }
    }
}

impl Reader for FileReader {
    fn read<'a>(
        &'a self,
        topics: &'a [String],
        until: CancellationToken,
    ) -> BoxFuture<'a, Result<Messages, BoxError>> {
        let (sender, messages) = messages();
        let reading = Reading {
            directory: self.directory.clone(),
            seen: HashMap::new(),
            sender,
        };
        let topics = topics.to_vec();
        let started = thread::Builder::new()
            .name("file-reader".into())
            .spawn(move || reading.run(&topics, &until));
        ready(started.map(|_| messages).map_err(BoxError::from)).boxed()
    }
}

struct Reading {
    directory: PathBuf,
    /// How much of each file has been read, by device and inode, which a file keeps when it is
    /// set aside.
    seen: HashMap<(u64, u64), Seen>,
    sender: mpsc::Sender<Result<Message, BoxError>>,
}

#[derive(Clone, Copy, Default)]
struct Seen {
    bytes: u64,
    lines: u64,
}

/// Why the reading ends.
enum End {
    /// Nobody takes the messages any more.
    Unwanted,
    Failed(BoxError),
}

impl Reading {
    fn run(mut self, topics: &[String], until: &CancellationToken) {
        loop {
            // Before the pass, so that the last one has all that was there.
            let last = until.is_cancelled();
            let pass = topics.iter().try_for_each(|topic| self.topic(topic));
            match pass {
                Err(End::Failed(error)) => {
                    // Whoever asked may have left.
                    self.sender.blocking_send(Err(error)).ok();
                    return;
                }
                Err(End::Unwanted) => return,
                Ok(()) if last || self.sender.is_closed() => return,
                Ok(()) => thread::sleep(LOOK),
            }
        }
    }

    /// Reads what is new in a topic's files.
    fn topic(&mut self, topic: &str) -> Result<(), End> {
        let current = self.directory.join(format!("{topic}.ndjson"));
        // Opened before the others are listed: it is among them if it is set aside meanwhile.
        let current_file = open(&current)?;
        let mut read = Vec::new();
        for path in self.rotated(topic)? {
            if let Some(file) = open(&path)? {
                read.push(self.file(topic, &path, file)?);
            }
        }
        if let Some(file) = current_file
            && !read.contains(&identity(&file, &current)?)
        {
            self.file(topic, &current, file)?;
        }
        Ok(())
    }

    /// The files of a topic that were set aside, oldest first.
    fn rotated(&self, topic: &str) -> Result<Vec<PathBuf>, End> {
        match rotated_files(&self.directory, topic) {
            Ok(files) => Ok(files),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(failed(&self.directory, error)),
        }
    }

    /// Reads the whole lines of a file that are there now and were not read before.
    fn file(&mut self, topic: &str, path: &Path, mut file: File) -> Result<(u64, u64), End> {
        let refused = |error| failed(path, error);
        let identity = identity(&file, path)?;
        let seen = self.seen.entry(identity).or_default();
        let length = file.metadata().map_err(refused)?.len();
        if length < seen.bytes {
            *seen = Seen::default();
        }
        file.seek(SeekFrom::Start(seen.bytes)).map_err(refused)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let mut rest = BufReader::with_capacity(1 << 16, file.take(length - seen.bytes));
        loop {
            let mut line = Vec::new();
            rest.read_until(b'\n', &mut line).map_err(refused)?;
            if line.pop() != Some(b'\n') {
                return Ok(identity);
            }
            seen.bytes += line.len() as u64 + 1;
            seen.lines += 1;
            let message = Message {
                topic: topic.to_owned(),
                position: format!("{name} line {}", seen.lines),
                event: event(line.into()),
            };
            let sent = self.sender.blocking_send(Ok(message));
            sent.map_err(|_| End::Unwanted)?;
        }
    }
}

fn event(line: Bytes) -> Result<Envelope, Foreign> {
    let event = Envelope::from_structured(line.clone(), Vec::new());
    event.map_err(|error| Foreign {
        reason: error.to_string(),
        body: line,
    })
}

/// None where there is no such file.
fn open(path: &Path) -> Result<Option<File>, End> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(path, error)),
    }
}

fn identity(file: &File, path: &Path) -> Result<(u64, u64), End> {
    let metadata = file.metadata().map_err(|error| failed(path, error))?;
    Ok((metadata.dev(), metadata.ino()))
}

fn failed(path: &Path, source: io::Error) -> End {
    End::Failed(Box::new(ReadError {
        path: path.to_owned(),
        source,
    }))
}

#[derive(Debug, thiserror::Error)]
#[error("cannot read {}: make it readable for this user", path.display())]
struct ReadError {
    path: PathBuf,
    source: io::Error,
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};
    use std::io::Write;

    use futures_util::StreamExt;
    use tempfile::TempDir;

    use super::*;
    use crate::FileLog;

    fn now() -> CancellationToken {
        let until = CancellationToken::new();
        until.cancel();
        until
    }

    fn line(id: u64) -> Bytes {
        format!(
            r#"{{"specversion":"1.0","id":"{id}","source":"/","type":"x","time":"2026-01-01T00:00:00Z","data":{id}}}"#
        )
        .into()
    }

    /// Id and position of each message; the reason of a foreign one.
    async fn all(messages: Messages) -> Vec<(String, String)> {
        let shown = |message: Result<Message, BoxError>| {
            let message = message.unwrap();
            let event = message.event.map(|event| event.id().to_owned());
            (event.unwrap_or_else(|f| f.to_string()), message.position)
        };
        messages.map(shown).collect().await
    }

    #[tokio::test]
    async fn reads_files_that_were_set_aside_first_and_no_torn_line() {
        let directory = TempDir::new().unwrap();
        let log = FileLog::open(directory.path(), 250).unwrap();
        for id in 1..=7 {
            log.append("vod.a", line(id)).await.unwrap();
        }
        log.append("vod.a-1", line(8)).await.unwrap();
        log.append("vod.b", "no event".into()).await.unwrap();
        let file = directory.path().join("vod.b.ndjson");
        let mut file = OpenOptions::new().append(true).open(file).unwrap();
        file.write_all(&line(9)).unwrap();

        // The bridge still has the directory.
        let reader = FileReader::of(directory.path());
        let topics = ["vod.a", "vod.none", "vod.b"].map(String::from);
        let read = all(reader.read(&topics, now()).await.unwrap()).await;
        let ids: Vec<&str> = read.iter().map(|(id, _)| id.as_str()).collect();
        assert_eq!(ids[..7], ["1", "2", "3", "4", "5", "6", "7"]);
        assert!(ids[7].starts_with("no event of vodbridge"), "{ids:?}");
        assert_eq!(ids.len(), 8);
        assert_eq!(read[0].1, "vod.a-000001.ndjson line 1");
        assert_eq!(read[6].1, "vod.a.ndjson line 1");
    }

    #[tokio::test]
    async fn follows_through_a_rotation_and_ends_with_what_is_there() {
        let directory = TempDir::new().unwrap();
        let log = FileLog::open(directory.path(), 250).unwrap();
        log.append("vod.a", line(1)).await.unwrap();
        let until = CancellationToken::new();
        let reader = FileReader::of(directory.path());
        let topics = ["vod.a".to_owned()];
        let mut read = reader.read(&topics, until.clone()).await.unwrap();
        for id in 2..=20 {
            let message = read.next().await.unwrap().unwrap();
            assert_eq!(message.event.unwrap().id(), (id - 1).to_string());
            log.append("vod.a", line(id)).await.unwrap();
        }
        until.cancel();
        assert_eq!(
            all(read).await,
            [("20".into(), "vod.a.ndjson line 2".into())]
        );
    }

    #[tokio::test]
    async fn a_missing_directory_is_empty_and_an_unreadable_one_an_error() {
        let parent = TempDir::new().unwrap();
        let missing = FileReader::of(&parent.path().join("none"));
        let topics = ["vod.a".to_owned()];
        assert_eq!(all(missing.read(&topics, now()).await.unwrap()).await, []);

        let file = parent.path().join("file");
        fs::write(&file, "").unwrap();
        let mut read = FileReader::of(&file).read(&topics, now()).await.unwrap();
        let error = read.next().await.unwrap().unwrap_err();
        assert!(error.to_string().contains("file"), "{error}");
        assert!(read.next().await.is_none());
    }
}
