//! The cloud's side of the conversation: sample notifications of every event type, an endless
//! stream of them, a sender that posts them as Tencent Cloud VOD posts its callbacks, and the API
//! that they are pulled from.

pub mod cloud;
mod identity;
mod notifications;
mod rule;
mod samples;
mod sender;
mod sign;
mod table;

pub use notifications::{Notification, Notifications};
pub use rule::{Loss, Posting, Rule};
pub use samples::{Origin, Sample, sample, samples};
pub use sender::{CallbackSender, InvalidUrl};
pub use sign::{SignPlace, sign};
