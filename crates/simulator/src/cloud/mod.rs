//! The cloud's API for events, as a real HTTP server: reliable callbacks (可靠回调) pulled and
//! confirmed, with leases, long polls, signatures, rate limits and the errors that the vendor
//! documents. In the mode PUSH the same events are posted as normal callbacks (普通回调).
//!
//! Where the documents leave a choice, [`CloudConfig`] has it. Three things are kinder than the
//! real cloud: events are kept for ever and not for 4 days, CountOfEventsToPull is exact and not
//! minutes old, and the switches of [`Change`] are on.
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
//! // What goes wrong can change while it runs.
//! cloud.set_faults(vec!["error:InternalError:5%".parse()?, "drop-after:1%:PullEvents".parse()?]);
//! # Ok(())
//! # }
//! ```
//!
//! Other processes steer it by JSON on the same address:
//!
//! | request | does |
//! | --- | --- |
//! | `GET /_control/stats` | [`Stats`] |
//! | `GET /_control/ledger?sub_app_id=N` | a [`LedgerEntry`] a line, for each event that was issued |
//! | `GET`, `POST /_control/faults` `{"faults":["error:InternalError:5%"]}` | what goes wrong, see [`Fault`] |
//! | `POST /_control/issue` `{"sub_app_id":N,"events":N}` or `{"sub_app_id":N,"notification":{…}}` | issues events of the stream, or this one |
//! | `POST /_control/settings` `{"sub_app_id":N,"mode":"PUSH","notification_url":"http://…"}` | [`Change`] |

mod api;
mod authentication;
mod clock;
mod config;
mod control;
mod ending;
mod events;
mod faults;
mod handle;
mod issuing;
mod ledger;
mod limit;
mod parameters;
mod posting;
mod queue;
mod recorded;
mod reply;
mod server;
mod settings;
mod stream;

pub use clock::{InvalidTimeScale, TimeScale};
pub use config::{Account, CloudConfig, EmptyAnswer, Key, Limits, MixedConfirm};
pub use control::Stats;
pub use ending::{Ending, Observer};
pub use events::{Counts, State};
pub use faults::{Calls, Fault, InvalidFault};
pub use ledger::{LedgerEntry, content};
pub use queue::{Queue, QueueStats};
pub use recorded::{NoNotifications, ReadError, Recorded};
pub use server::Cloud;
pub use settings::{Change, InvalidChange, Mode, Switch};
pub use vodbridge_vod::api::Action;

use vodbridge_core::Secret;
