//! Bridges Tencent Cloud VOD notifications to Kafka, RabbitMQ and NATS JetStream.

mod admin;
mod assemble;
mod cli;
mod clouds;
mod config;
mod drain;
mod logging;
mod spools;
mod watch;

use std::process::ExitCode;

fn main() -> ExitCode {
    // First of all: whoever asks rustls for TLS later finds this provider and no other.
    if rustls::crypto::ring::default_provider()
        .install_default()
        .is_err()
    {
        unreachable!("nothing runs before this line");
    }
    cli::run(cli::parse())
}
