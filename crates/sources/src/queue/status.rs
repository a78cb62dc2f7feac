//! How a queue source is, for `/healthz` and the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use vodbridge_core::{HealthCell, LogLimit, State, chain};
use vodbridge_vod::api::{Action, ErrorClass};

use super::QueueConfig;
use crate::cloud::CallError;

const LOG_PAUSE: Duration = Duration::from_secs(60);
/// So many failures in a row are more than one of a cloud's bad moments.
const SEVERAL: u32 = 5;

/// Keeps the health of one queue source, and logs when it changes.
pub(super) struct Status {
    source: Arc<str>,
    health: Arc<HealthCell>,
    doing: String,
    failures: LogLimit,
    /// Pulls that failed since one did not.
    failed: AtomicU32,
}

impl Status {
    pub(super) fn new(source: Arc<str>, health: Arc<HealthCell>, config: &QueueConfig) -> Self {
        Self {
            source,
            health,
            doing: format!(
                "pulls events of application {} from {}",
                config.sub_app_id, config.endpoint
            ),
            failures: LogLimit::new(LOG_PAUSE),
            failed: AtomicU32::new(0),
        }
    }

    /// The cloud answered well.
    pub(super) fn reached(&self) {
        self.failed.store(0, Relaxed);
        let before = self.health.get().state;
        if matches!(before, State::Starting | State::Down) && self.health.up(&*self.doing) {
            tracing::info!(source = &*self.source, "{}", self.doing);
        }
    }

    /// A pull failed.
    pub(super) fn failed(&self, class: ErrorClass, error: &CallError) {
        let (what, remedy) = (chain(error), error.remedy(Action::PullEvents));
        if class == ErrorClass::Throttled {
            tracing::debug!(source = &*self.source, error = what, "the cloud throttles");
            return;
        }
        let needs_operator = matches!(class, ErrorClass::Stop | ErrorClass::Reauthenticate);
        let failed = self.failed.fetch_add(1, Relaxed) + 1;
        if needs_operator || failed >= SEVERAL {
            self.health.down(&*what, remedy);
        }
        let Some(held_back) = self.failures.allows() else {
            return;
        };
        let source = &*self.source;
        match class {
            ErrorClass::Stop => tracing::error!(
                source,
                error = what,
                remedy,
                held_back,
                "the cloud refuses the source; it is asked again once a minute"
            ),
            ErrorClass::Reauthenticate => tracing::error!(
                source,
                error = what,
                remedy,
                held_back,
                "the cloud refuses the credentials; they are read again"
            ),
            _ => tracing::warn!(
                source,
                error = what,
                remedy,
                held_back,
                "a pull failed; the cloud keeps the events, and is asked again"
            ),
        }
    }

    /// Pulling became slow, or fast again.
    pub(super) fn slow(&self, slow: bool) {
        if slow {
            let what = "no sink takes the events, so one batch is pulled a lease";
            let remedy = "look at the sinks; the cloud keeps the events for 4 days";
            self.health.degraded(what, remedy);
            tracing::warn!(source = &*self.source, remedy, "{what}");
        } else {
            self.health.up(&*self.doing);
            tracing::info!(source = &*self.source, "events are delivered again");
        }
    }

    /// Nothing is pulled any more.
    pub(super) fn draining(&self) {
        tracing::info!(source = &*self.source, "stopped pulling");
    }
}
