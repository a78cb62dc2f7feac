//! What the demo plays on: a configuration, and where it is not given one, sinks of its own; and
//! a simulated cloud with an application for each of its sources.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use vodbridge_core::Secret;
use vodbridge_simulator::cloud::{Change, Cloud, CloudConfig, Limits, Mode, Observer, Queue};
use vodbridge_sink_kafka::EmbeddedKafka;

use crate::config::{self, Config, Source, WrittenSource};

/// Both the id and the key of the simulated account.
const KEY: &str = "demo";
/// Applications where the configuration names none.
const APPLICATIONS: [u64; 2] = [1_500_012_345, 1_500_067_890];

/// A configuration whose sources are called, or pull from a simulated cloud, on this machine.
pub(super) struct Stage {
    pub(super) config: Config,
    /// One for each source.
    pub(super) applications: Vec<Application>,
    /// Where the demo's files are.
    pub(super) directory: PathBuf,
    /// The Kafka in this process, where the demo uses its own sinks.
    pub(super) kafka: Option<EmbeddedKafka>,
}

/// An application of the simulated cloud, and how it tells the bridge of its events.
pub(super) struct Application {
    pub(super) sub_app_id: u64,
    pub(super) mode: Mode,
    /// The source that it tells.
    source: String,
}

impl Stage {
    /// Uses the sinks of these files, or without any its own.
    pub(super) fn set(files: &[PathBuf]) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("vodbridge-demo-").tempdir();
        let directory = directory
            .context("no directory for the demo's files; set TMPDIR to one that can be written")?;
        let directory = directory.keep();
        let mut kafka = None;
        let (files, variables): (_, Vec<_>) = if files.is_empty() {
            let own = EmbeddedKafka::start().context("the Kafka in memory does not start")?;
            let file = directory.join("demo.yaml");
            fs::write(&file, own_sinks(&own.bootstrap(), &directory))
                .context("the demo's configuration")?;
            kafka = Some(own);
            (vec![file], Vec::new())
        } else {
            (files.to_vec(), std::env::vars().collect())
        };
        let mut applications = Vec::new();
        let sources = |written: Vec<WrittenSource>| {
            applications = stand_ins(written);
            let sources = applications.iter();
            sources
                .map(|a| (a.source.clone(), a.source()))
                .collect::<BTreeMap<_, _>>()
        };
        // The cloud is gone when the drain begins, so nobody is left to call.
        let drain = json!({ "grace": "100ms" });
        let mut config = config::load_with(&files, variables, sources, &drain)?;
        config.state_directory = directory.join("state");
        Ok(Self {
            config,
            applications,
            directory,
            kafka,
        })
    }

    /// Starts the cloud; the sources that pull do so from it.
    pub(super) async fn open_cloud(&mut self, seed: u64, observer: Observer) -> Result<Cloud> {
        let ids = self.applications.iter().map(|a| a.sub_app_id);
        let mut config = CloudConfig::new(KEY, Secret::new(KEY), ids);
        config.seed = seed;
        config.observer = Some(observer);
        // The rate is what was asked for, not what an account may have.
        config.limits = Limits::NONE;
        let cloud = Cloud::bind(([127, 0, 0, 1], 0).into(), config).await;
        let cloud = cloud.context("the simulated cloud cannot listen on the loopback")?;
        for source in self.config.sources.values_mut() {
            if let Source::Queue(queue) = source {
                queue.endpoint = cloud.endpoint();
            }
        }
        Ok(cloud)
    }

    /// Has the callbacks posted to this address.
    pub(super) fn call(&self, address: SocketAddr, cloud: &Cloud) -> Result<()> {
        for application in self.of(Mode::Push) {
            let change = Change {
                mode: Some(Mode::Push),
                notification_url: Some(application.url(address)),
                ..Change::default()
            };
            let queue = application.queue(cloud)?;
            queue.change(change).context("the callback URL")?;
        }
        Ok(())
    }

    /// Where callbacks are posted.
    pub(super) fn urls(&self, address: SocketAddr) -> Vec<String> {
        self.of(Mode::Push).map(|a| a.url(address)).collect()
    }

    /// The applications of one mode; there is one at least.
    pub(super) fn of(&self, mode: Mode) -> impl Iterator<Item = &Application> {
        self.applications.iter().filter(move |a| a.mode == mode)
    }
}

