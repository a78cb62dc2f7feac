//! One NDJSON file per topic, fsynced in groups before anything is acknowledged.
//!
//! [`FileSink`] is the sink that an operator configures; [`FileLog`] is what it is made of, for
//! whoever has to keep lines that are not envelopes. [`durability`] tells whether a directory
//! outlives its container, and [`FileReader`] reads the files back.

mod config;
mod directory;
mod durability;
mod error;
mod log;
mod reader;
mod sink;
mod topic_file;
mod topology;
mod writer;

pub use config::FileConfig;
pub use durability::{Durability, durability};
pub use error::{AppendError, FileSinkError};
pub use log::{FileLog, LONGEST_TOPIC};
pub use reader::FileReader;
pub use sink::FileSink;

#[cfg(test)]
mod tests;
