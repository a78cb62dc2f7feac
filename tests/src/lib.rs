//! What the end-to-end tests stand on: real brokers, the real binary, readers that this project
//! did not write, and an HTTP client that sees when each byte comes.
//!
//! Everything runs on loopback, on ports and directories of its own, and ends with the process
//! that started it. `tests/run` installs what the harness needs.

pub mod bridge;
pub mod brokers;
pub mod cli;
pub mod clients;
pub mod http;
pub mod installed;
pub mod metrics;
pub mod oracle;
pub mod ports;
pub mod process;
pub mod proxy;
pub mod scratch;
pub mod tokens;
