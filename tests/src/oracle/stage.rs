//! The cloud, the brokers behind proxies, and the bridge between them.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::time::{Instant, sleep};
use vodbridge_core::Secret;
use vodbridge_simulator::cloud::{Change, Cloud, CloudConfig, Counts, Limits, Mode, Queue};

use super::disk::Disk;
use super::{Plan, soon};
use crate::bridge::{Bridge, SUB_APP_ID, Setup};
use crate::brokers::kafka::Kafka;
use crate::brokers::nats::Nats;
use crate::brokers::rabbitmq::RabbitMq;
use crate::brokers::{Broker, nats, rabbitmq};
use crate::ports::free_port;
use crate::proxy::Proxy;

/// The brokers, which are sinks of these names.
pub const BROKERS: [&str; 3] = ["kafka", "rabbitmq", "nats"];

/// The application whose events are pulled; the other's are posted.
pub(super) const PULLED: u64 = SUB_APP_ID + 1;

/// The shortest lease that the bridge accepts, so that what comes again comes soon.
const LEASE: Duration = Duration::from_secs(13);

/// How long the bridge may take to drain.
const DRAIN: Duration = Duration::from_secs(15);

/// Everything that runs.
pub(super) struct Stage {
    pub(super) cloud: Cloud,
    pub(super) pulled: Queue,
    pub(super) posted: Queue,
    pub(super) kafka: Broker<Kafka>,
    pub(super) rabbitmq: Broker<RabbitMq>,
    pub(super) nats: Broker<Nats>,
    /// In the order of [`BROKERS`].
    pub(super) proxies: [Proxy; 3],
    pub(super) bridge: Bridge,
    /// The spool's. After the bridge: fields are dropped in this order.
    pub(super) disk: Disk,
    /// Events that went through the spool.
    pub(super) through_spool: u64,
    /// When the clock of the cloud's ledger began.
    pub(super) start: Instant,
}

impl Stage {
    pub(super) async fn start(plan: &Plan) -> Result<Self> {
        let behind = free_port()?;
        let (kafka, rabbitmq, nats) = tokio::try_join!(
            Broker::start(Kafka::new()?.behind(behind)),
            rabbitmq::start(),
            nats::start()
        )?;
        let proxies = [
            Proxy::listen(behind, kafka.port())?,
            Proxy::start(rabbitmq.port())?,
            Proxy::start(nats.port())?,
        ];
        let mut config = CloudConfig::new("AKIDtest", Secret::new("key"), [SUB_APP_ID, PULLED]);
        config.seed = plan.seed;
        config.samples.clone_from(&plan.samples);
        (config.lease, config.limits, config.null_fields) = (LEASE, Limits::NONE, false);
        let cloud = Cloud::bind(([127, 0, 0, 1], 0).into(), config).await?;
        let start = Instant::now();
        let queue = |id| cloud.queue(id).context("no such application");
        let (pulled, posted) = (queue(PULLED)?, queue(SUB_APP_ID)?);

        let disk = Disk::mount()?;
        let configuration = configuration(&cloud.endpoint(), &proxies, disk.path());
        let mut setup = Setup::new(&configuration)?;
        if let Some(binary) = &plan.binary {
            setup = setup.with_binary(binary.clone());
        }
        setup.run(&["provision"]).await?;
        let bridge = setup.start().await?;
        posted.change(Change {
            mode: Some(Mode::Push),
            notification_url: Some(bridge.webhook_url()),
            ..Change::default()
        })?;
        Ok(Self {
            cloud,
            pulled,
            posted,
            kafka,
            rabbitmq,
            nats,
            proxies,
            bridge,
            disk,
            through_spool: 0,
            start,
        })
    }

    /// Milliseconds since the cloud was started, as its ledger counts them.
    pub(super) fn now(&self) -> u32 {
        u32::try_from(self.start.elapsed().as_millis()).unwrap_or(u32::MAX)
    }

    /// What the cloud counts, of the events that are pulled and of those that are posted.
    pub(super) fn counts(&self) -> [Counts; 2] {
        [&self.pulled, &self.posted].map(|queue| queue.stats().counts)
    }

    /// How many events have ended for the cloud, well or not.
    pub(super) fn ended(&self) -> u64 {
        let ended = self.counts().map(|counts| counts.issued - counts.open());
        ended.iter().sum()
    }

    /// How it stands, for people.
    pub(super) fn count(&self) -> String {
        let [pulled, posted] = self.counts();
        format!(
            "pulled {} of {} confirmed, posted {} of {} answered and {} given up",
            pulled.confirmed, pulled.issued, posted.confirmed, posted.issued, posted.lost
        )
    }

    /// Before the bridge ends, and its counters with it.
    pub(super) async fn note_spool(&mut self) -> Result<()> {
        let metrics = self.bridge.metrics().await?;
        self.through_spool += metrics.sum("vodbridge_spool_appended_total", &[]) as u64;
        Ok(())
    }

    async fn spool_is_empty(&self) -> Result<()> {
        while self
            .bridge
            .metrics()
            .await?
            .sum("vodbridge_spool_records", &[])
            > 0.0
        {
            sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Waits until every event has ended, the spool is empty and the bridge has drained.
    pub(super) async fn come_to_rest(&mut self) -> Result<()> {
        let rest = async {
            soon("the pulled events end", self.pulled.finished()).await?;
            soon("the posted events end", self.posted.finished()).await?;
            self.bridge.until_nothing_is_in_flight().await?;
            soon("the spool is empty", self.spool_is_empty()).await?
        };
        let at_rest: Result<()> = rest.await;
        at_rest.with_context(|| format!("{}\n{}", self.count(), self.bridge.log_tail()))?;
        self.note_spool().await?;
        self.bridge.sigterm()?;
        let status = self.bridge.wait(2 * DRAIN).await?;
        ensure!(status.success(), "{status}\n{}", self.bridge.log_tail());
        Ok(())
    }
}

/// Both sources to all three sinks. So few are in flight that what a fault makes come twice is
/// little beside all that it does not touch.
fn configuration(endpoint: &str, proxies: &[Proxy; 3], spool: &Path) -> String {
    let [kafka, rabbitmq, nats] = proxies.each_ref().map(Proxy::port);
    format!(
        "sources:
  callback:
    webhook:
      patience: 8s
      max_in_flight: 256
      max_body_bytes: 1048576
      spool: {{ directory: {spool:?}, max_bytes: 67108864, ephemeral: true }}
  reliable:
    queue:
      sub_app_id: {PULLED}
      endpoint: \"{endpoint}\"
      credentials: {{ secret_id: AKIDtest, secret_key: key }}
      pullers: 8
      calls_per_second: 100000
      max_in_flight: 256
      lease: 13s
      lease_margin: 3s
sinks:
  kafka: {{ kafka: {{ brokers: [\"127.0.0.1:{kafka}\"], topic: \"vod.{{event_type}}\" }} }}
  rabbitmq:
    rabbitmq:
      url: \"amqp://guest:guest@127.0.0.1:{rabbitmq}/%2f\"
      exchange: vod
      routing_key: \"vod.{{event_type}}\"
  nats: {{ nats: {{ servers: [\"nats://127.0.0.1:{nats}\"], subject: \"vod.{{event_type}}\", stream: VOD }} }}
dead_letter: {{ sink: kafka, topic: vod.dead_letter }}
drain: {{ grace: 1s, timeout: 15s }}
"
    )
}
