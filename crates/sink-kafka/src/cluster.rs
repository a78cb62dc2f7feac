//! What is known of a cluster, and what an operator should know of it.

use std::collections::BTreeMap;

use rdkafka::admin::{ConfigResource, OwnedResourceSpecifier};
use vodbridge_core::Finding;

/// librdkafka's `batch.size`: a topic that takes less refuses whole batches of good events.
const BATCH_BYTES: i64 = 1_000_000;

/// The topics that were asked about, and what the broker does for the rest.
#[derive(Default)]
pub(crate) struct Cluster {
    topics: BTreeMap<String, TopicSettings>,
    missing: Vec<String>,
    /// None: not allowed to look.
    defaults: Option<Defaults>,
}

/// Of one topic; what the user may not see stays None.
#[derive(Default)]
struct TopicSettings {
    replication: usize,
    min_isr: Option<usize>,
    max_bytes: Option<i64>,
    fsync: Option<bool>,
    compacted: bool,
}

/// What a topic gets that is created without a word about it.
struct Defaults {
    creates_topics: bool,
    replication: Option<usize>,
    min_isr: Option<usize>,
}

impl Defaults {
    fn new(broker: &ConfigResource) -> Self {
        Self {
            creates_topics: value(broker, "auto.create.topics.enable") == Some(true),
            replication: value(broker, "default.replication.factor"),
            min_isr: value(broker, "min.insync.replicas"),
        }
    }
}

fn value<T: std::str::FromStr>(config: &ConfigResource, name: &str) -> Option<T> {
    config.get(name)?.value.as_ref()?.parse().ok()
}

impl Cluster {
    /// Takes note of a topic: how many replicas it has, None where it does not exist.
    pub(crate) fn add(&mut self, topic: &str, replication: Option<usize>) {
        match replication {
            Some(replication) => {
                let settings = TopicSettings {
                    replication,
                    ..TopicSettings::default()
                };
                self.topics.insert(topic.to_owned(), settings);
            }
            None => self.missing.push(topic.to_owned()),
        }
    }

    /// The topics that exist.
    pub(crate) fn existing(&self) -> impl Iterator<Item = &str> {
        self.topics.keys().map(String::as_str)
    }

    /// Takes note of the settings of a topic or a broker.
    pub(crate) fn learn(&mut self, config: &ConfigResource) {
        let OwnedResourceSpecifier::Topic(name) = &config.specifier else {
            self.defaults = Some(Defaults::new(config));
            return;
        };
        if let Some(topic) = self.topics.get_mut(name) {
            topic.min_isr = value(config, "min.insync.replicas");
            topic.max_bytes = value(config, "max.message.bytes");
            topic.fsync = value(config, "flush.messages").map(|every: u64| every == 1);
            let policy = value::<String>(config, "cleanup.policy");
            topic.compacted = policy.is_some_and(|p| p.contains("compact"));
        }
    }

    /// The weakest of all topics; where there are none yet, what the broker's defaults promise.
    pub(crate) fn ack(&self) -> String {
        let known = |value: Option<usize>| value.map_or("unknown".to_owned(), |v| v.to_string());
        let (replication, min_isr) = if self.topics.is_empty() {
            let defaults = self.defaults.as_ref();
            (
                defaults.and_then(|d| d.replication),
                defaults.and_then(|d| d.min_isr),
            )
        } else {
            let all = || self.topics.values();
            let min_isr = all().map(|t| t.min_isr).min().flatten();
            (all().map(|t| t.replication).min(), min_isr)
        };
        let synced = !self.topics.is_empty() && self.topics.values().all(|t| t.fsync == Some(true));
        let disk = if synced {
            "fsync before each ack"
        } else {
            "no fsync (page cache)"
        };
        format!(
            "acks=all, replication {}, min ISR {}, {disk}",
            known(replication),
            known(min_isr)
        )
    }

