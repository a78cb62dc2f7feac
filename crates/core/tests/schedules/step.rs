//! What can happen, and in which order.

use std::time::Duration;

use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;
use proptest_state_machine::ReferenceStateMachine;

use crate::broker::Verdict;
use crate::world::World;

/// So many events there are, each with any number of copies.
const EVENTS: usize = 7;

/// One step of a schedule. What a `pick` picks is found when the step is taken, so that a schedule
/// makes sense with any of its steps left out.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// A copy of an event arrives.
    Arrive(Arrival),
    /// A notification that is no event arrives, to be dead-lettered.
    Raw { patience: Duration, reserved: bool },
    /// One of the publishes that wait gets its answer.
    Answer { pick: usize, verdict: Verdict },
    /// Time goes by.
    Pass(Duration),
    /// A call is dropped half way.
    Abort { pick: usize },
    /// The caller of a call that has ended is answered.
    Release { pick: usize, in_time: bool },
    /// Permits are taken before what they are for.
    Reserve { count: usize },
    /// They are given back unused.
    Unreserve,
    /// Every delivery is cut: the process ends.
    Cut,
}

#[derive(Debug, Clone)]
pub(crate) struct Arrival {
    pub(crate) event: usize,
    pub(crate) patience: Duration,
    /// How long it waits for a destination.
    pub(crate) limit: Option<Duration>,
    /// With a permit that was taken before, if there is one.
    pub(crate) reserved: bool,
}

fn millis(range: std::ops::Range<u64>) -> impl Strategy<Value = Duration> {
    range.prop_map(Duration::from_millis)
}

fn patience() -> impl Strategy<Value = Duration> {
    millis(2_500..20_000)
}

fn arrival() -> impl Strategy<Value = Step> {
    let limit = proptest::option::of(millis(0..4_000));
    (0..EVENTS, patience(), limit, any::<bool>()).prop_map(|(event, patience, limit, reserved)| {
        Step::Arrive(Arrival {
            event,
            patience,
            limit,
            reserved,
        })
    })
}

fn verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![
        6 => Just(Verdict::Ack),
        3 => Just(Verdict::Transient),
        2 => Just(Verdict::Unroutable),
        3 => Just(Verdict::Permanent),
        1 => Just(Verdict::Panic),
    ]
}

fn pass() -> impl Strategy<Value = Duration> {
    prop_oneof![
        4 => millis(1..1_500),
        4 => millis(1_500..6_000),
        2 => millis(6_000..25_000),
        1 => millis(250_000..700_000),
    ]
}

/// Steps that make sense in every state; the state is the world, which does not change.
pub(crate) struct Schedule;

impl ReferenceStateMachine for Schedule {
    type State = World;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<World> {
        World::any().boxed()
    }

    fn transitions(_: &World) -> BoxedStrategy<Step> {
        let pick = || any::<usize>();
        prop_oneof![
            30 => arrival(),
            3 => (patience(), any::<bool>())
                .prop_map(|(patience, reserved)| Step::Raw { patience, reserved }),
            40 => (pick(), verdict()).prop_map(|(pick, verdict)| Step::Answer { pick, verdict }),
            16 => pass().prop_map(Step::Pass),
            3 => pick().prop_map(|pick| Step::Abort { pick }),
            12 => (pick(), any::<bool>())
                .prop_map(|(pick, in_time)| Step::Release { pick, in_time }),
            4 => (1..4_usize).prop_map(|count| Step::Reserve { count }),
            1 => Just(Step::Unreserve),
            1 => Just(Step::Cut),
        ]
        .boxed()
    }

    fn apply(world: World, _: &Step) -> World {
        world
    }
}
