//! Dead letters in files, and events to files: no broker.

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use vodbridge_core::{Content, DeadLetter, Reason};
use vodbridge_tests::bridge::Bridge;
use vodbridge_tests::cli::run;
use vodbridge_tests::process::bound_to_us;

use super::{PATIENCE, command, dead_letter, has_payload, list, reconfigure, replay};

const PULLED: &str =
    r#"{"EventType":"PullComplete","PullCompleteEvent":{"TaskId":"t-1","N":18446744073709551617}}"#;

fn sinks(routes: &str) -> String {
    let file = |name| {
        format!(
            r#"{{ file: {{ directory: {name}, topic: "vod.{{event_type}}", ephemeral: true }} }}"#
        )
    };
    let (events, letters) = (file("events"), file("letters"));
    format!(
        "sinks: {{ events: {events}, letters: {letters} }}\nroutes: {{ {routes} }}\n\
         dead_letter: {{ sink: letters }}"
    )
}

fn lines(file: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// What a version that could not read the notification has written.
fn raw_letter() -> DeadLetter {
    DeadLetter {
        id: "raw".into(),
        reason: Reason::Panic,
        source: "callback".into(),
        sink: None,
        error: Some("the bridge failed on it".into()),
        attempts: 0,
        first: SystemTime::now(),
        last: SystemTime::now(),
        content: Content::Raw {
            body: PULLED.into(),
            headers: vec![("host".into(), "example".into())],
            occurrence: None,
        },
    }
}

#[tokio::test]
async fn those_in_files_are_published_again() -> Result<()> {
    let only = sinks("deleted: { match: { event_type: FileDeleted }, to: { events: {} } }");
    let bridge = Bridge::start(&only).await?;
    let directory = &bridge.directory();
    let mut ids = Vec::new();
    for body in [PULLED, "no JSON"] {
        let answer = bridge.post(body.as_bytes(), PATIENCE).await?;
        ensure!(answer.status == 200, "{}", answer.text());
        ids.push(answer.json()?["id"].as_str().context("no id")?.to_owned());
    }
    let reasons = async |filters: &[&str]| {
        let listed = list(directory, filters).await?;
        let reason = |record: &Value| record["reason"].as_str().map(str::to_owned);
        Ok::<_, anyhow::Error>(listed.iter().filter_map(reason).collect::<Vec<_>>())
    };
    assert_eq!(reasons(&[]).await?, ["unrouted", "unparsable"]);

    // No route yet; then one, to a directory that the bridge writes to.
    let unrouted = ["--reason", "unrouted"];
    let (lines_of, _) = replay(directory, 1, &unrouted).await?;
    ensure!(lines_of[0].to_string().contains("no route"), "{lines_of:?}");
    reconfigure(directory, &sinks("all: { to: { events: {} } }"))?;
    let (lines_of, _) = replay(directory, 1, &unrouted).await?;
    ensure!(
        lines_of[0].to_string().contains("stop the bridge"),
        "{lines_of:?}"
    );

    bridge.sigterm()?;
    bridge.wait(3 * PATIENCE).await?;
    let mut file = std::fs::OpenOptions::new()
        .append(true)
        .open(directory.join("letters/vod.dead_letter.ndjson"))?;
    file.write_all(&[&raw_letter().encode().structured()[..], b"\n"].concat())?;
    file.write_all(b"{\"strange\":1}\n")?;
    // What the letters' own sink did not take.
    let mut refused = raw_letter();
    (refused.id, refused.reason) = ("last".into(), Reason::Unread);
    let last_resort = directory.join("state/vod.dead_letter.ndjson");
    std::fs::write(
        last_resort,
        [&refused.encode().structured()[..], b"\n"].concat(),
    )?;

    let strange = dead_letter(directory, &["list"]).await?;
    ensure!(
        strange.code == Some(1) && strange.err.contains("line 4"),
        "{strange:?}"
    );
    let raw = dead_letter(
        directory,
        &["list", "--reason", "panic", "--reason", "unread"],
    )
    .await?;
    assert_eq!(raw.out.lines().count(), 3, "{raw:?}");

    // One event, whichever letter it is made of: the id is the bridge's.
    let (_, sum) = replay(directory, 1, &["--to", "events"]).await?;
    assert_eq!(sum["replayed"], 3, "{sum}");
    assert_eq!(
        (&sum["failed"], &sum["unreadable"]),
        (&1.into(), &1.into()),
        "{sum}"
    );
    let events = lines(&directory.join("events/vod.PullComplete.ndjson"))?;
    assert_eq!(events.len(), 3);
    for line in &events {
        let event: Value = serde_json::from_str(line)?;
        assert_eq!(event["id"], ids[0].as_str());
        has_payload(line.as_bytes(), PULLED.as_bytes(), "PullCompleteEvent")?;
    }
    let noted = lines(&directory.join("state/replayed/replayed.ndjson"))?;
    assert_eq!(noted.len(), 3);
    // To another sink it was not replayed yet.
    let (_, sum) = replay(directory, 1, &["--to", "letters", "--reason", "panic"]).await?;
    assert_eq!(sum["replayed"], 1, "{sum}");
    let usage = dead_letter(directory, &["replay", "--yes", "--to", "nowhere"]).await?;
    ensure!(
        usage.code == Some(64) && usage.err.contains("no such sink"),
        "{usage:?}"
    );
    Ok(())
}

/// The command, with a directory of its own in which there is room for a few lines.
fn with_small_disk(directory: &Path, command: &Command) -> Result<Command> {
    std::fs::create_dir_all(directory)?;
    let mut small = bound_to_us("unshare");
    if std::fs::metadata("/proc/self")?.uid() != 0 {
        small.args(["--user", "--map-root-user"]);
    }
    small.args(["--mount", "sh", "-c"]);
    small.arg(r#"mount -t tmpfs -o size=4k none "$0" && exec "$@""#);
    small.arg(directory).arg(command.get_program());
    small.args(command.get_args());
    if let Some(current) = command.get_current_dir() {
        small.current_dir(current);
    }
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => small.env(name, value),
            None => small.env_remove(name),
        };
    }
    Ok(small)
}

