//! Three brokers of a kind that hold each other's copies.

use anyhow::{Context, Result};

use super::{Broker, Kind};

/// How many members a cluster has: enough that one can be missed.
pub const MEMBERS: usize = 3;

/// A kind of broker that knows the other members of its cluster. Each of them can be stopped,
/// killed and frozen by itself.
#[derive(Debug)]
pub struct Cluster<K: Kind> {
    /// Its members, running or not.
    pub members: Vec<Broker<K>>,
}

impl<K: Kind> Cluster<K> {
    /// Starts all members and waits until they are ready, together.
    ///
    /// # Errors
    /// Where one does not become ready; the message holds the end of its log.
    pub async fn start(members: [K; MEMBERS]) -> Result<Self> {
        let [a, b, c] = members.map(Broker::start);
        let (a, b, c) = tokio::try_join!(a, b, c)?;
        Ok(Self {
            members: vec![a, b, c],
        })
    }

    /// What a client connects to, member by member.
    pub fn addresses(&self) -> Vec<String> {
        self.members.iter().map(Broker::address).collect()
    }

    /// The member that serves clients on a port.
    ///
    /// # Errors
    /// Where none does.
    pub fn on_port(&mut self, port: u16) -> Result<&mut Broker<K>> {
        let member = self.members.iter_mut().find(|member| member.port() == port);
        member.with_context(|| format!("no {} of this cluster has port {port}", K::NAME))
    }
}
