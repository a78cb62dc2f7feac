//! The cloud's signatures.

pub mod callback;
pub mod tc3;
