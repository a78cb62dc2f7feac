//! The calls of the API that concern events.

use std::fmt;

/// A call. Each has its own limit of calls a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// <https://cloud.tencent.com/document/api/266/33433>
    PullEvents,
    /// <https://cloud.tencent.com/document/api/266/33434>
    ConfirmEvents,
    /// <https://cloud.tencent.com/document/api/266/48758>
    DescribeEventsState,
    /// <https://cloud.tencent.com/document/api/266/55296>
    DescribeEventConfig,
    /// <https://cloud.tencent.com/document/api/266/55244>
    ModifyEventConfig,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::PullEvents,
        Self::ConfirmEvents,
        Self::DescribeEventsState,
        Self::DescribeEventConfig,
        Self::ModifyEventConfig,
    ];

    /// The value of `X-TC-Action`.
    pub fn name(self) -> &'static str {
        match self {
            Self::PullEvents => "PullEvents",
            Self::ConfirmEvents => "ConfirmEvents",
            Self::DescribeEventsState => "DescribeEventsState",
            Self::DescribeEventConfig => "DescribeEventConfig",
            Self::ModifyEventConfig => "ModifyEventConfig",
        }
    }

    /// The call of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.name() == name)
    }

    /// The error code for a value that will not do: the vendor's client library lists another
    /// one for the calls about the configuration than for those about events.
    pub(super) fn invalid_parameter(self) -> &'static str {
        match self {
            Self::PullEvents | Self::ConfirmEvents | Self::DescribeEventsState => {
                "InvalidParameterValue"
            }
            Self::DescribeEventConfig | Self::ModifyEventConfig => "InvalidParameter",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
