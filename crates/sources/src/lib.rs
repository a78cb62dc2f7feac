//! Where notifications come from.

pub mod webhook;
