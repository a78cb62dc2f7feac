//! What `check --connect` says of a sink: whether its broker is there, and what an ack means.

use std::time::Duration;

use anyhow::Result;
use futures_util::future::join_all;
use serde::Serialize;
use tokio::time::timeout;
use vodbridge_core::{Finding, Inspection};

use super::Found;
use crate::assemble::{self, OpenSink};
use crate::config::Config;

/// How long a broker may take to be reached and looked at.
const REACH: Duration = Duration::from_secs(15);

/// What `check --connect` says of one sink.
#[derive(Debug, Serialize)]
pub(super) struct Checked {
    pub(super) sink: String,
    pub(super) ok: bool,
    pub(super) ack: Option<String>,
    pub(super) findings: Vec<Found>,
}

/// Looks at every sink.
pub(super) async fn connect(config: &Config) -> Result<Vec<Checked>> {
    let sinks: Vec<_> = assemble::try_open_sinks(config).collect();
    let checking = sinks.into_iter().map(|(name, sink)| check(name, sink));
    join_all(checking).await.into_iter().collect()
}

async fn check(name: String, sink: Result<OpenSink>) -> Result<Checked> {
    let sink = match sink {
        Ok(sink) => sink,
        Err(error) if assemble::is_in_use(&error) => return Ok(in_use(name)),
        Err(error) => return Err(error),
    };
    let checked = inspect(name, &sink).await;
    if let Err(error) = sink.broker.close().await {
        tracing::debug!(%error, "the sink did not close cleanly");
    }
    Ok(checked)
}

/// A file sink whose directory a running bridge appends to works.
fn in_use(sink: String) -> Checked {
    let found = Found {
        blocking: false,
        what: "a running bridge uses the directory".to_owned(),
        remedy: "its own log says what an ack means".to_owned(),
    };
    Checked {
        sink,
        ok: true,
        ack: None,
        findings: vec![found],
    }
}

async fn inspect(sink: String, OpenSink { broker, topics }: &OpenSink) -> Checked {
    let looked = timeout(REACH, async {
        broker.reached().await;
        broker.inspect(topics).await
    });
    let failed = |what: String, remedy: &str| Inspection {
        findings: vec![Finding {
            blocking: true,
            what,
            remedy: remedy.to_owned(),
        }],
        ..Inspection::default()
    };
    let look = "look at the address, the credentials and whether the broker runs";
    let inspection = match looked.await {
        Ok(Ok(inspection)) => inspection,
        Ok(Err(error)) => failed(vodbridge_core::chain(&*error), look),
        Err(_) => match broker.health().problem {
            Some(problem) => failed(problem.what, &problem.remedy),
            None => failed(format!("not reached within {REACH:?}"), look),
        },
    };
    let ok = !inspection.findings.iter().any(|finding| finding.blocking);
    let found = |f: Finding| Found {
        blocking: f.blocking,
        what: f.what,
        remedy: f.remedy,
    };
    Checked {
        sink,
        ok,
        ack: Some(inspection.ack).filter(|ack| !ack.is_empty()),
        findings: inspection.findings.into_iter().map(found).collect(),
    }
}
