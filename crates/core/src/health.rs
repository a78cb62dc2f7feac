//! What a part of the bridge is doing, for `/healthz`, metrics and the log.

use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

/// How a part of the bridge is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Not reached yet.
    Starting,
    /// Works.
    Up,
    /// Works, with something that an operator should look at.
    Degraded,
    /// Does not work.
    Down,
}

impl State {
    /// The word for `/healthz`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Up => "up",
            Self::Degraded => "degraded",
            Self::Down => "down",
        }
    }
}

/// A part's state, since when, and what is wrong.
#[derive(Debug, Clone)]
pub struct Health {
    /// How it is.
    pub state: State,
    /// When the state last changed.
    pub since: SystemTime,
    /// What it does, for example `connected to nats://127.0.0.1:4222`.
    pub doing: String,
    /// What is wrong and what to do about it.
    pub problem: Option<Problem>,
}

/// What is wrong, and the remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong, the error chain in one line. Never holds a secret.
    pub what: String,
    /// What the operator can do.
    pub remedy: String,
}

/// A [`Health`] that its owner keeps up to date.
#[derive(Debug)]
pub struct HealthCell(Mutex<Health>);

impl HealthCell {
    /// A part that has not been reached yet.
    pub fn starting(doing: impl Into<String>) -> Self {
        Self(Mutex::new(Health {
            state: State::Starting,
            since: SystemTime::now(),
            doing: doing.into(),
            problem: None,
        }))
    }

    /// It works. Returns true where the state changed.
    pub fn up(&self, doing: impl Into<String>) -> bool {
        self.set(State::Up, Some(doing.into()), None)
    }

    /// It works, but look at this. Returns true where the state changed.
    pub fn degraded(&self, what: impl Into<String>, remedy: impl Into<String>) -> bool {
        self.set(
            State::Degraded,
            None,
            Some(Problem {
                what: what.into(),
                remedy: remedy.into(),
            }),
        )
    }

    /// It does not work. Returns true where the state changed.
    pub fn down(&self, what: impl Into<String>, remedy: impl Into<String>) -> bool {
        self.set(
            State::Down,
            None,
            Some(Problem {
                what: what.into(),
                remedy: remedy.into(),
            }),
        )
    }

    /// The health at this moment.
    pub fn get(&self) -> Health {
        self.lock().clone()
    }

    fn set(&self, state: State, doing: Option<String>, problem: Option<Problem>) -> bool {
        let mut health = self.lock();
        let changed = health.state != state;
        if changed {
            health.since = SystemTime::now();
        }
        health.state = state;
        health.problem = problem;
        if let Some(doing) = doing {
            health.doing = doing;
        }
        changed
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Health> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
