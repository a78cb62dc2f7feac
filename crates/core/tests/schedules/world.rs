//! What a schedule happens to: some sinks, the routes to them, and a source's bound.

use std::sync::Arc;

use proptest::prelude::*;
use vodbridge_core::{
    Condition, DeadLetters, Glob, Intake, Metrics, Pipeline, Route, Router, Sink, SinkSet, Targets,
};

use crate::broker::{Broker, Place};

/// The types of events; which one an event has follows from its number.
pub(crate) const TYPES: [&str; 3] = ["FileDeleted", "PullComplete", "NewFileUpload"];

/// What a bridge is made of.
#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) sinks: usize,
    pub(crate) max_in_flight: usize,
    /// The sinks of each type: required, and the bits of those that are shadow.
    routes: [(u8, u8); TYPES.len()],
    /// The dead letter's sink, if it is one of the sinks and not another.
    dead_letter_of: Option<usize>,
    pub(crate) has_last_resort: bool,
}

impl World {
    pub(crate) fn any() -> impl Strategy<Value = Self> {
        let route = || (0..8_u8, prop_oneof![3 => Just(0), 1 => 0..8_u8]);
        (
            1..=3_usize,
            1..=6_usize,
            [route(), route(), route()],
            proptest::option::of(0..3_usize),
            any::<bool>(),
        )
            .prop_map(
                |(sinks, max_in_flight, routes, dead_letter_of, has_last_resort)| Self {
                    sinks,
                    max_in_flight,
                    routes,
                    dead_letter_of: dead_letter_of.map(|sink| sink % sinks),
                    has_last_resort,
                },
            )
    }

    fn members(&self, bits: u8) -> impl Iterator<Item = usize> {
        (0..self.sinks).filter(move |sink| bits >> sink & 1 == 1)
    }

    /// The sinks that have to ack an event of this type.
    pub(crate) fn required(&self, ty: usize) -> Vec<usize> {
        self.members(self.routes[ty].0).collect()
    }

    /// How many deliveries may wait for one sink, or for the dead letter's.
    pub(crate) fn share(&self) -> usize {
        self.max_in_flight.div_ceil(2)
    }

    /// Whether the sinks have shares: there is another one, or another dead letter's, to go on.
    pub(crate) fn has_shares(&self) -> bool {
        let reachable: u8 = self
            .routes
            .iter()
            .fold(0, |all, (required, _)| all | required);
        let reachable: Vec<_> = self.members(reachable).collect();
        match self.dead_letter_of {
            Some(sink) => reachable.len() > 1 || !reachable.contains(&sink),
            None => true,
        }
    }

    /// The bridge, on sinks that answer as `broker` says.
    pub(crate) fn build(&self, broker: &Arc<Broker>, metrics: &Metrics) -> (Arc<Pipeline>, Intake) {
        let sinks: Vec<Arc<dyn Sink>> = (0..self.sinks)
            .map(|sink| broker.sink(Place::Sink(sink)))
            .collect();
        let routes = TYPES.iter().zip(self.routes);
        let routes = routes.map(|(ty, (required, shadow))| Route {
            name: (*ty).to_owned(),
            conditions: vec![Condition {
                label: "event_type".to_owned(),
                patterns: vec![Glob::new(*ty)],
            }],
            targets: Targets {
                required: SinkSet::of(self.members(required)),
                shadow: SinkSet::of(self.members(shadow)),
            },
        });
        let dead_letters = DeadLetters {
            sink: match self.dead_letter_of {
                Some(sink) => sinks[sink].clone(),
                None => broker.sink(Place::DeadLetter),
            },
            topic: "dead_letter".into(),
            last_resort: self.has_last_resort.then(|| broker.sink(Place::LastResort)),
        };
        let router = Router::new(routes.collect());
        let pipeline = Arc::new(Pipeline::new(sinks, router, dead_letters, metrics));
        let intake = Intake::new(
            "source",
            pipeline.clone(),
            self.max_in_flight,
            metrics.source("source"),
        );
        (pipeline, intake)
    }
}
