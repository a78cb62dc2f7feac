//! The part of vodbridge that knows no I/O: events and their encoded form, the sink port, routes,
//! delivery with its deadline, and what is remembered between the copies of an event.

pub mod cloudevents;
pub mod config;
mod envelope;
mod event;
mod health;
mod secret;
mod sink;
mod template;

pub use envelope::Envelope;
pub use event::{Event, Label};
pub use health::{Health, HealthCell, Problem, State};
pub use secret::Secret;
pub use sink::{BoxError, Finding, Inspection, Provisioned, PublishError, Sink, Topology};
pub use template::{Template, TemplateError};