/// What cannot be noted would be published again by each repeat: no more is published then.
#[tokio::test]
async fn a_replay_ends_where_it_cannot_be_noted() -> Result<()> {
    const LETTERS: usize = 300;
    let bridge = Bridge::start(&sinks("all: { to: { events: {} } }")).await?;
    bridge.sigterm()?;
    bridge.wait(3 * PATIENCE).await?;
    let directory = &bridge.directory();
    let mut letters = Vec::new();
    for number in 0..LETTERS {
        let mut letter = raw_letter();
        letter.id = number.to_string();
        let body = PULLED.replace("t-1", &letter.id);
        letter.content = Content::Raw {
            body: body.into(),
            headers: Vec::new(),
            occurrence: None,
        };
        letters.extend_from_slice(&letter.encode().structured());
        letters.push(b'\n');
    }
    std::fs::write(directory.join("letters/vod.dead_letter.ndjson"), letters)?;
    let arguments = ["replay", "--yes", "--output", "json", "--concurrency", "4"];
    let replay_all = command(directory, &arguments)?;
    let small = with_small_disk(&directory.join("state/replayed"), &replay_all)?;
    let ended = run(small).await?;
    ensure!(
        ended.code == Some(1) && ended.err.contains("run it again"),
        "{ended:?}"
    );
    let published = || lines(&directory.join("events/vod.PullComplete.ndjson"));
    let first = published()?.len();
    ensure!((1..LETTERS / 2).contains(&first), "{first} of {LETTERS}");
    let (_, sum) = replay(directory, 0, &[]).await?;
    assert_eq!(sum["replayed"], LETTERS, "{sum}");
    assert_eq!(published()?.len(), first + LETTERS);
    Ok(())
}