    /// What is wrong with the topics for this use of them.
    pub(crate) fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        if !self.missing.is_empty() {
            findings.push(self.missing_topics());
        }
        let mut note =
            |blocking, which: &dyn Fn(&TopicSettings) -> bool, what: &str, remedy: &str| {
                let topics: Vec<_> = self.topics.iter().filter(|(_, t)| which(t)).collect();
                if !topics.is_empty() {
                    let names = list(topics.iter().map(|(name, _)| name.as_str()));
                    findings.push(Finding {
                        blocking,
                        what: format!("{what}: {names}"),
                        remedy: remedy.to_owned(),
                    });
                }
            };
        note(
            true,
            &|t| t.min_isr.is_some_and(|min| min > t.replication),
            "topics ask for more replicas in sync than they have, so they refuse every event",
            "lower `min.insync.replicas` or add replicas",
        );
        note(
            false,
            &|t| t.replication == 1,
            "topics have one replica, so an event is lost with its broker's disk",
            "give them three replicas and `min.insync.replicas=2`",
        );
        note(
            false,
            &|t| t.replication > 1 && t.min_isr == Some(1),
            "topics acknowledge with one replica in sync, so an event can be lost with one broker",
            "set `min.insync.replicas=2`",
        );
        note(
            false,
            &|t| t.max_bytes.is_some_and(|max| max < BATCH_BYTES),
            "topics take less than a full batch, so events are published again one by one",
            "raise `max.message.bytes` to 1048588, or lower `batch.size` under `options`",
        );
        note(
            false,
            &|t| t.compacted,
            "topics are compacted, so they refuse events without a key and keep only the last of each key",
            "set `cleanup.policy=delete`",
        );
        findings
    }

    fn missing_topics(&self) -> Finding {
        let names = list(self.missing.iter().map(String::as_str));
        let creates = self.defaults.as_ref().map(|d| d.creates_topics);
        let (what, remedy) = match creates {
            Some(true) => (
                "topics do not exist, the broker creates them with its defaults on first use",
                "create them with `vodbridge provision` to choose their replicas yourself",
            ),
            Some(false) => (
                "topics do not exist",
                "create them, for example with `vodbridge provision`",
            ),
            None => (
                "topics do not exist, and whether the broker creates them cannot be seen",
                "create them with `vodbridge provision`, or grant the user DESCRIBE_CONFIGS",
            ),
        };
        Finding {
            blocking: creates != Some(true),
            what: format!("{what}: {names}"),
            remedy: remedy.to_owned(),
        }
    }
}

/// The first few names, and how many more there are.
fn list<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    const SHOWN: usize = 5;
    let more = names.len().saturating_sub(SHOWN);
    let shown: Vec<_> = names.take(SHOWN).collect();
    match more {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(replication: usize, min_isr: usize) -> TopicSettings {
        TopicSettings {
            replication,
            min_isr: Some(min_isr),
            max_bytes: Some(1_048_588),
            fsync: Some(false),
            compacted: false,
        }
    }

    fn cluster(topics: Vec<TopicSettings>) -> Cluster {
        let topics = topics.into_iter().enumerate();
        Cluster {
            topics: topics.map(|(i, t)| (format!("vod.{i}"), t)).collect(),
            ..Cluster::default()
        }
    }

    #[test]
    fn the_ack_is_that_of_the_weakest_topic() {
        assert_eq!(
            cluster(vec![topic(3, 2), topic(5, 3)]).ack(),
            "acks=all, replication 3, min ISR 2, no fsync (page cache)"
        );
        let unseen = TopicSettings {
            replication: 3,
            ..TopicSettings::default()
        };
        assert!(
            cluster(vec![topic(3, 2), unseen])
                .ack()
                .contains("min ISR unknown")
        );
        let synced = TopicSettings {
            fsync: Some(true),
            ..topic(3, 2)
        };
        assert!(
            cluster(vec![synced])
                .ack()
                .ends_with("fsync before each ack")
        );
    }

    #[test]
    fn weak_topics_are_found() {
        assert!(cluster(vec![topic(3, 2)]).findings().is_empty());
        for (weak, blocking, word) in [
            (topic(1, 1), false, "one replica"),
            (topic(3, 1), false, "one replica in sync"),
            (topic(2, 3), true, "refuse every event"),
            (
                TopicSettings {
                    max_bytes: Some(1000),
                    ..topic(3, 2)
                },
                false,
                "one by one",
            ),
            (
                TopicSettings {
                    compacted: true,
                    ..topic(3, 2)
                },
                false,
                "compacted",
            ),
        ] {
            let findings = cluster(vec![weak]).findings();
            assert_eq!(findings.len(), 1, "{findings:?}");
            assert_eq!(findings[0].blocking, blocking);
            assert!(findings[0].what.contains(word), "{findings:?}");
        }
    }

    #[test]
    fn a_missing_topic_blocks_unless_the_broker_creates_it() {
        for (creates_topics, blocking) in [(Some(true), false), (Some(false), true), (None, true)] {
            let defaults = creates_topics.map(|creates_topics| Defaults {
                creates_topics,
                replication: Some(1),
                min_isr: Some(1),
            });
            let cluster = Cluster {
                missing: vec!["vod.x".into()],
                defaults,
                ..Cluster::default()
            };
            assert_eq!(cluster.findings()[0].blocking, blocking);
        }
    }
}
