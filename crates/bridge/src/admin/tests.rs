use std::future::{pending, ready};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use vodbridge_core::{BoxError, Envelope, PublishError};

use super::*;

/// A sink whose health is set from outside; it takes nothing.
struct Stub(HealthCell);

impl Sink for Stub {
    fn name(&self) -> &str {
        "stub"
    }
    fn publish<'a>(&'a self, _: &'a Envelope) -> BoxFuture<'a, Result<(), PublishError>> {
        pending().boxed()
    }
    fn attempt_timeout(&self) -> Duration {
        Duration::from_secs(1)
    }
    fn health(&self) -> Health {
        self.0.get()
    }
    fn reached(&self) -> BoxFuture<'_, ()> {
        pending().boxed()
    }
    fn close(&self) -> BoxFuture<'_, Result<(), BoxError>> {
        ready(Ok(())).boxed()
    }
}

struct Bridge {
    sink: Arc<Stub>,
    source: Arc<HealthCell>,
    status: Status,
}

/// A bridge whose sink and source work.
fn bridge(takes_callbacks: bool) -> Bridge {
    let sink = Arc::new(Stub(HealthCell::starting("stub")));
    let source = Arc::new(HealthCell::starting("pulls"));
    sink.0.up("stub");
    source.up("pulls");
    let state = Arc::new(Stub(HealthCell::starting("state")));
    state.0.up("state");
    let parts = Parts {
        sinks: vec![sink.clone()],
        state,
        spools: BTreeMap::new(),
        sources: [("reliable".to_owned(), source.clone())].into(),
    };
    let status = Status::new(Registry::default(), parts, takes_callbacks);
    Bridge {
        sink,
        source,
        status,
    }
}

impl Bridge {
    fn readyz(&self) -> StatusCode {
        let request = Request::get("/readyz").body(()).unwrap();
        self.status.answer(&request).status()
    }
}

#[test]
fn where_callbacks_come_no_sink_makes_it_unready() {
    let bridge = bridge(true);
    assert_eq!(bridge.readyz(), StatusCode::SERVICE_UNAVAILABLE);
    bridge.status.set_ready(true);
    bridge.sink.0.down("gone", "look at it");
    bridge.source.down("refused", "look at it");
    assert_eq!(bridge.readyz(), StatusCode::OK);
    bridge.status.set_ready(false);
    assert_eq!(bridge.readyz(), StatusCode::SERVICE_UNAVAILABLE);
}

#[test]
fn where_none_come_it_is_as_ready_as_its_sinks() {
    let bridge = bridge(false);
    bridge.status.set_ready(true);
    assert_eq!(bridge.readyz(), StatusCode::OK);
    bridge.source.down("refused", "look at it");
    assert_eq!(bridge.readyz(), StatusCode::OK);
    bridge.sink.0.down("gone", "look at it");
    assert_eq!(bridge.readyz(), StatusCode::SERVICE_UNAVAILABLE);
    bridge.sink.0.up("stub");
    assert_eq!(bridge.readyz(), StatusCode::OK);
}

#[test]
fn health_and_metrics_tell_of_sources() {
    let bridge = bridge(false);
    let told = |bridge: &Bridge| {
        let report = serde_json::to_value(bridge.status.report()).unwrap();
        let source = report["sources"]["reliable"].clone();
        let up = bridge.status.metrics().lines().find_map(|line| {
            line.strip_prefix("vodbridge_source_up{source=\"reliable\"} ")
                .map(str::to_owned)
        });
        (report["status"].clone(), source, up.unwrap())
    };
    let (status, source, up) = told(&bridge);
    assert_eq!((status, &*up), ("up".into(), "1"));
    assert_eq!(source["doing"], "pulls");

    bridge.source.down("refused", "look at the credentials");
    let (status, source, up) = told(&bridge);
    assert_eq!((status, &*up), ("down".into(), "0"));
    assert_eq!(source["problem"], "refused");
    assert_eq!(source["remedy"], "look at the credentials");
}
