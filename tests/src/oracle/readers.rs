//! Reads everything back, with clients that this project did not write.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::books::{Books, Finding, Where};
use super::stage::Stage;
use crate::clients;

/// What `vodbridge provision` makes on RabbitMQ.
const QUEUE: &str = "vod.events";

type Findings = (Vec<(u32, Finding)>, Vec<String>);

impl Stage {
    /// Moves what is in RabbitMQ's queue to a file, if it is more than so many messages: those that
    /// wait there make a restart long. Returns whether it was more.
    pub(super) async fn empty_rabbitmq(&self, many: u64) -> Result<bool> {
        let client = clients::rabbitmq(self.rabbitmq.address());
        let count = client.call("count", json!({ "queue": QUEUE })).await?;
        let count = count.first().and_then(Value::as_u64).context("no count")?;
        if count > many {
            let mut file = OpenOptions::new();
            let file = file.create(true).append(true).open(self.taken())?;
            let mut file = BufWriter::new(file);
            let line = |body: &[u8]| Ok(writeln!(file, "{}", std::str::from_utf8(body)?)?);
            client.bodies(QUEUE, line).await?;
            file.flush()?;
        }
        Ok(count > many)
    }

    /// What was taken out of RabbitMQ's queue.
    fn taken(&self) -> PathBuf {
        self.bridge.directory().join("taken.ndjson")
    }
}

/// What is on the brokers, in the state directory and in the spool.
pub(super) async fn read_all(stage: &Stage, books: &Books) -> Result<Vec<Findings>> {
    let kafka = async {
        let (client, mut place) = (
            clients::kafka(stage.kafka.address()),
            books.place(Where::Broker(0)),
        );
        client.bodies("vod.", |body| place.take(body)).await?;
        anyhow::Ok(place.close())
    };
    let rabbitmq = async {
        while stage.empty_rabbitmq(0).await? {}
        let mut place = books.place(Where::Broker(1));
        lines(&stage.taken(), |line| place.take(line))?;
        anyhow::Ok(place.close())
    };
    let nats = async {
        let (client, mut place) = (
            clients::nats(stage.nats.address()),
            books.place(Where::Broker(2)),
        );
        client.bodies("VOD", |body| place.take(body)).await?;
        anyhow::Ok(place.close())
    };
    let (kafka, rabbitmq, nats) = tokio::try_join!(kafka, rabbitmq, nats)?;
    let state = files(&stage.bridge.directory().join("state"), books)?;
    let mut spool = books.place(Where::Spool);
    let export = stage.bridge.setup().run(&["spool", "export"]).await?;
    (export.lines()).try_for_each(|line| spool.take(line.as_bytes()))?;
    Ok(vec![kafka, rabbitmq, nats, state, spool.close()])
}

/// What is in the files of the state directory.
fn files(directory: &Path, books: &Books) -> Result<Findings> {
    let mut place = books.place(Where::State);
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|kind| kind == "ndjson") {
            lines(&path, |line| place.take(line))?;
        }
    }
    Ok(place.close())
}

/// Hands over each line of a file; there is none where nothing was written.
fn lines(path: &Path, mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    if !path.exists() {
        return Ok(());
    }
    for line in BufReader::new(File::open(path)?).split(b'\n') {
        each(&line?)?;
    }
    Ok(())
}
