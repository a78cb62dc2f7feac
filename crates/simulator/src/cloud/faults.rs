//! What goes wrong, on purpose.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::StatusCode;

use super::Action;
use super::reply::ApiError;

mod spelling;

pub use spelling::InvalidFault;

/// Something that goes wrong. Written as `KIND[:WHAT][:PROBABILITY][:ACTION]`, on the command
/// line and in the control API; without an action it may befall every call.
///
/// | fault | what happens |
/// | --- | --- |
/// | `error:CODE:5%` | the call is answered with that error, and not performed; a number is an HTTP status |
/// | `slow:2s:5%` | the call is performed, and its answer waits |
/// | `drop-before:5%` | the connection is closed, and the call not performed |
/// | `drop-after:5%` | the call is performed, and the connection closed instead of an answer |
/// | `throttle:20` | so many calls a second |
/// | `duplicate:5%` | an event is delivered twice, under two handles |
/// | `shared-handle:5%` | an event has the handle of the one before it in its pull |
/// | `same-handle` | an event that is delivered again keeps its handle |
/// | `reorder:100` | each event is any one of so many at the front |
/// | `burst:500` | the stream's events come so many at a time |
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// An error instead of an answer.
    Error {
        /// An error code, or an HTTP status.
        code: String,
        /// Which calls.
        calls: Calls,
    },
    /// An answer that comes late.
    Slow {
        /// By how much of the cloud's time.
        by: Duration,
        /// Which calls.
        calls: Calls,
    },
    /// A connection that is closed before the call is performed.
    DropBefore(Calls),
    /// A connection that is closed after the call was performed.
    DropAfter(Calls),
    /// Another limit than the account's.
    Throttle {
        /// Calls a second.
        limit: u32,
        /// Of which action; None: of each.
        action: Option<Action>,
    },
    /// How often an event is delivered twice.
    Duplicate(f64),
    /// How often an event shares the handle of the one before it.
    SharedHandle(f64),
    /// Handles stay the same.
    SameHandle,
    /// From how many waiting events each is chosen.
    Reorder(usize),
    /// How many of the stream's events come at a time.
    Burst(u32),
}

/// Some calls, by chance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Calls {
    /// How likely it is for each.
    pub probability: f64,
    /// Of which action; None: of every one.
    pub action: Option<Action>,
}

/// The faults of a cloud at the moment.
#[derive(Debug)]
pub(super) struct Faults(Mutex<Current>);

#[derive(Debug)]
struct Current {
    faults: Vec<Fault>,
    random: fastrand::Rng,
    happened: u64,
}

/// What befalls one call.
#[derive(Debug, Default)]
pub(super) struct Mishap {
    pub(super) drop_before: bool,
    pub(super) error: Option<Failure>,
    pub(super) slow: Duration,
    pub(super) drop_after: bool,
}

/// How a call fails.
#[derive(Debug)]
pub(super) enum Failure {
    Api(ApiError),
    Http(StatusCode),
}

impl Faults {
    pub(super) fn new(seed: u64) -> Self {
        Self(Mutex::new(Current {
            faults: Vec::new(),
            random: fastrand::Rng::with_seed(seed),
            happened: 0,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Current> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set(&self, faults: Vec<Fault>) {
        self.lock().faults = faults;
    }

    pub(super) fn get(&self) -> Vec<Fault> {
        self.lock().faults.clone()
    }

    /// How many calls something has befallen.
    pub(super) fn happened(&self) -> u64 {
        self.lock().happened
    }

    /// The limit of an action where a fault sets one.
    pub(super) fn limit(&self, action: Action) -> Option<u32> {
        self.lock().faults.iter().find_map(|fault| match fault {
            Fault::Throttle { limit, action: of } => {
                Some(*limit).filter(|_| of.is_none_or(|of| of == action))
            }
            _ => None,
        })
    }

    /// How many of the stream's events come at a time.
    pub(super) fn burst(&self) -> u32 {
        let faults = &self.lock().faults;
        let sizes = faults.iter().map(|fault| match fault {
            Fault::Burst(size) => *size,
            _ => 1,
        });
        sizes.max().unwrap_or(1)
    }

    /// What befalls the next call of an action.
    pub(super) fn strike(&self, action: Action) -> Mishap {
        let Current {
            faults,
            random,
            happened,
        } = &mut *self.lock();
        let mut mishap = Mishap::default();
        for fault in &*faults {
            let struck = fault.calls().is_some_and(|calls| {
                let concerned = calls.action.is_none_or(|of| of == action);
                concerned && random.f64() < calls.probability
            });
            if !struck {
                continue;
            }
            *happened += 1;
            match fault {
                Fault::Error { code, .. } => mishap.error = Some(Failure::of(code)),
                Fault::Slow { by, .. } => mishap.slow += *by,
                Fault::DropBefore(_) => mishap.drop_before = true,
                Fault::DropAfter(_) => mishap.drop_after = true,
                _ => {}
            }
        }
        mishap
    }
}

impl Fault {
    fn calls(&self) -> Option<&Calls> {
        match self {
            Self::Error { calls, .. }
            | Self::Slow { calls, .. }
            | Self::DropBefore(calls)
            | Self::DropAfter(calls) => Some(calls),
            _ => None,
        }
    }
}

impl Failure {
    fn of(code: &str) -> Self {
        let status = code.parse().ok().and_then(|n| StatusCode::from_u16(n).ok());
        match status {
            Some(status) => Self::Http(status),
            None => Self::Api(ApiError::new(code.to_owned(), "A fault on purpose.")),
        }
    }
}

/// Disorder among the events of a queue.
#[derive(Debug)]
pub(super) struct Disorder {
    random: fastrand::Rng,
    duplicate: f64,
    shared_handle: f64,
    same_handle: bool,
    window: usize,
}

impl Disorder {
    /// Everything in order, a new handle for each delivery.
    pub(super) fn none(seed: u64) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
            duplicate: 0.0,
            shared_handle: 0.0,
            same_handle: false,
            window: 1,
        }
    }

    /// What of these faults concerns a queue.
    pub(super) fn set(&mut self, faults: &[Fault]) {
        *self = Self {
            random: self.random.clone(),
            ..Self::none(0)
        };
        for fault in faults {
            match fault {
                Fault::Duplicate(probability) => self.duplicate = *probability,
                Fault::SharedHandle(probability) => self.shared_handle = *probability,
                Fault::SameHandle => self.same_handle = true,
                Fault::Reorder(window) => self.window = *window,
                _ => {}
            }
        }
    }

    pub(super) fn duplicates(&mut self) -> bool {
        self.random.f64() < self.duplicate
    }

    pub(super) fn shares(&mut self) -> bool {
        self.random.f64() < self.shared_handle
    }

    pub(super) fn keeps_handles(&self) -> bool {
        self.same_handle
    }

    /// Which of `length` waiting events is next; None of none.
    pub(super) fn place_below(&mut self, length: usize) -> Option<usize> {
        match self.window.min(length) {
            0 => None,
            1 => Some(0),
            window => Some(self.random.usize(..window)),
        }
    }
}
