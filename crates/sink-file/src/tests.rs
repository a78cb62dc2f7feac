use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures_util::future::join_all;
use tempfile::TempDir;
use vodbridge_core::{Envelope, Event, Label, Sink, State, Template, Topology};

use crate::log::WRITERS;
use crate::writer::OPEN_FILES;
use crate::{AppendError, FileConfig, FileLog, FileSink, FileSinkError};

const MIB: u64 = 1024 * 1024;

fn log(directory: &TempDir) -> FileLog {
    FileLog::open(directory.path(), MIB).unwrap()
}

fn lines(path: impl AsRef<Path>) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'));
    text.lines().map(str::to_owned).collect()
}

fn envelope(id: usize) -> Envelope {
    let event = Event {
        id: format!("id-{id}"),
        source: "https://example.com/1".into(),
        ty: "com.example.FileDeleted".into(),
        subject: None,
        time: "2026-01-01T00:00:00Z".into(),
        partition_key: None,
        extensions: Vec::new(),
        labels: vec![Label::new("event_type", "FileDeleted")],
    };
    event.encode(|out| out.extend_from_slice(br#"{"a":1}"#))
}

#[tokio::test]
async fn envelopes_become_lines_of_the_file_of_their_topic() {
    let parent = TempDir::new().unwrap();
    let directory = parent.path().join("made/archive");
    let config = FileConfig {
        directory: directory.clone(),
        topic: Template::parse("vod.{event_type}").unwrap(),
        rotate_bytes: MIB,
        ephemeral: false,
    };
    let sink = FileSink::open("archive", &config).unwrap();
    sink.publish(&envelope(1)).await.unwrap();
    let dead = envelope(2).with_topic("vod.dead_letter".into());
    sink.publish(&dead).await.unwrap();
    sink.close().await.unwrap();

    let event = directory.join("vod.FileDeleted.ndjson");
    assert_eq!(
        lines(&event),
        [std::str::from_utf8(&envelope(1).structured()).unwrap()]
    );
    assert_eq!(lines(directory.join("vod.dead_letter.ndjson")).len(), 1);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&event), 0o600);
    assert_eq!(mode(&directory), 0o700);
    assert_eq!(mode(&parent.path().join("made")), 0o700);
}

#[tokio::test]
async fn one_fsync_serves_many() {
    let directory = TempDir::new().unwrap();
    let log = log(&directory);
    let appends = (0..1000).map(|n| log.append("vod", Bytes::from(format!("{{\"n\":{n}}}"))));
    for result in join_all(appends).await {
        result.unwrap();
    }
    let written: HashSet<String> = lines(directory.path().join("vod.ndjson"))
        .into_iter()
        .collect();
    assert_eq!(written.len(), 1000);
    assert!(log.fsyncs() < 500, "{} fsyncs", log.fsyncs());
}

#[tokio::test]
async fn a_torn_tail_is_set_aside_on_opening() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("vod.ndjson");
    let long = "x".repeat(200_000);
    for (number, tail) in ["{\"torn", long.as_str()].into_iter().enumerate() {
        fs::write(&file, format!("{{\"n\":1}}\n{tail}")).unwrap();
        let log = log(&directory);
        log.append("vod", "{\"n\":2}".into()).await.unwrap();
        log.close().await;
        assert_eq!(lines(&file), ["{\"n\":1}", "{\"n\":2}"]);
        let aside = directory.path().join(format!("vod.torn-{}", number + 1));
        assert_eq!(fs::read_to_string(aside).unwrap(), tail);
    }
}

#[tokio::test]
async fn a_full_file_is_rotated() {
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join("vod-7.ndjson"), "{}\n").unwrap();
    let log = FileLog::open(directory.path(), 10).unwrap();
    for n in 0..3 {
        let line = format!("{{\"number\":{n}}}");
        log.append("vod", line.into()).await.unwrap();
    }
    for (name, line) in [
        ("vod-7", "{}"),
        ("vod-000008", "{\"number\":0}"),
        ("vod-000009", "{\"number\":1}"),
        ("vod", "{\"number\":2}"),
    ] {
        assert_eq!(
            lines(directory.path().join(format!("{name}.ndjson"))),
            [line]
        );
    }
    assert!(matches!(
        FileLog::open(directory.path(), 0),
        Err(FileSinkError::RotateBytes)
    ));
}

#[tokio::test]
async fn a_directory_belongs_to_one_log() {
    let directory = TempDir::new().unwrap();
    let first = log(&directory);
    assert!(matches!(
        FileLog::open(directory.path(), MIB),
        Err(FileSinkError::Locked { .. })
    ));
    first.close().await;
    assert!(matches!(
        first.append("vod", "{}".into()).await,
        Err(AppendError::Closed)
    ));
    FileLog::open(directory.path(), MIB).unwrap();
}

#[tokio::test]
async fn a_full_disk_fails_the_append_and_heals() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("vod.ndjson");
    symlink("/dev/full", &file).unwrap();
    let log = log(&directory);
    let error = log.append("vod", "{\"n\":1}".into()).await.unwrap_err();
    assert!(matches!(error, AppendError::Io { .. }));
    let health = log.health();
    assert_eq!(health.state, State::Down);
    assert!(health.problem.unwrap().remedy.contains("free space"));

    fs::remove_file(&file).unwrap();
    log.append("vod", "{\"n\":2}".into()).await.unwrap();
    assert_eq!(lines(&file), ["{\"n\":2}"]);
    assert_eq!(log.health().state, State::Up);
}

