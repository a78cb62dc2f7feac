//! Random schedules of everything that can happen to a delivery, on fakes and a paused clock,
//! against a model of what must hold of each. `PROPTEST_CASES` says how many.

mod bridge;
mod broker;
mod ends;
mod model;
mod step;
mod world;

use proptest::prelude::ProptestConfig;
use proptest_state_machine::{StateMachineTest, prop_state_machine};
use tokio::runtime::Runtime;

use crate::bridge::Bridge;
use crate::step::{Schedule, Step};
use crate::world::World;

struct Schedules;

/// A bridge with the runtime that it lives in.
struct Running {
    bridge: Bridge,
    runtime: Runtime,
}

impl StateMachineTest for Schedules {
    type SystemUnderTest = Running;
    type Reference = Schedule;

    fn init_test(world: &World) -> Running {
        // The same schedule has the same pauses between its attempts.
        fastrand::seed(1);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        let bridge = runtime.block_on(async { Bridge::new(world.clone()) });
        Running { bridge, runtime }
    }

    fn apply(mut running: Running, _: &World, step: Step) -> Running {
        let taken = running.bridge.take(step);
        running.runtime.block_on(taken);
        running
    }

    fn teardown(mut running: Running, _: World) {
        running.runtime.block_on(running.bridge.finish());
    }
}

/// As many as take a few seconds, unless somebody asks for more.
fn cases() -> u32 {
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => ProptestConfig::default().cases,
        None => 2_000,
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
    fn no_schedule_breaks_a_promise(sequential 1..120 => Schedules);
}
