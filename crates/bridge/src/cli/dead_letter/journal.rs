//! What has been replayed: a file that outlives the command, and needs nobody's lock but its own.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use vodbridge_core::Envelope;
use vodbridge_sink_file::{FileLog, FileSinkError};

use crate::config::Config;

/// Its directory below the state directory, and the name of the file in it.
const REPLAYED: &str = "replayed";

/// One publish of one record that a sink has acked.
#[derive(Debug, Serialize, Deserialize)]
struct Line<'a> {
    id: &'a str,
    source: &'a str,
    time: &'a str,
    sink: &'a str,
    #[serde(skip_deserializing)]
    replayed_at: String,
}

/// Half of a SHA-256 over what a line says: small enough to keep millions of them.
type Key = [u8; 16];

impl Line<'_> {
    fn key(&self) -> Key {
        let mut digest = Sha256::new();
        for part in [self.id, self.source, self.time, self.sink] {
            digest.update(part);
            // No part holds it.
            digest.update(b"\n");
        }
        let mut key = Key::default();
        key.copy_from_slice(&digest.finalize()[..16]);
        key
    }
}

/// The line of a dead letter's record for a sink. A record is told from others, of the same event
/// too, by its id, source and time; a copy of it on the topic is the same.
fn line<'a>(record: &'a Envelope, sink: &'a str) -> Line<'a> {
    let mut attributes = record.attributes();
    let source = attributes.find(|(name, _)| *name == "source");
    Line {
        id: record.id(),
        source: source.map_or("", |(_, value)| value),
        time: record.time(),
        sink,
        replayed_at: String::new(),
    }
}

/// What was replayed, as it is known now.
#[derive(Debug, Default)]
pub(super) struct Replayed(HashSet<Key>);

impl Replayed {
    /// Reads the file; none is as good as an empty one.
    pub(super) fn read(state_directory: &Path) -> Result<Self> {
        let file = directory(state_directory).join(format!("{REPLAYED}.ndjson"));
        let refused = || format!("{} cannot be read", file.display());
        let open = match File::open(&file) {
            Ok(open) => open,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error).with_context(refused),
        };
        let (mut lines, mut text, mut keys) = (BufReader::new(open), Vec::new(), HashSet::new());
        while lines.read_until(b'\n', &mut text).with_context(refused)? > 0 {
            // A line without its end was never durable.
            if text.ends_with(b"\n") {
                let line: Line<'_> = serde_json::from_slice(&text).with_context(|| {
                    format!(
                        "{} is damaged: remove the line {:?}",
                        file.display(),
                        String::from_utf8_lossy(&text)
                    )
                })?;
                keys.insert(line.key());
            }
            text.clear();
        }
        Ok(Self(keys))
    }

    /// Whether the sink has acked a replay of this record.
    pub(super) fn has(&self, record: &Envelope, sink: &str) -> bool {
        self.0.contains(&line(record, sink).key())
    }

    /// The sinks of the configuration that have.
    pub(super) fn sinks<'c>(&self, record: &Envelope, config: &'c Config) -> Vec<&'c str> {
        let sinks = config.sinks.keys().map(String::as_str);
        sinks.filter(|sink| self.has(record, sink)).collect()
    }
}

/// The file, open for more. Whoever has it is the only one who replays.
pub(super) struct Journal {
    log: FileLog,
    replayed: Replayed,
    /// Records that this run has begun with.
    begun: Mutex<HashSet<Key>>,
}

impl Journal {
    pub(super) fn open(state_directory: &Path) -> Result<Self> {
        let directory = directory(state_directory);
        // Never set aside: it is read as one file.
        let log = FileLog::open(&directory, u64::MAX).map_err(|error| match error {
            FileSinkError::Locked { .. } => {
                anyhow::anyhow!("another replay is running on {}", directory.display())
            }
            error => error.into(),
        })?;
        Ok(Self {
            log,
            replayed: Replayed::read(state_directory)?,
            begun: Mutex::default(),
        })
    }

    pub(super) fn replayed(&self) -> &Replayed {
        &self.replayed
    }

    /// False: this run has begun with it already, the topic holds a copy.
    pub(super) fn begin(&self, record: &Envelope) -> bool {
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        begun.insert(line(record, "").key())
    }

    /// Resolves once it is durable that the sink has acked a replay of this record.
    pub(super) async fn add(&self, record: &Envelope, sink: &str) -> Result<()> {
        let line = Line {
            replayed_at: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
            ..line(record, sink)
        };
        let text = serde_json::to_vec(&line)?;
        let added = self.log.append(REPLAYED, text.into()).await;
        added.with_context(|| format!("{sink} has acked it, but that cannot be noted"))
    }

    pub(super) async fn close(&self) {
        self.log.close().await;
    }
}

fn directory(state_directory: &Path) -> PathBuf {
    state_directory.join(REPLAYED)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: &str, time: &str) -> Envelope {
        let text = format!(
            r#"{{"specversion":"1.0","id":"{id}","source":"/vodbridge/callback/-","type":"x","time":"{time}","datacontenttype":"application/json","data":{{}}}}"#
        );
        Envelope::from_structured(text.into(), Vec::new()).unwrap()
    }

    #[tokio::test]
    async fn what_was_added_is_known_to_the_next_run() {
        let state = tempfile::tempdir().unwrap();
        assert!(
            !Replayed::read(state.path())
                .unwrap()
                .has(&record("1", "a"), "events")
        );
        let journal = Journal::open(state.path()).unwrap();
        journal.add(&record("1", "a"), "events").await.unwrap();
        let second = Journal::open(state.path()).map(|_| ()).unwrap_err();
        assert!(second.to_string().contains("another replay"), "{second}");
        journal.close().await;

        let file = state.path().join("replayed/replayed.ndjson");
        let torn = std::fs::read_to_string(&file).unwrap() + r#"{"id":"2","sour"#;
        std::fs::write(&file, torn).unwrap();
        for again in [true, false] {
            let replayed = Replayed::read(state.path()).unwrap();
            assert!(replayed.has(&record("1", "a"), "events"));
            for (id, time, sink) in [
                ("1", "a", "tasks"),
                ("1", "b", "events"),
                ("2", "a", "events"),
            ] {
                assert!(!replayed.has(&record(id, time), sink));
            }
            if again {
                // Puts the torn line aside.
                let journal = Journal::open(state.path()).unwrap();
                assert!(journal.begin(&record("1", "a")) && !journal.begin(&record("1", "a")));
                journal.add(&record("3", "a"), "events").await.unwrap();
                journal.close().await;
            } else {
                assert!(replayed.has(&record("3", "a"), "events"));
            }
        }
        std::fs::write(&file, "{}\n").unwrap();
        let damaged = Replayed::read(state.path()).unwrap_err();
        assert!(damaged.to_string().contains("damaged"), "{damaged}");
    }
}