#[tokio::test]
async fn a_failed_fsync_fails_its_group_and_closes_the_file() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("vod.ndjson");
    let log = log(&directory);
    log.append("vod", "{\"n\":1}".into()).await.unwrap();
    log.status().refuse_fsync.store(true, Ordering::Relaxed);
    let error = log.append("vod", "{\"n\":2}".into()).await.unwrap_err();
    assert!(matches!(error, AppendError::Io { .. }));
    assert!(open_descriptors(&file) == 0, "the handle is closed");
    assert_eq!(lines(&file), ["{\"n\":1}"], "the group is taken back");
    log.append("vod", "{\"n\":3}".into()).await.unwrap();
    assert_eq!(open_descriptors(&file), 1);
    assert_eq!(lines(&file), ["{\"n\":1}", "{\"n\":3}"]);
}

fn open_descriptors(file: &Path) -> usize {
    let identity = |open: fs::Metadata| (open.dev(), open.ino());
    let file = identity(fs::metadata(file).unwrap());
    fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| fs::metadata(entry.unwrap().path()).ok())
        .filter(|open| identity(open.clone()) == file)
        .count()
}

#[tokio::test]
async fn a_file_that_was_moved_or_cut_is_opened_anew() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("vod.ndjson");
    let log = log(&directory);
    log.append("vod", "{\"n\":1}".into()).await.unwrap();
    let moved = directory.path().join("moved");
    fs::rename(&file, &moved).unwrap();
    log.append("vod", "{\"n\":2}".into()).await.unwrap();
    assert_eq!(lines(&moved), ["{\"n\":1}"]);
    assert_eq!(lines(&file), ["{\"n\":2}"]);
    fs::write(&file, "").unwrap();
    log.append("vod", "{\"n\":3}".into()).await.unwrap();
    assert_eq!(lines(&file), ["{\"n\":3}"]);
}

#[tokio::test]
async fn topics_that_are_no_file_names_and_records_of_two_lines_are_refused() {
    let directory = TempDir::new().unwrap();
    let log = log(&directory);
    let long = "x".repeat(201);
    for topic in ["", ".hidden", "..", "a/b", "../a", "a b", "é", &long] {
        let error = log.append(topic, "{}".into()).await.unwrap_err();
        assert!(matches!(error, AppendError::UnsafeTopic(_)), "{topic}");
    }
    let error = log.append("vod", "{}\n{}".into()).await.unwrap_err();
    assert!(matches!(error, AppendError::NotOneLine(_)));
}

#[tokio::test]
async fn open_files_are_bounded() {
    const TOPICS: usize = 600;
    let directory = TempDir::new().unwrap();
    let log = log(&directory);
    let file = |n| directory.path().join(format!("vod.{n}.ndjson"));
    for round in 0..2 {
        let topics: Vec<_> = (0..TOPICS).map(|n| format!("vod.{n}")).collect();
        let appends = topics
            .iter()
            .map(|topic| log.append(topic, format!("{round}").into()));
        for result in join_all(appends).await {
            result.unwrap();
        }
    }
    let open = (0..TOPICS).map(|n| open_descriptors(&file(n)));
    assert_eq!(open.sum::<usize>(), WRITERS * OPEN_FILES);
    for n in 0..TOPICS {
        assert_eq!(lines(file(n)), ["0", "1"]);
    }
}

#[tokio::test]
async fn what_is_written_at_once_is_in_the_file_of_its_topic() {
    let directory = TempDir::new().unwrap();
    let log = log(&directory);
    let topics: Vec<_> = (0..37).map(|n| format!("vod.{n}")).collect();
    let appends = (0..3700).map(|n| log.append(&topics[n % 37], n.to_string().into()));
    for result in join_all(appends).await {
        result.unwrap();
    }
    log.close().await;
    for (at, topic) in topics.iter().enumerate() {
        let written = lines(directory.path().join(format!("{topic}.ndjson")));
        let mut written: Vec<usize> = written.iter().map(|line| line.parse().unwrap()).collect();
        written.sort_unstable();
        assert!(written.into_iter().eq((at..3700).step_by(37)), "{topic}");
    }
}

#[tokio::test]
async fn the_topology_says_what_an_ack_means() {
    let directory = TempDir::new_in("/dev/shm").unwrap();
    let config = FileConfig {
        directory: directory.path().to_owned(),
        topic: Template::parse("vod").unwrap(),
        rotate_bytes: MIB,
        ephemeral: false,
    };
    let sink = FileSink::open("archive", &config).unwrap();
    let topics = ["vod".to_owned(), "a/b".to_owned()];
    let inspection = sink.inspect(&topics).await.unwrap();
    assert_eq!(
        inspection.ack,
        format!(
            "appended and fsynced to {} (one disk)",
            directory.path().display()
        )
    );
    let blocking: Vec<bool> = inspection.findings.iter().map(|f| f.blocking).collect();
    assert_eq!(blocking, [false, true], "{:?}", inspection.findings);
    assert!(!sink.provision(&topics).await.unwrap()[0].created);
}
