//! Envelopes that wait on a local disk until a broker takes them: the store under a spool.
//!
//! [`Store`] is what a bridge opens: appends that share an fsync, removals, records oldest first.
//! [`StoreReader`] looks at a store beside its bridge, [`StoreEditor`] changes one that no bridge
//! has. README.md says which engine is under it and why.

mod config;
mod damage;
mod database;
mod editor;
mod error;
mod file;
mod later;
mod level;
mod lock;
mod reader;
mod record;
mod reserve;
mod rows;
mod store;
mod writer;

pub use config::StoreConfig;
pub use editor::{StoreEditor, Which};
pub use error::{AccessError, Cause, SMALLEST, StoreError};
pub use level::Held;
pub use reader::{ExportError, Exported, Remains, Seen, StoreReader};
pub use record::{Entry, Record, RecordId};
pub use store::{Stats, Store};
pub use writer::Order;
