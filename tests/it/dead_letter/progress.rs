//! Long work shows on a terminal how far it is.

use std::io::Write;
use std::process::Stdio;
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;
use vodbridge_core::{Content, DeadLetter, Envelope, Reason};
use vodbridge_tests::bridge::Setup;

use super::{PATIENCE, command};

const COUNT: usize = 2_000;

/// Runs a command on a terminal of its own, and writes what it shows to the standard output.
const ON_A_TERMINAL: &str = "import os, pty, sys; \
    sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))";

fn letter(number: usize) -> Result<DeadLetter> {
    let id = format!("{number:064x}");
    let event = format!(
        r#"{{"specversion":"1.0","id":"{id}","source":"/","type":"com.tencent.cloud.vod.FileDeleted","time":"2026-01-01T00:00:00Z","datacontenttype":"application/json","vodformat":"3.0","vodoutcome":"succeeded","vodsubappid":"1500012345","data":{{}}}}"#
    );
    let event = Envelope::from_structured(event.into(), Vec::new())?;
    Ok(DeadLetter {
        id,
        content: Content::Event(event),
        reason: Reason::Unrouted,
        source: "callback".into(),
        sink: None,
        error: None,
        attempts: 0,
        first: SystemTime::now(),
        last: SystemTime::now(),
    })
}

#[tokio::test]
async fn a_replay_asks_and_shows_how_far_it_is() -> Result<()> {
    let setup = Setup::new(
        "sinks: { events: { file: { directory: '{directory}/out', topic: vod.events, ephemeral: true } } }\n",
    )?;
    let directory = setup.directory();
    std::fs::create_dir(directory.join("out"))?;
    let mut file = std::fs::File::create(directory.join("out/vod.dead_letter.ndjson"))?;
    for number in 0..COUNT {
        file.write_all(&[&letter(number)?.encode().structured()[..], b"\n"].concat())?;
    }
    let replay = command(directory, &["replay"])?;
    let mut terminal = tokio::process::Command::new("python3")
        .args(["-c", ON_A_TERMINAL])
        .arg(replay.get_program())
        .args(replay.get_args())
        .env("TERM", "xterm")
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut input = terminal.stdin.take().context("no input")?;
    input.write_all(b"y\n").await?;
    let shown = timeout(3 * PATIENCE, terminal.wait_with_output()).await??;
    drop(input);
    let text = String::from_utf8_lossy(&shown.stdout);
    ensure!(shown.status.success(), "{text}");
    // The bar, and what is left when it is gone.
    ensure!(text.contains(&format!("/{COUNT}  replayed")), "{text}");
    ensure!(text.contains(" left"), "{text}");
    let sum = format!("replayed {COUNT} (events {COUNT})");
    ensure!(text.contains(&sum), "{text}");
    Ok(())
}
