//! What goes wrong, on purpose.

/// Disorder among the events of a queue.
#[derive(Debug)]
pub(super) struct Disorder {
    random: fastrand::Rng,
    /// How often an event is delivered twice at once.
    pub(super) duplicate: f64,
    /// How often an event gets the handle of the one before it in its pull.
    pub(super) shared_handle: f64,
    /// Whether an event that is delivered again keeps its handle.
    pub(super) same_handle: bool,
    /// Each event is taken from so many at the front; 1: in order.
    pub(super) window: usize,
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
