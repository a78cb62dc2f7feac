//! The store as whoever opens it sees it, on real files.

#![allow(clippy::print_stdout, reason = "a child tells its test what it does")]
#![allow(
    clippy::unwrap_used,
    reason = "what the tests share runs in tests alone"
)]

mod basics;
mod common;
mod damage;
mod faults;
mod kill;
mod model;
mod offline;
mod picking;
mod worn;
