//! Bridges Tencent Cloud VOD notifications to Kafka, RabbitMQ and NATS JetStream.

mod admin;
mod assemble;
mod cli;
mod config;
mod drain;
mod logging;
mod watch;

use std::process::ExitCode;

/// Each event takes several buffers of more than a kilobyte from one thread to another, which
/// costs the system's allocator a fifth of the bridge's time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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
