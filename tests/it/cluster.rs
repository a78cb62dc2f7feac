//! Brokers that hold each other's copies: an event that was confirmed outlives the member that
//! acked it.

use anyhow::{Context, Result, ensure};
use vodbridge_tests::brokers::{Broker, Kind};

use crate::load::{Load, numbers};
use crate::own::{
    OwnCluster, notification, own_kafka_cluster, own_nats_cluster, own_rabbitmq_cluster,
};

const CALLERS: usize = 4;

/// What happens to one leader after the other, each time to another member.
const FATES: [Fate; 3] = [Fate::Killed, Fate::Frozen, Fate::Killed];

#[derive(Clone, Copy, Debug)]
enum Fate {
    Killed,
    /// It goes on later and does not know that it leads no more.
    Frozen,
}

/// Several times what it takes to find another leader, and little more than a client that waits
/// for a frozen one would need.
const PATIENT: &str = "sources: { callback: { webhook: { patience: 30s } } }
drain: { timeout: 45s }";

/// Takes whoever leads away, under load, and lets it come back.
async fn leaders_go<K: Kind>(own: Result<OwnCluster<K>>) -> Result<()> {
    let mut own = own?;
    let bridge = own.setup(PATIENT)?.start().await?;
    let load = Load::start(bridge.webhook(), CALLERS, usize::MAX - 1, notification);
    load.confirms(100).await?;
    for fate in FATES {
        own.client.in_sync(own.place).await?;
        let leader = own.client.leader(own.place).await?;
        let leader = own.broker.on_port(leader)?;
        match fate {
            Fate::Killed => leader.kill().await?,
            Fate::Frozen => leader.pause()?,
        }
        let goes_on = load.confirms(100).await;
        goes_on.with_context(|| format!("{fate:?}\n{}", bridge.log()))?;
        match fate {
            Fate::Killed => leader.restart().await?,
            Fate::Frozen => leader.resume()?,
        }
    }
    let tally = load.stop().await;
    bridge.until_nothing_is_in_flight().await?;
    let metrics = bridge.metrics().await?;
    let undelivered = metrics.sum("vodbridge_events_undelivered_total", &[]);
    ensure!(
        undelivered == 0.0,
        "{undelivered} were given up\n{}",
        bridge.log()
    );
    let fault = format!("{} cluster, leaders killed, frozen, killed", K::NAME);
    tally.loss(&numbers(&own.read().await?)?).none(&fault)?;
    assert_eq!(tally.broken, Vec::<String>::new());
    Ok(())
}

#[tokio::test]
async fn no_loss_of_a_leader_costs_kafka_an_event() -> Result<()> {
    leaders_go(own_kafka_cluster().await).await
}

#[tokio::test]
async fn no_loss_of_a_leader_costs_nats_an_event() -> Result<()> {
    leaders_go(own_nats_cluster().await).await
}

/// A balancer leads the bridge to a node that lives. A frozen one would be missed after a minute
/// only.
#[tokio::test]
async fn no_loss_of_a_leader_costs_rabbitmq_an_event() -> Result<()> {
    let (mut own, balancer) = own_rabbitmq_cluster().await?;
    let bridge = own.setup("")?.start().await?;
    let load = Load::start(bridge.webhook(), CALLERS, usize::MAX - 1, notification);
    load.confirms(100).await?;
    for death in ["first", "second"] {
        let leader = own.broker.members[0].leader(own.place).await?;
        let mut others = own.broker.members.iter().map(Broker::port);
        let other = others.find(|port| *port != leader);
        balancer.aim(other.context("no other node")?);
        let leader = own.broker.on_port(leader)?;
        leader.kill().await?;
        let goes_on = load.confirms(100).await;
        goes_on.with_context(|| format!("after the {death}\n{}", bridge.log()))?;
        leader.restart().await?;
    }
    let tally = load.stop().await;
    bridge.until_nothing_is_in_flight().await?;
    let fault = "rabbitmq cluster, two leaders killed";
    tally.loss(&numbers(&own.read().await?)?).none(fault)?;
    assert_eq!(tally.broken, Vec::<String>::new());
    Ok(())
}
