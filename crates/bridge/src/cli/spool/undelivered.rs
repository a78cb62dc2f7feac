//! Replays the undelivered file: what no sink took within the patience, and no spool kept.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use anyhow::{Context, Result};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tokio::time::Instant;
use vodbridge_core::{Envelope, Intake, Metrics, Patience, Pipeline, Sink, chain};
use vodbridge_sources::webhook::UNDELIVERED;
use vodbridge_vod::labels;

use crate::assemble;
use crate::cli::{Output, block_on, output};
use crate::config::Config;
use crate::drain::Signals;

/// Events that are delivered at once.
const AT_ONCE: usize = 64;
/// So many in a row that no sink takes, and the rest is not tried.
const HOPELESS: usize = AT_ONCE;

/// What a replay has done.
#[derive(Debug, Default)]
struct Tally {
    delivered: usize,
    left: usize,
    unreadable: usize,
}

/// Delivers every event of the undelivered files, and leaves what is not delivered where it is.
pub(super) fn replay(config: &Config, form: Output) -> Result<ExitCode> {
    let tally = block_on(async {
        // Its lock keeps a bridge away, which would append meanwhile.
        let state = Arc::new(assemble::open_state(&config.state_directory)?);
        let sinks = assemble::open_sinks(config)?;
        let ports = sinks
            .values()
            .map(|sink| sink.broker.clone() as Arc<dyn Sink>);
        let metrics = Metrics::default();
        let pipeline = assemble::pipeline(config, ports.collect(), &state, &metrics)?;
        let replay = Replay::new(config, &pipeline, &metrics);
        let mut signals = Signals::new()?;
        let files = files(&config.state_directory)?;
        let interrupted = async {
            signals.next().await;
            // What is under way ends, and what is left is written back.
            pipeline.cut();
            std::future::pending().await
        };
        let done = tokio::select! {
            done = replay.files(&files) => done,
            never = interrupted => never,
        };
        replay.bar.finish_and_clear();
        pipeline.close().await;
        done
    })?;
    let Tally {
        delivered,
        left,
        unreadable,
    } = tally;
    match form {
        Output::Json => {
            output::json(&json!({ "delivered": delivered, "left": left, "unreadable": unreadable }))
        }
        Output::Text => output::line(format!(
            "{delivered} delivered, {left} left in the undelivered file, {unreadable} of them unreadable"
        )),
    }
    Ok(match left {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

/// The undelivered file and those that it became when it was full, oldest first.
fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let number = name.and_then(|name| name.strip_suffix(".ndjson"));
        let number = number.and_then(|name| name.strip_prefix(UNDELIVERED));
        let number = match number {
            Some("") => u64::MAX,
            Some(rest) => match rest.strip_prefix('-').map(str::parse) {
                Some(Ok(number)) => number,
                _ => continue,
            },
            None => continue,
        };
        files.push((number, path));
    }
    files.sort();
    Ok(files.into_iter().map(|(_, path)| path).collect())
}

struct Replay<'a> {
    config: &'a Config,
    intakes: BTreeMap<&'a str, Intake>,
    /// That no sink took in a row.
    failures: AtomicUsize,
    /// Not seen without a terminal.
    bar: ProgressBar,
}

