//! The trace that a request belongs to.
//!
//! <https://www.w3.org/TR/trace-context/#traceparent-header>,
//! <https://github.com/cloudevents/spec/blob/main/cloudevents/extensions/distributed-tracing.md>

/// A W3C trace context that may travel on as CloudEvents attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    pub(crate) parent: String,
    pub(crate) state: Option<String>,
}

impl TraceContext {
    /// What the headers `traceparent` and `tracestate` say; None where they say no valid trace.
    pub fn new(parent: &str, state: Option<&str>) -> Option<Self> {
        let fields: Vec<&str> = parent.split('-').collect();
        let is_hex = |field: &str, length| {
            field.len() == length
                && field
                    .bytes()
                    .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        let is_set = |field: &str| field.bytes().any(|b| b != b'0');
        let valid = matches!(fields[..], [version, trace, span, flags]
            if is_hex(version, 2) && version != "ff" && is_hex(flags, 2)
                && is_hex(trace, 32) && is_set(trace) && is_hex(span, 16) && is_set(span));
        let is_state = |text: &&str| {
            (1..=512).contains(&text.len()) && text.bytes().all(|b| (b' '..=b'~').contains(&b))
        };
        valid.then(|| Self {
            parent: parent.to_owned(),
            state: state.filter(is_state).map(str::to_owned),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn takes_what_the_specification_allows() {
        let trace = TraceContext::new(PARENT, Some("vendor=1")).unwrap();
        assert_eq!(
            (trace.parent.as_str(), trace.state.as_deref()),
            (PARENT, Some("vendor=1"))
        );
        assert_eq!(TraceContext::new(PARENT, Some("a\nb")).unwrap().state, None);
    }

    #[test]
    fn refuses_the_rest() {
        for parent in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceContext::new(parent, None), None, "{parent}");
        }
    }
}
