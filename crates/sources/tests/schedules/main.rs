//! Random schedules of a queue source: what the cloud answers and when, what the sink says, and
//! time, which is the runtime's; the calls go over a real socket. `PROPTEST_CASES` says how many.

mod cloud;
mod model;
mod sink;
mod source;
mod step;

use proptest::prelude::ProptestConfig;
use proptest_state_machine::{StateMachineTest, prop_state_machine};
use tokio::runtime::Runtime;

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