impl Application {
    /// Its events.
    pub(super) fn queue(&self, cloud: &Cloud) -> Result<Queue> {
        let queue = cloud.queue(self.sub_app_id);
        queue.context("the simulated cloud lacks an application")
    }

    fn path(&self) -> String {
        format!("/vod/{}", self.source)
    }

    fn url(&self, address: SocketAddr) -> String {
        format!("http://{address}{}", self.path())
    }

    /// Its source, as a configuration has it.
    fn source(&self) -> Value {
        let sub_app_id = self.sub_app_id;
        match self.mode {
            Mode::Push => json!({ "webhook": {
                "listen": "127.0.0.1:0", "path": self.path(), "sub_app_id": sub_app_id,
            } }),
            Mode::Pull => json!({ "queue": {
                "sub_app_id": sub_app_id,
                // Its port is not known before the cloud listens.
                "endpoint": "http://127.0.0.1:1",
                "credentials": { "secret_id": KEY, "secret_key": KEY },
                "calls_per_second": 100_000,
                "backlog_interval": "0s",
            } }),
        }
    }
}

/// For each source one of the same name, kind and application, so that routes do what they say;
/// and one of each kind at least. No two have the same application: the cloud tells of an event
/// in one mode or the other.
fn stand_ins(mut written: Vec<WrittenSource>) -> Vec<Application> {
    let mut names: BTreeSet<String> = written.iter().map(|source| source.name.clone()).collect();
    for (pulls, name) in [(false, "callback"), (true, "reliable")] {
        if !written.iter().any(|source| source.pulls == pulls) {
            let mut name = name.to_owned();
            while !names.insert(name.clone()) {
                name.push('_');
            }
            written.push(WrittenSource {
                name,
                pulls,
                sub_app_id: None,
            });
        }
    }
    let mut ids = BTreeSet::new();
    let application = |source: WrittenSource| {
        let default = APPLICATIONS[usize::from(source.pulls)];
        let mut sub_app_id = source.sub_app_id.filter(|id| *id > 0).unwrap_or(default);
        while !ids.insert(sub_app_id) {
            sub_app_id = sub_app_id.wrapping_add(1).max(1);
        }
        Application {
            sub_app_id,
            mode: match source.pulls {
                true => Mode::Pull,
                false => Mode::Push,
            },
            source: source.name,
        }
    };
    written.into_iter().map(application).collect()
}

fn own_sinks(bootstrap: &str, directory: &Path) -> String {
    let events = directory.join("events");
    format!(
        r#"# What the demo runs on.
sinks:
  kafka: {{ kafka: {{ brokers: ["{bootstrap}"], topic: "vod.{{event_type}}" }} }}
  file: {{ file: {{ directory: {events:?}, topic: "vod.{{event_type}}", ephemeral: true }} }}
dead_letter: {{ sink: file }}
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(name: &str, pulls: bool, sub_app_id: Option<u64>) -> WrittenSource {
        WrittenSource {
            name: name.to_owned(),
            pulls,
            sub_app_id,
        }
    }

    fn told(written: Vec<WrittenSource>) -> Vec<(String, Mode, u64)> {
        let applications = stand_ins(written).into_iter();
        applications
            .map(|a| (a.source, a.mode, a.sub_app_id))
            .collect()
    }

    #[test]
    fn there_is_a_source_of_each_kind() {
        let own = [
            ("callback".to_owned(), Mode::Push, 1_500_012_345),
            ("reliable".to_owned(), Mode::Pull, 1_500_067_890),
        ];
        assert_eq!(told(Vec::new()), own);
        let pulls = told(vec![written("callback", true, Some(7))]);
        let kept = ("callback".to_owned(), Mode::Pull, 7);
        let added = ("callback_".to_owned(), Mode::Push, 1_500_012_345);
        assert_eq!(pulls, [kept, added]);
    }

    #[test]
    fn names_and_applications_stay_unless_one_would_have_both_modes() {
        let told = told(vec![
            written("a", false, Some(7)),
            written("b", false, None),
            written("c", true, Some(7)),
        ]);
        let ids: Vec<_> = told.iter().map(|(name, _, id)| (&**name, *id)).collect();
        assert_eq!(ids, [("a", 7), ("b", 1_500_012_345), ("c", 8)]);
    }
}
