//! The cloud's signatures.

pub mod callback;
