//! The cloud over its socket.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod accounts;
mod callbacks;
mod caller;
mod control;
mod faults;
mod protocol;
