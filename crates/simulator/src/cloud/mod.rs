//! The cloud's API for events, as a real HTTP server: reliable callbacks (可靠回调) pulled and
//! confirmed, with leases, long polls, signatures, rate limits and the errors that the vendor
//! documents.
//!
//! ```
//! use vodbridge_core::Secret;
//! use vodbridge_simulator::cloud::{Cloud, CloudConfig};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config = CloudConfig::new("AKIDexample", Secret::new("key"), [1500012345]);
//! let cloud = Cloud::bind(([127, 0, 0, 1], 0).into(), config).await?;
//! let queue = cloud.queue(1500012345).expect("the account has it");
//! queue.issue(1_000);
//! // A source that pulls from `cloud.endpoint()` gets them now. Once it has confirmed all,
//! // `queue.finished().await` is over.
//! assert_eq!(queue.stats().waiting, 1_000);
//! assert_eq!(queue.stats().counts.confirmed, 0);
//! # Ok(())
//! # }
//! ```

mod action;
mod api;
mod authentication;
mod clock;
mod config;
mod events;
mod faults;
mod handle;
mod limit;
mod parameters;
mod queue;
mod recorded;
mod reply;
mod server;
mod settings;
mod stream;

pub use action::Action;
pub use clock::{InvalidTimeScale, TimeScale};
pub use config::{Account, CloudConfig, EmptyAnswer, Key, Limits, MixedConfirm};
pub use events::{Counts, State};
pub use queue::{Queue, QueueStats};
pub use recorded::{NoNotifications, Recorded};
pub use server::Cloud;
pub use settings::{Change, InvalidChange, Mode, Switch};

use vodbridge_core::Secret;
