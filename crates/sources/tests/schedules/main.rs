//! Random schedules of a queue source: what the cloud answers and when, what the sink says, and
//! time, which is the runtime's; the calls go over a real socket. `PROPTEST_CASES` says how many.

mod cloud;
mod model;
mod sink;
mod source;
mod step;

use std::time::Duration;

use proptest::prelude::ProptestConfig;
use proptest_state_machine::{StateMachineTest, prop_state_machine};
use tokio::runtime::Runtime;

use crate::cloud::Reply;
use crate::model::Pulled;
use crate::sink::Verdict;
use crate::source::Source;
use crate::step::{Schedule, Step, World};

struct Schedules;

/// A source with the runtime that it lives in.
struct Running {
    source: Source,
    runtime: Runtime,
}

impl StateMachineTest for Schedules {
    type SystemUnderTest = Running;
    type Reference = Schedule;

    fn init_test(world: &World) -> Running {
        // The same schedule has the same pauses.
        fastrand::seed(1);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .expect("a runtime");
        let source = runtime.block_on(Source::new(world));
        Running { source, runtime }
    }

    fn apply(mut running: Running, _: &World, step: Step) -> Running {
        running.runtime.block_on(running.source.take(step));
        running
    }

    fn teardown(mut running: Running, _: World) {
        running.runtime.block_on(running.source.finish());
    }
}

/// As many as take a few seconds, unless somebody asks for more.
fn cases() -> u32 {
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => ProptestConfig::default().cases,
        None => 100,
    }
}

prop_state_machine! {
    #![proptest_config(ProptestConfig {
        // A schedule stands in the message, and its test in the code.
        failure_persistence: None,
        cases: cases(),
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_schedule_confirms_what_is_not_durable(sequential 1..80 => Schedules);
}

/// Of two pulls the one that was sent first is answered last, with the same event.
#[test]
fn a_late_answer_does_not_shorten_a_lease() {
    let world = World {
        pullers: 2,
        spare: 0,
        lease: 13,
        calls_per_second: 100,
    };
    let mut running = Schedules::init_test(&world);
    let pass = |millis| Step::Pass(Duration::from_millis(millis));
    let pull = |pick, events| Step::Pull {
        pick,
        reply: Reply::Events(events),
    };
    let event = || Pulled {
        number: 0,
        handle: 0,
    };
    // The second pull is answered and sent anew four seconds after the first was sent; the
    // confirm is never answered, and sent again until the lease is over.
    let steps = [
        Step::Always(Some(Verdict::Ack)),
        pass(4_000),
        pull(1, Vec::new()),
        pass(1_000),
        pull(1, vec![event()]),
        pull(0, vec![event()]),
        pass(10_000),
    ];
    for step in steps {
        running = Schedules::apply(running, &world, step);
    }
    assert_eq!(running.source.confirms_waiting(), 1);
    Schedules::teardown(running, world);
}
