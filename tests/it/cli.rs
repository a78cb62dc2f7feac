//! What scripts rely on: exit codes, JSON, and that every mistake is told with its remedy.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use vodbridge_tests::cli::{Ran, run, vodbridge};
use vodbridge_tests::scratch;

/// Configuration or usage (`EX_USAGE` of sysexits.h).
const USAGE: Option<i32> = Some(64);

const VALID: &str = r#"
sources: { callback: { webhook: { listen: "127.0.0.1:8080", sub_app_id: 1500012345 } } }
sinks: { events: { file: { directory: events, topic: "vod.{event_type}", ephemeral: true } } }
"#;

/// Three mistakes in two files.
const FIRST: &str = r#"
sources: { callback: { webhook: { listen: "127.0.0.1:8080", sub_app_id: 1500012345, patience: 1s } } }
sinks: { events: { file: { directory: events, topic: "vod.{event_typo}", ephemeral: true } } }
"#;
const SECOND: &str = "routes: { all: { to: { elsewhere: {} } } }\n";

async fn run_in(directory: &Path, arguments: &[&str]) -> Result<Ran> {
    let mut command = vodbridge(arguments)?;
    command.current_dir(directory);
    run(command).await
}

#[tokio::test]
async fn every_mistake_is_told_at_once() -> Result<()> {
    let directory = scratch::directory("check")?;
    std::fs::write(directory.path().join("first.yaml"), FIRST)?;
    std::fs::write(directory.path().join("second.yaml"), SECOND)?;
    let files = ["--config", "first.yaml", "--config", "second.yaml"];
    let mistakes = [
        ("first.yaml", "sinks.events.file.topic"),
        ("first.yaml", "sources.callback.webhook.patience"),
        ("second.yaml", "routes.all.to.elsewhere"),
    ];

    for command in ["check", "run", "topics", "provision"] {
        let ran = run_in(directory.path(), &[&[command][..], &files].concat()).await?;
        ensure!(ran.code == USAGE, "{command}: {ran:?}");
        ensure!(ran.out.is_empty(), "{command}: {ran:?}");
        for (file, key) in mistakes {
            let told = ran
                .err
                .lines()
                .any(|line| line.contains(&format!("{file}: {key}: ")));
            ensure!(told, "{command} does not tell {key}: {}", ran.err);
        }
    }

    let json = [&["check", "--output", "json"][..], &files].concat();
    let ran = run_in(directory.path(), &json).await?;
    ensure!(ran.code == USAGE, "{ran:?}");
    let said = ran.json()?;
    assert_eq!(said.len(), 1);
    assert_eq!(said[0]["ok"], false);
    let findings = said[0]["findings"].as_array().context("no findings")?;
    let places = findings.iter().map(|finding| {
        let text = |key: &str| finding[key].as_str().unwrap_or_default();
        assert!(!text("problem").is_empty(), "{finding}");
        (text("origin"), text("key"))
    });
    assert_eq!(BTreeSet::from_iter(places), BTreeSet::from(mistakes));
    Ok(())
}

#[tokio::test]
async fn the_file_in_the_working_directory_is_the_default() -> Result<()> {
    let directory = scratch::directory("default")?;
    std::fs::write(directory.path().join("vodbridge.yaml"), VALID)?;
    let ran = run_in(directory.path(), &["check"]).await?;
    ensure!(ran.code == Some(0), "{ran:?}");
    ensure!(ran.out.contains("the configuration is valid"), "{ran:?}");

    // A file that is named stands for itself, not on top of the default.
    std::fs::write(directory.path().join("second.yaml"), SECOND)?;
    let ran = run_in(directory.path(), &["check", "--config", "second.yaml"]).await?;
    ensure!(ran.code == USAGE && ran.err.contains("sources"), "{ran:?}");
    Ok(())
}

