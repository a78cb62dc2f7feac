//! A webhook with a spool: its answers, and the way of what it keeps.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod answers;
mod bridge;
mod delivery;
mod starving;
