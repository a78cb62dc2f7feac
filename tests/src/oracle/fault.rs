//! What goes wrong.

use std::fmt;
use std::time::Duration;

use super::BROKERS;

/// A fault, and for how long it lasts before it is undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// What goes wrong.
    pub kind: Kind,
    /// For how long.
    pub hold: Duration,
}

/// What can go wrong. Numbers are places in [`BROKERS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The bridge ends as in a crash (SIGKILL), and is started again.
    BridgeKilled,
    /// The bridge is asked to end (SIGTERM), drains, and is started again.
    BridgeStopped,
    /// A broker ends as in a crash (SIGKILL), and is started again.
    Killed(usize),
    /// A broker ends in good order (SIGTERM), and is started again.
    Stopped(usize),
    /// A broker does nothing for a while (SIGSTOP, SIGCONT).
    Frozen(usize),
    /// The connections to a broker end again and again.
    Cut(usize),
    /// What goes to a broker and comes from it is late.
    Delayed(usize),
    /// It is slow.
    Throttled(usize),
    /// It does not get through.
    Silent(usize),
    /// The cloud's calls fail with errors and HTTP statuses.
    ApiErrors,
    /// The cloud's connections break before and after a call was performed, and answers are late.
    ApiDrops,
    /// The cloud delivers twice and out of order.
    ApiDisorder,
    /// Events share handles, and keep them when they come again.
    ApiHandles,
    /// The bridge can open no file and no socket, and the connections that it has end.
    NoDescriptors,
    /// The disk of the spool is full, while a broker does nothing.
    SpoolFull,
}

impl Kind {
    /// Every kind, on every broker.
    pub fn all() -> Vec<Self> {
        let on_a_broker = [
            Self::Killed,
            Self::Stopped,
            Self::Frozen,
            Self::Cut,
            Self::Delayed,
            Self::Throttled,
            Self::Silent,
        ];
        let mut all = vec![Self::BridgeKilled, Self::BridgeStopped];
        for of in on_a_broker {
            all.extend((0..BROKERS.len()).map(of));
        }
        all.extend([
            Self::ApiErrors,
            Self::ApiDrops,
            Self::ApiDisorder,
            Self::ApiHandles,
            Self::NoDescriptors,
            Self::SpoolFull,
        ]);
        all
    }

    /// Whether a process ends without a chance to say so: what it had not told anybody is done
    /// again.
    pub fn is_kill(self) -> bool {
        matches!(self, Self::BridgeKilled | Self::Killed(_))
    }

    /// Between which milliseconds it lasts. Some last longer than an attempt, a heartbeat or a
    /// patience, most do not.
    fn hold(self) -> std::ops::Range<u64> {
        match self {
            Self::BridgeKilled | Self::BridgeStopped => 0..500,
            Self::Killed(_) | Self::Stopped(_) => 0..3_000,
            Self::Frozen(_) | Self::Silent(_) => 500..7_000,
            Self::Cut(_) | Self::NoDescriptors => 1_000..4_000,
            Self::Delayed(_) | Self::Throttled(_) => 2_000..5_000,
            _ => 3_000..6_000,
        }
    }
}

/// So many faults: all of `kinds` in an order that the seed decides, and again.
pub fn schedule(seed: u64, count: usize, kinds: &[Kind]) -> Vec<Fault> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut round = Vec::new();
    let mut faults = Vec::new();
    while faults.len() < count && !kinds.is_empty() {
        if round.is_empty() {
            round = kinds.to_vec();
            random.shuffle(&mut round);
        }
        faults.extend(round.pop().map(|kind| Fault {
            kind,
            hold: Duration::from_millis(random.u64(kind.hold())),
        }));
    }
    faults
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BridgeKilled => write!(f, "bridge killed"),
            Self::BridgeStopped => write!(f, "bridge stopped"),
            Self::Killed(at) => write!(f, "{} killed", BROKERS[*at]),
            Self::Stopped(at) => write!(f, "{} stopped", BROKERS[*at]),
            Self::Frozen(at) => write!(f, "{} frozen", BROKERS[*at]),
            Self::Cut(at) => write!(f, "{} cut off", BROKERS[*at]),
            Self::Delayed(at) => write!(f, "{} delayed", BROKERS[*at]),
            Self::Throttled(at) => write!(f, "{} throttled", BROKERS[*at]),
            Self::Silent(at) => write!(f, "{} silent", BROKERS[*at]),
            Self::ApiErrors => write!(f, "cloud: errors"),
            Self::ApiDrops => write!(f, "cloud: broken and late answers"),
            Self::ApiDisorder => write!(f, "cloud: duplicates, disorder"),
            Self::ApiHandles => write!(f, "cloud: shared, kept handles"),
            Self::NoDescriptors => write!(f, "no file descriptors"),
            Self::SpoolFull => write!(f, "spool's disk full, nats frozen"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} for {:.1} s", self.kind, self.hold.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_round_has_every_kind_once_and_the_seed_decides() {
        let kinds = Kind::all();
        let faults = schedule(1, 2 * kinds.len(), &kinds);
        for round in faults.chunks(kinds.len()) {
            let mut round: Vec<_> = round.iter().map(|fault| fault.kind).collect();
            round.sort();
            assert_eq!(round, kinds);
        }
        assert_eq!(faults, schedule(1, faults.len(), &kinds));
        assert_ne!(faults, schedule(2, faults.len(), &kinds));
    }
}