#[tokio::test]
async fn a_file_that_is_not_there_is_named() -> Result<()> {
    let directory = scratch::directory("missing")?;
    let ran = run_in(directory.path(), &["check", "--config", "absent.yaml"]).await?;
    ensure!(
        ran.code == USAGE && ran.err.contains("absent.yaml"),
        "{ran:?}"
    );
    Ok(())
}

#[tokio::test]
async fn usage_errors_exit_with_64() -> Result<()> {
    for arguments in [
        &[][..],
        &["no-such-command"],
        &["check", "--no-such-flag"],
        &["check", "--output", "xml"],
        &["send"],
        &["send", "NewFileUpload", "--file", "x"],
        &["send", "NoSuchType"],
        &["send", "NewFileUpload", "--url", "ftp://localhost/"],
        &["demo", "--for", "soon"],
        &["demo", "--rate", "0"],
        &["completions", "cmd"],
    ] {
        let ran = run(vodbridge(arguments)?).await?;
        ensure!(ran.code == USAGE, "{arguments:?}: {ran:?}");
        ensure!(
            ran.out.is_empty() && !ran.err.is_empty(),
            "{arguments:?}: {ran:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn help_and_version_are_answers() -> Result<()> {
    let version = run(vodbridge(&["--version"])?).await?;
    ensure!(version.code == Some(0), "{version:?}");
    // vodbridge 0.1.0 (commit 0123456789, librdkafka 2.12.1)
    let words: Vec<&str> = version.out.split([' ', '(', ')', ',', '\n']).collect();
    let after = |word: &str| {
        let at = words.iter().position(|found| *found == word);
        at.and_then(|at| words.get(at + 1))
            .copied()
            .unwrap_or_default()
    };
    let commit = after("commit");
    ensure!(
        commit.len() >= 7 && commit.bytes().all(|b| b.is_ascii_hexdigit()),
        "no commit: {}",
        version.out
    );
    ensure!(
        after("librdkafka").split('.').count() == 3,
        "{}",
        version.out
    );

    for command in [&["--help"][..], &["help", "demo"], &["check", "--help"]] {
        let help = run(vodbridge(command)?).await?;
        ensure!(
            help.code == Some(0) && help.out.contains("Usage:"),
            "{help:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn completions_are_scripts() -> Result<()> {
    let bash = run(vodbridge(&["completions", "bash"])?).await?;
    ensure!(
        bash.code == Some(0) && bash.out.contains("provision"),
        "{bash:?}"
    );
    let directory = scratch::directory("completions")?;
    let script = directory.path().join("vodbridge.bash");
    std::fs::write(&script, &bash.out)?;
    let mut parse = std::process::Command::new("bash");
    parse.arg("-n").arg(&script);
    let parsed = run(parse).await?;
    ensure!(parsed.code == Some(0), "bash cannot read it: {parsed:?}");

    for shell in ["zsh", "fish"] {
        let script = run(vodbridge(&["completions", shell])?).await?;
        ensure!(
            script.code == Some(0) && !script.out.is_empty(),
            "{shell}: {script:?}"
        );
    }
    Ok(())
}

/// `vodbridge … | head` is no reason to panic.
#[tokio::test]
async fn a_closed_pipe_ends_the_output() -> Result<()> {
    let directory = scratch::directory("pipe")?;
    std::fs::write(directory.path().join("vodbridge.yaml"), VALID)?;
    for arguments in [
        &["completions", "bash"][..],
        &["topics"],
        &["topics", "--output", "json"],
        &["send", "--list"],
        &["check"],
        &["--help"],
        &["--version"],
        &["demo", "--for", "1s"],
    ] {
        let mut command = vodbridge(arguments)?;
        command
            .current_dir(directory.path())
            .env("TMPDIR", directory.path());
        let mut child = tokio::process::Command::from(command)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        drop(child.stdout.take());
        let output = child.wait_with_output().await?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.code() == Some(0) && !errors.contains("panicked"),
            "{arguments:?}: {} {errors}",
            output.status
        );
    }
    Ok(())
}