impl<'a> Replay<'a> {
    fn new(config: &'a Config, pipeline: &Arc<Pipeline>, metrics: &Metrics) -> Self {
        let intake = |name: &'a str| {
            let metrics = metrics.source(name);
            (name, Intake::new(name, pipeline.clone(), AT_ONCE, metrics))
        };
        Self {
            config,
            intakes: config.webhooks().map(|(name, _)| intake(name)).collect(),
            failures: AtomicUsize::new(0),
            bar: bar(),
        }
    }

    async fn files(&self, files: &[PathBuf]) -> Result<Tally> {
        let mut all = Tally::default();
        for file in files {
            let tally = self.file(file).await;
            let tally = tally.with_context(|| file.display().to_string())?;
            all.delivered += tally.delivered;
            all.left += tally.left;
            all.unreadable += tally.unreadable;
        }
        Ok(all)
    }

    async fn file(&self, path: &Path) -> Result<Tally> {
        let lines = BufReader::new(File::open(path)?).split(b'\n');
        let deliveries = stream::iter(lines.enumerate())
            .map(async |(at, line)| anyhow::Ok((at, self.line(line?.into()).await)))
            .buffered(AT_ONCE);
        tokio::pin!(deliveries);
        let (mut left, mut tally) = (Vec::new(), Tally::default());
        while let Some(delivered) = deliveries.next().await {
            let (at, delivered) = delivered?;
            self.bar.inc(1);
            match delivered {
                Delivered::Yes => tally.delivered += 1,
                Delivered::No => left.push(at),
                Delivered::Unreadable => {
                    left.push(at);
                    tally.unreadable += 1;
                }
            }
        }
        tally.left = left.len();
        if tally.delivered > 0 {
            keep(path, &left)?;
        }
        Ok(tally)
    }

    async fn line(&self, line: Bytes) -> Delivered {
        let Some((envelope, intake)) = self.event(line) else {
            return Delivered::Unreadable;
        };
        if self.failures.load(Relaxed) >= HOPELESS {
            return Delivered::No;
        }
        let patience = self.config.webhooks().map(|(_, webhook)| webhook.patience);
        let deadline = Instant::now() + patience.min().unwrap_or_default();
        match intake
            .deliver_any(&envelope, &[], Patience::until(deadline))
            .await
            .result
        {
            Ok(_) => {
                self.failures.store(0, Relaxed);
                Delivered::Yes
            }
            Err(error) => {
                if self.failures.fetch_add(1, Relaxed) == 0 {
                    self.bar.suspend(|| output::error(chain(&error)));
                }
                Delivered::No
            }
        }
    }

    /// The event as it was: what routes look at is not part of its form, but follows from it.
    fn event(&self, line: Bytes) -> Option<(Envelope, &Intake)> {
        let bare = Envelope::from_structured(line.clone(), Vec::new()).ok()?;
        let sub_app_id = bare.extension("vodsubappid");
        let is_its = |id: u64| sub_app_id.is_some_and(|of| of == id.to_string());
        let webhooks = || self.config.webhooks();
        let source = webhooks().find(|(_, webhook)| is_its(webhook.sub_app_id));
        let (source, _) = source.or_else(|| webhooks().next())?;
        let labels = labels(&bare, source, &self.config.catalogue).unwrap_or_default();
        let envelope = Envelope::from_structured(line, labels).ok()?;
        Some((envelope, self.intakes.get(source)?))
    }
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    match ProgressStyle::with_template("{spinner} {elapsed}  {pos} events tried") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// What became of a line.
enum Delivered {
    Yes,
    No,
    Unreadable,
}

/// Leaves these lines in the file, and nothing where there are none; whatever happens, one or the
/// other is on the disk.
fn keep(path: &Path, left: &[usize]) -> Result<()> {
    let directory = path.parent().context("a file has a directory")?;
    if left.is_empty() {
        fs::remove_file(path)?;
        return Ok(File::open(directory)?.sync_all()?);
    }
    let fresh = path.with_extension("replayed");
    let mut options = OpenOptions::new();
    let file = options
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&fresh)?;
    let mut out = BufWriter::new(file);
    let mut left = left.iter().peekable();
    for (at, line) in BufReader::new(File::open(path)?).split(b'\n').enumerate() {
        if left.next_if_eq(&&at).is_some() {
            out.write_all(&line?)?;
            out.write_all(b"\n")?;
        }
    }
    out.into_inner()
        .map_err(|error| error.into_error())?
        .sync_all()?;
    fs::rename(&fresh, path)?;
    Ok(File::open(directory)?.sync_all()?)
}
