//! What vodbridge knows of Tencent Cloud VOD: the catalogue of its event types, the way from the
//! bytes of a notification to an event, the signatures, and the API of its event queue. Pure: no
//! I/O, and time is an argument.
//!
//! ```
//! use std::{sync::Arc, time::SystemTime};
//! use vodbridge_vod::{Catalogue, Normalizer, Notification, Via};
//!
//! let catalogue = Arc::new(Catalogue::default());
//! let normalizer = Normalizer::new(1500012345, "callback", Via::Webhook, catalogue);
//! let body = br#"{"EventType":"PersistenceComplete","PersistenceCompleteEvent":{"FileId":"7"}}"#;
//! let notification = Notification::parse(body)?;
//! let normalized = normalizer.normalize(&notification, SystemTime::now())?;
//! assert!(normalized.is_repeatable());
//! let envelope = normalized.into_envelope(Some("first receipt"));
//! assert_eq!(envelope.ty(), "com.tencent.cloud.vod.PersistenceComplete");
//! assert_eq!(envelope.data().as_ref(), br#"{"FileId":"7"}"#);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod api;
mod canonical;
pub mod catalogue;
mod document;
mod facts;
mod identity;
mod normalize;
mod notification;
mod paths;
mod scanner;
mod shape;
pub mod signature;
mod trace;
mod unescape;
mod v2;

pub use catalogue::Catalogue;
pub use identity::raw_id;
pub use normalize::{Normalized, Normalizer, Via, labels_of};
pub use notification::{Notification, Unparsable};
pub use shape::Unrecognised;
pub use trace::TraceContext;
