//! What can happen, and in which order.

use std::time::Duration;

use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;
use proptest_state_machine::ReferenceStateMachine;

use crate::cloud::Reply;
use crate::model::Pulled;
use crate::sink::Verdict;

/// The source and its bounds.
#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) pullers: usize,
    /// Permits beyond what the pulls need.
    pub(crate) spare: usize,
    pub(crate) lease: u64,
    pub(crate) calls_per_second: u32,
}

/// One step of a schedule. What a `pick` picks is found when the step is taken, so that a schedule
/// makes sense with any of its steps left out.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// A pull that waits is answered.
    Pull { pick: usize, reply: Reply },
    /// A confirm that waits is answered.
    Confirm { pick: usize, reply: Reply },
    /// Publishes that wait are answered.
    Answer {
        pick: usize,
        count: usize,
        verdict: Verdict,
    },
    /// From now on every publish has this answer at once; None: it waits.
    Always(Option<Verdict>),
    /// Time goes by.
    Pass(Duration),
}

fn events() -> impl Strategy<Value = Reply> {
    // Two events share a handle; now and then one comes again under another.
    let event = (0..16_usize, prop_oneof![5 => Just(0), 1 => Just(100_usize)]);
    let event = event.prop_map(|(number, other)| Pulled {
        number,
        handle: number / 2 + other,
    });
    let count = prop_oneof![8 => 1..5_usize, 1 => 14..20_usize, 1 => Just(0)];
    count
        .prop_flat_map(move |count| proptest::collection::vec(event.clone(), count))
        .prop_map(Reply::Events)
}

fn failure(stale: &'static str) -> impl Strategy<Value = Reply> {
    prop_oneof![
        3 => Just(Reply::Error("InternalError")),
        2 => Just(Reply::Error("RequestLimitExceeded")),
        2 => Just(Reply::Nothing),
        3 => Just(Reply::Error(stale)),
    ]
}

fn verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![
        6 => Just(Verdict::Ack),
        2 => Just(Verdict::Transient),
        1 => Just(Verdict::Permanent),
    ]
}

fn pass() -> impl Strategy<Value = Duration> {
    let millis = prop_oneof![
        5 => 1..1_000_u64,
        4 => 1_000..6_000_u64,
        2 => 8_000..40_000_u64,
    ];
    millis.prop_map(Duration::from_millis)
}

/// Steps that make sense in every state; the state is the world, which does not change.
pub(crate) struct Schedule;

impl ReferenceStateMachine for Schedule {
    type State = World;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<World> {
        let rate = prop_oneof![Just(1), Just(2), Just(100)];
        (1..=2_usize, 0..=16_usize, 13..=30_u64, rate)
            .prop_map(|(pullers, spare, lease, calls_per_second)| World {
                pullers,
                spare,
                lease,
                calls_per_second,
            })
            .boxed()
    }

    fn transitions(_: &World) -> BoxedStrategy<Step> {
        let pick = || any::<usize>();
        let confirmed = prop_oneof![3 => Just(Reply::Done), 2 => failure("InvalidParameterValue")];
        let always = prop_oneof![
            2 => Just(None),
            1 => verdict().prop_map(Some),
        ];
        prop_oneof![
            20 => (pick(), events()).prop_map(|(pick, reply)| Step::Pull { pick, reply }),
            3 => (pick(), failure("ResourceNotFound"))
                .prop_map(|(pick, reply)| Step::Pull { pick, reply }),
            20 => (pick(), confirmed).prop_map(|(pick, reply)| Step::Confirm { pick, reply }),
            20 => (pick(), 1..6_usize, verdict())
                .prop_map(|(pick, count, verdict)| Step::Answer { pick, count, verdict }),
            3 => always.prop_map(Step::Always),
            16 => pass().prop_map(Step::Pass),
        ]
        .boxed()
    }

    fn apply(world: World, _: &Step) -> World {
        world
    }
}
