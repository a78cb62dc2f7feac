//! The cloud's API of the event queue and of its settings: calls, answers, error classes.
//!
//! Vendor: PullEvents <https://cloud.tencent.com/document/api/266/33433>, ConfirmEvents
//! [33434](https://cloud.tencent.com/document/api/266/33434), DescribeEventsState
//! [48758](https://cloud.tencent.com/document/api/266/48758), DescribeEventConfig
//! [55296](https://cloud.tencent.com/document/api/266/55296), ModifyEventConfig
//! [55244](https://cloud.tencent.com/document/api/266/55244).

mod action;
mod answer;
mod bytes;
mod class;
mod error;
mod event_config;
mod request;

pub use action::Action;
pub use answer::{AnswerError, Pulled, api_error, count_of_events, event_handle, split_events};
pub use class::ErrorClass;
pub use error::ApiError;
pub use event_config::{EventConfig, EventConfigChange, Mode, event_config};
pub use request::{
    confirm_events, describe_event_config, describe_events_state, modify_event_config, pull_events,
};

/// The `X-TC-Version` of every call. The newer one, 2024-07-18, has no event calls.
pub const VERSION: &str = "2018-07-17";

/// The product's name in the scope of a signature.
pub const SERVICE: &str = "vod";

/// Most events that one pull brings.
pub const MAX_EVENTS: usize = 16;

/// Most handles that one confirm takes.
pub const MAX_HANDLES: usize = 16;
