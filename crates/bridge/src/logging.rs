//! Log lines: for people on a terminal, JSON elsewhere. To standard error, so that a command's
//! output stays its own.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::Directive;

use crate::config::{Log, LogFormat, LogLevel};

/// Starts logging. The variable `RUST_LOG` overrides the configured level.
pub(crate) fn start(log: &Log) {
    let level: Directive = match log.level {
        LogLevel::Error => tracing::Level::ERROR,
        LogLevel::Warn => tracing::Level::WARN,
        LogLevel::Info => tracing::Level::INFO,
        LogLevel::Debug => tracing::Level::DEBUG,
        LogLevel::Trace => tracing::Level::TRACE,
    }
    .into();
    let asked = std::env::var("RUST_LOG").unwrap_or_default();
    let mut filter = EnvFilter::builder()
        .with_default_directive(level)
        .parse_lossy(&asked);
    // What the client libraries say about a broker, the sinks say themselves, once and with a
    // remedy. lapin's log of returned messages holds customers' data.
    let libraries = ["lapin", "async_nats", "librdkafka", "rdkafka"];
    let quiet = libraries
        .into_iter()
        .filter(|library| !asked.contains(library));
    for target in quiet.chain(["lapin::returned_messages"]) {
        let directive = format!("{target}=off");
        filter = filter.add_directive(directive.parse().expect("a literal directive is valid"));
    }
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr);
    let json = match log.format {
        LogFormat::Json => true,
        LogFormat::Pretty => false,
        LogFormat::Auto => !stderr().is_terminal(),
    };
    if json {
        lines.json().flatten_event(true).init();
    } else {
        lines
            .with_ansi(stderr().is_terminal())
            .with_target(false)
            .init();
    }
}
