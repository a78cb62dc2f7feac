//! Where notifications come from.

pub mod cloud;
mod poison;
pub mod queue;
pub mod spool;
pub mod webhook;
