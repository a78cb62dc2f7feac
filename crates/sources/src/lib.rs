//! Where notifications come from.

pub mod cloud;
pub mod queue;
pub mod webhook;
