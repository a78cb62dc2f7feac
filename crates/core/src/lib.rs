//! The part of vodbridge that knows no I/O: events and their encoded form, the sink port, routes,
//! delivery with its deadline, and what is remembered between the copies of an event.

#[cfg(all(feature = "confirm-before-ack", not(debug_assertions)))]
compile_error!("confirm-before-ack loses events: only the tests of the oracle may have it");

mod away;
pub mod cloudevents;
pub mod config;
mod dead_letter;
mod delivery;
mod envelope;
mod event;
mod generations;
mod health;
mod intake;
mod kept;
mod log_limit;
mod metrics;
mod permits;
mod pipeline;
mod places;
mod presence;
mod reader;
mod redelivery;
mod retry;
mod route;
mod secret;
mod shadow;
mod sink;
mod template;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use away::Away;
pub use dead_letter::{Content, DEAD_LETTER_TYPE, DeadLetter, DeadLetters, NoDeadLetter, Reason};
pub use delivery::{DEAD_LETTER_RESERVE, Patience};
pub use envelope::Envelope;
pub use event::{Event, Label};
pub use generations::Generations;
pub use health::{Health, HealthCell, Problem, State};
pub use intake::{Ended, Intake};
pub use kept::RestoreError;
pub use log_limit::LogLimit;
pub use metrics::{Metrics, SourceMetrics};
pub use permits::Reserved;
pub use pipeline::{NotDelivered, Outcome, Pipeline, chain};
pub use reader::{Foreign, Message, Messages, Reader, messages};
pub use route::{Condition, Glob, Route, Router, SinkSet, Targets};
pub use secret::Secret;
pub use sink::{BoxError, Finding, Inspection, Provisioned, PublishError, Sink, Topology};
pub use template::{Template, TemplateError};
