//! How a queue source is, for `/healthz` and the log.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use vodbridge_core::{HealthCell, LogLimit, Problem, chain};
use vodbridge_vod::api::{Action, ErrorClass};

use super::QueueConfig;
use crate::cloud::CallError;

const LOG_PAUSE: Duration = Duration::from_secs(60);
const CONFIRM_LOG_PAUSE: Duration = Duration::from_secs(10);
/// So many failures in a row are more than one of a cloud's bad moments.
const SEVERAL: u32 = 5;
/// An account that is throttled gets a pull through now and then; where none gets through for so
/// long, somebody has to look.
const STARVED: Duration = Duration::from_secs(60);

/// Keeps the health of one queue source, and logs when it changes.
pub(super) struct Status {
    source: Arc<str>,
    health: Arc<HealthCell>,
    doing: String,
    failures: LogLimit,
    confirm_failures: LogLimit,
    seen: Mutex<Seen>,
}

/// What the health follows from.
struct Seen {
    /// Whether a pull went well, ever.
    reached: bool,
    /// When the last one did, or when the source began.
    last: Instant,
    /// Pulls that failed since.
    failed: u32,
    pull: Option<Problem>,
    /// Confirms that failed since one was taken.
    confirms_failed: u32,
    confirm: Option<Problem>,
    /// One batch is pulled a lease.
    slow: bool,
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
            confirm_failures: LogLimit::new(CONFIRM_LOG_PAUSE),
            seen: Mutex::new(Seen {
                reached: false,
                last: Instant::now(),
                failed: 0,
                pull: None,
                confirms_failed: 0,
                confirm: None,
                slow: false,
            }),
        }
    }

    /// The cloud answered well.
    pub(super) fn reached(&self) {
        let mut seen = self.seen();
        seen.last = Instant::now();
        seen.failed = 0;
        let known = std::mem::replace(&mut seen.reached, true);
        if seen.pull.take().is_some() || !known {
            self.show(&seen);
            tracing::info!(source = &*self.source, "{}", self.doing);
        }
    }

    /// A pull failed.
    pub(super) fn failed(&self, class: ErrorClass, error: &CallError) {
        let (what, remedy) = (chain(error), error.remedy(Action::PullEvents));
        if !self.pull_fails(class, &what, remedy) && class == ErrorClass::Throttled {
            tracing::debug!(source = &*self.source, error = what, "the cloud throttles");
            return;
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

    /// Whether more is wrong than one call.
    fn pull_fails(&self, class: ErrorClass, what: &str, remedy: &str) -> bool {
        let mut seen = self.seen();
        let lasts = if class == ErrorClass::Throttled {
            seen.last.elapsed() >= STARVED
        } else {
            seen.failed = seen.failed.saturating_add(1);
            needs_operator(class) || seen.failed >= SEVERAL
        };
        if lasts {
            seen.pull = Some(problem(what, remedy));
            self.show(&seen);
        }
        lasts
    }

    /// The cloud took a confirm.
    pub(super) fn confirmed(&self) {
        let mut seen = self.seen();
        seen.confirms_failed = 0;
        if seen.confirm.take().is_some() {
            self.show(&seen);
            tracing::info!(source = &*self.source, "the cloud takes confirms again");
        }
    }

    /// A confirm failed.
    pub(super) fn confirm_failed(&self, class: ErrorClass, error: &CallError) {
        let (what, remedy) = (chain(error), error.remedy(Action::ConfirmEvents));
        let refused = needs_operator(class);
        if class != ErrorClass::Throttled {
            let mut seen = self.seen();
            seen.confirms_failed = seen.confirms_failed.saturating_add(1);
            if refused || seen.confirms_failed >= SEVERAL {
                seen.confirm = Some(problem(&format!("confirms fail: {what}"), remedy));
                self.show(&seen);
            }
        }
        let Some(held_back) = self.confirm_failures.allows() else {
            return;
        };
        let source = &*self.source;
        if refused {
            tracing::error!(
                source,
                error = what,
                remedy,
                held_back,
                "the cloud refuses confirms; events are delivered, and come again and again until \
                 it takes them"
            );
        } else {
            tracing::warn!(
                source,
                error = what,
                remedy,
                held_back,
                "a confirm failed; events that are not confirmed within their lease come again, \
                 and are confirmed then without a second publish"
            );
        }
    }

    /// Pulling became slow, or fast again.
    pub(super) fn slow(&self, slow: bool) {
        let mut seen = self.seen();
        seen.slow = slow;
        self.show(&seen);
        if slow {
            tracing::warn!(source = &*self.source, remedy = SLOW_REMEDY, "{SLOW}");
        } else {
            tracing::info!(source = &*self.source, "events are delivered again");
        }
    }

    /// Nothing is pulled any more.
    pub(super) fn draining(&self) {
        tracing::info!(source = &*self.source, "stopped pulling");
    }

    /// The worst of what is seen.
    fn show(&self, seen: &Seen) {
        match seen.pull.as_ref().or(seen.confirm.as_ref()) {
            Some(Problem { what, remedy }) => self.health.down(what, remedy),
            None if seen.slow => self.health.degraded(SLOW, SLOW_REMEDY),
            None => self.health.up(&*self.doing),
        };
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const SLOW: &str = "no sink takes the events, so one batch is pulled a lease";
const SLOW_REMEDY: &str = "look at the sinks; the cloud keeps the events for 4 days";

fn needs_operator(class: ErrorClass) -> bool {
    matches!(class, ErrorClass::Stop | ErrorClass::Reauthenticate)
}

fn problem(what: &str, remedy: &str) -> Problem {
    Problem {
        what: what.to_owned(),
        remedy: remedy.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;
    use vodbridge_core::State;
    use vodbridge_vod::api::ApiError;

    use super::*;

    fn status() -> (Status, Arc<HealthCell>) {
        let config = serde_json::from_str(r#"{"sub_app_id": 7}"#).unwrap();
        let health = Arc::new(HealthCell::starting("pulls"));
        let status = Status::new("reliable".into(), health.clone(), &config);
        (status, health)
    }

    fn error(code: &str) -> CallError {
        CallError::Api(ApiError {
            code: code.to_owned(),
            message: String::new(),
            request_id: String::new(),
        })
    }

    fn pull_fails(status: &Status, code: &str) {
        let error = error(code);
        status.failed(error.class(Action::PullEvents), &error);
    }

    fn confirm_fails(status: &Status, code: &str) {
        let error = error(code);
        status.confirm_failed(error.class(Action::ConfirmEvents), &error);
    }

    #[tokio::test(start_paused = true)]
    async fn an_account_that_only_throttles_is_down_after_a_minute() {
        let (status, health) = status();
        status.reached();
        for _ in 0..59 {
            pull_fails(&status, "RequestLimitExceeded");
            assert_eq!(health.get().state, State::Up);
            advance(Duration::from_secs(1)).await;
        }
        advance(Duration::from_secs(1)).await;
        pull_fails(&status, "RequestLimitExceeded");
        assert_eq!(health.get().state, State::Down);
        status.reached();
        assert_eq!(health.get().state, State::Up);
    }

    #[tokio::test(start_paused = true)]
    async fn refused_confirms_are_down_until_one_is_taken_however_well_pulls_go() {
        let (status, health) = status();
        status.reached();
        confirm_fails(&status, "UnauthorizedOperation");
        status.reached();
        let shown = health.get();
        assert_eq!(shown.state, State::Down);
        assert!(shown.problem.unwrap().remedy.contains("CAM"));
        status.confirmed();
        (0..4).for_each(|_| confirm_fails(&status, "InternalError"));
        assert_eq!(health.get().state, State::Up);
        confirm_fails(&status, "InternalError");
        assert_eq!(health.get().state, State::Down);
        status.confirmed();
        assert_eq!(health.get().state, State::Up);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_wrong_elsewhere_is_not_forgotten_when_one_thing_is_right_again() {
        let (status, health) = status();
        status.slow(true);
        pull_fails(&status, "UnauthorizedOperation");
        assert_eq!(health.get().state, State::Down);
        status.reached();
        assert_eq!(health.get().state, State::Degraded);
        pull_fails(&status, "UnauthorizedOperation");
        status.slow(false);
        assert_eq!(health.get().state, State::Down);
        status.reached();
        assert_eq!(health.get().state, State::Up);
    }
}
