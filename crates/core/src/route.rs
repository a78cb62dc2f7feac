//! Which sinks an event goes to. Pure.

use crate::Envelope;

/// A set of sinks, by their index in the pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct SinkSet(u64);

impl SinkSet {
    /// How many sinks a pipeline can have.
    pub const MAX: usize = u64::BITS as usize;

    /// The set with these sinks in it.
    pub fn of(sinks: impl IntoIterator<Item = usize>) -> Self {
        sinks.into_iter().fold(Self::default(), Self::with)
    }

    pub(crate) fn with(self, sink: usize) -> Self {
        debug_assert!(
            sink < Self::MAX,
            "a pipeline has at most {} sinks",
            Self::MAX
        );
        Self(self.0 | 1 << sink)
    }

    pub(crate) fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// True: no sink is in it.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether the sink is in it.
    pub fn contains(self, sink: usize) -> bool {
        self.0 >> sink & 1 == 1
    }

    /// How many sinks are in it.
    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// The sinks in it, in order.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..Self::MAX)
            .take(Self::MAX - self.0.leading_zeros() as usize)
            .filter(move |sink| self.0 >> sink & 1 == 1)
    }

    pub(crate) fn bits(self) -> u64 {
        self.0
    }

    pub(crate) fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

/// Where an event goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Targets {
    /// Every one of these has to ack.
    pub required: SinkSet,
    /// Published to, measured, never waited for.
    pub shadow: SinkSet,
}

/// A match on events and the sinks that they go to.
#[derive(Debug, Clone, Default)]
pub struct Route {
    /// The name that the operator gave it.
    pub name: String,
    /// All have to hold; none: every event matches.
    pub conditions: Vec<Condition>,
    /// The sinks of matching events.
    pub targets: Targets,
}

/// The label has a value that one of the patterns matches.
#[derive(Debug, Clone)]
pub struct Condition {
    /// Name of the label.
    pub label: String,
    /// At least one has to match.
    pub patterns: Vec<Glob>,
}

/// A pattern in which `*` stands for any characters, none included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob(String);

impl Glob {
    /// Every text is a pattern.
    pub fn new(pattern: impl Into<String>) -> Self {
        Self(pattern.into())
    }

    /// Whether the whole of `text` matches.
    pub fn matches(&self, text: &str) -> bool {
        let mut pieces = self.0.split('*');
        let first = pieces.next().unwrap_or_default();
        let Some(mut rest) = text.strip_prefix(first) else {
            return false;
        };
        let Some(last) = pieces.next_back() else {
            return rest.is_empty();
        };
        for piece in pieces {
            let Some(at) = rest.find(piece) else {
                return false;
            };
            rest = &rest[at + piece.len()..];
        }
        rest.ends_with(last)
    }
}

impl Condition {
    fn holds(&self, envelope: &Envelope) -> bool {
        envelope
            .label(&self.label)
            .is_some_and(|value| self.patterns.iter().any(|p| p.matches(value)))
    }
}

/// The routes of a bridge.
#[derive(Debug, Clone, Default)]
pub struct Router {
    routes: Vec<Route>,
}

impl Router {
    /// A router with these routes; an event that no route matches goes nowhere.
    pub fn new(routes: Vec<Route>) -> Self {
        Self { routes }
    }

    /// Every event to every one of the sinks.
    pub fn everything(sinks: SinkSet) -> Self {
        let targets = Targets {
            required: sinks,
            shadow: SinkSet::default(),
        };
        Self::new(vec![Route {
            name: "everything".into(),
            conditions: Vec::new(),
            targets,
        }])
    }

    /// The union over the matching routes: a sink is required unless every route that names it
    /// marks it shadow.
    pub fn targets(&self, envelope: &Envelope) -> Targets {
        let matching = self
            .routes
            .iter()
            .filter(|r| r.conditions.iter().all(|c| c.holds(envelope)));
        let all = matching.fold(Targets::default(), |sum, route| Targets {
            required: sum.required.union(route.targets.required),
            shadow: sum.shadow.union(route.targets.shadow),
        });
        Targets {
            shadow: all.shadow.without(all.required),
            ..all
        }
    }

    /// Every sink that some event can be required to reach.
    pub fn reachable(&self) -> SinkSet {
        self.routes.iter().fold(SinkSet::default(), |sum, route| {
            sum.union(route.targets.required)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::event;

    fn route(event_types: &[&str], required: &[usize], shadow: &[usize]) -> Route {
        let patterns = event_types
            .iter()
            .map(|p| Glob::new(*p))
            .collect::<Vec<_>>();
        let conditions = if patterns.is_empty() {
            vec![]
        } else {
            vec![Condition {
                label: "event_type".into(),
                patterns,
            }]
        };
        let targets = Targets {
            required: SinkSet::of(required.iter().copied()),
            shadow: SinkSet::of(shadow.iter().copied()),
        };
        Route {
            name: "r".into(),
            conditions,
            targets,
        }
    }

    #[test]
    fn globs() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("*", "anything", true),
            ("*Complete", "PullComplete", true),
            ("*Complete", "Completed", false),
            ("Edit*Complete", "EditMediaComplete", true),
            ("Edit*Complete", "EditComplete", true),
            ("a*a", "a", false),
            ("a*b*c", "a--b--b--c", true),
            ("a*b*c", "a--c--b", false),
            ("exact", "exact", true),
            ("exact", "exactly", false),
            ("", "", true),
        ] {
            assert_eq!(
                Glob::new(pattern).matches(text),
                expected,
                "{pattern} {text}"
            );
        }
    }

    #[test]
    fn unites_the_matching_routes() {
        let router = Router::new(vec![
            route(&["*Complete"], &[0], &[1]),
            route(&["PullComplete"], &[1], &[2]),
            route(&["FileDeleted"], &[3], &[]),
        ]);
        let targets = router.targets(&event("1", "PullComplete").encode(|d| d.push(b'1')));
        assert_eq!(targets.required.iter().collect::<Vec<_>>(), [0, 1]);
        assert_eq!(targets.shadow.iter().collect::<Vec<_>>(), [2]);
        assert_eq!(router.reachable().iter().collect::<Vec<_>>(), [0, 1, 3]);
    }

    #[test]
    fn an_event_without_a_route_has_no_target() {
        let router = Router::new(vec![route(&["FileDeleted"], &[0], &[])]);
        assert!(
            router
                .targets(&event("1", "PullComplete").encode(|d| d.push(b'1')))
                .required
                .is_empty()
        );
    }

    #[test]
    fn a_set_of_every_sink() {
        let all = SinkSet::of(0..SinkSet::MAX);
        assert_eq!(all.iter().count(), SinkSet::MAX);
        assert_eq!(SinkSet::of([63]).iter().collect::<Vec<_>>(), [63]);
    }
}
