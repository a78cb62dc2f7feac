use std::fmt;

/// A call of the API, the value of `X-TC-Action`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Takes up to 16 events off the queue, for 30 s; waits up to 5 s for the first.
    PullEvents,
    /// Deletes up to 16 pulled events from the queue.
    ConfirmEvents,
    /// About how many events wait.
    DescribeEventsState,
    /// Reads mode, callback URL and switches.
    DescribeEventConfig,
    /// Sets them.
    ModifyEventConfig,
}

impl Action {
    /// Every call, in the order of their declaration: `action as usize` is its place.
    pub const ALL: [Self; 5] = [
        Self::PullEvents,
        Self::ConfirmEvents,
        Self::DescribeEventsState,
        Self::DescribeEventConfig,
        Self::ModifyEventConfig,
    ];

    /// The name that the cloud knows it by; also the label of metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::PullEvents => "PullEvents",
            Self::ConfirmEvents => "ConfirmEvents",
            Self::DescribeEventsState => "DescribeEventsState",
            Self::DescribeEventConfig => "DescribeEventConfig",
            Self::ModifyEventConfig => "ModifyEventConfig",
        }
    }

    /// The call of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.name() == name)
    }

    /// Calls a second that the cloud allows an account by default.
    pub fn default_rate(self) -> u32 {
        match self {
            Self::PullEvents | Self::ConfirmEvents => 100,
            Self::DescribeEventsState | Self::DescribeEventConfig | Self::ModifyEventConfig => 20,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_its_place_and_its_name() {
        for (at, action) in Action::ALL.into_iter().enumerate() {
            assert_eq!(action as usize, at);
            assert_eq!(Action::named(action.name()), Some(action));
        }
        assert_eq!(Action::named("pullevents"), None);
    }
}
