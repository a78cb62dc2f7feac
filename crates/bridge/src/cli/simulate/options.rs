//! What the command line asks for, and what follows from it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use vodbridge_core::{Secret, chain};
use vodbridge_simulator::cloud::{
    Action, Change, CloudConfig, EmptyAnswer, Fault, Limits, MixedConfirm, Mode, Recorded,
    TimeScale,
};
use vodbridge_simulator::{CallbackSender, SignPlace};

/// Events a second where nothing else says what to issue.
const DEFAULT_RATE: f64 = 10.0;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// Where it listens.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9700")]
    listen: SocketAddr,
    /// Id of the key that calls have to be signed with.
    #[arg(long, value_name = "ID", env = "SIMULATE_SECRET_ID")]
    secret_id: String,
    /// The key that calls have to be signed with.
    #[arg(
        long,
        value_name = "KEY",
        env = "SIMULATE_SECRET_KEY",
        hide_env_values = true
    )]
    secret_key: String,
    /// Session token that calls need as well, as with a temporary key.
    #[arg(
        long,
        value_name = "TOKEN",
        env = "SIMULATE_TOKEN",
        hide_env_values = true
    )]
    token: Option<String>,
    /// Application (SubAppId) of the account; repeatable. Each has events of its own.
    #[arg(long = "sub-app-id", value_name = "ID", required = true)]
    sub_app_ids: Vec<u64>,
    /// Issue the notifications of the *.json files of this directory, each once. A file holds the
    /// answer to a PullEvents call or the body of a callback.
    #[arg(long, value_name = "DIR")]
    samples: Option<PathBuf>,
    /// Issue so many events, of every type in turn [default: without end, or none with --samples]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..=u64::from(u32::MAX)))]
    events: Option<u64>,
    /// Issue so many events a second [default: 10, or all of --events at once]
    #[arg(long, value_name = "N", value_parser = rate)]
    rate: Option<f64>,
    /// Post the events to this URL instead of letting them be pulled; with `ID=` before it those
    /// of one application only. Repeatable.
    #[arg(long = "callback", value_name = "[ID=]URL", value_parser = callback)]
    callbacks: Vec<Callback>,
    /// Add Sign and T to callbacks, made with this key.
    #[arg(long, value_name = "KEY", env = "VOD_SIGN_KEY", hide_env_values = true)]
    sign_key: Option<String>,
    /// Where Sign and T go.
    #[arg(long, value_enum, default_value = "body")]
    sign_in: Place,
    /// Decides order and ids of the events, handles and faults [default: another one each time]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// So many times faster than real time: leases, long polls, time-outs, rates.
    #[arg(long, value_name = "N", default_value = "1")]
    time_scale: TimeScale,
    /// What goes wrong, repeatable: error:CODE:5%, slow:2s:5%, drop-before:5%, drop-after:5%,
    /// throttle:20, all with an action such as :PullEvents behind it or not; duplicate:5%,
    /// shared-handle:5%, same-handle, reorder:100, burst:500.
    #[arg(long = "fault", value_name = "FAULT")]
    faults: Vec<Fault>,
    /// What a pull without events is answered.
    #[arg(long, value_enum, default_value = "null")]
    empty: Empty,
    /// Which good handles of a batch with a stale one are confirmed.
    #[arg(long, value_enum, default_value = "none")]
    mixed_confirm: Mixed,
    /// PullEvents and ConfirmEvents calls a second, each; 0: no limit.
    #[arg(long, value_name = "N", default_value = "100")]
    calls_per_second: u32,
    /// Leave out the payload fields that a pulled event has as null.
    #[arg(long)]
    no_null_fields: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Place {
    Body,
    Query,
}

/// The three forms of an empty queue.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Empty {
    /// `"EventSet":null`
    Null,
    /// `"EventSet":[]`
    List,
    /// The error ResourceNotFound.
    NotFound,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Mixed {
    None,
    Good,
}

/// Where the events of one application, or of all, are posted.
#[derive(Debug, Clone)]
struct Callback {
    sub_app_id: Option<u64>,
    url: String,
}

/// What to be and what to issue.
pub(super) struct Plan {
    pub(super) listen: SocketAddr,
    pub(super) config: CloudConfig,
    pub(super) secret_id: String,
    pub(super) sub_app_ids: Vec<u64>,
    pub(super) callbacks: BTreeMap<u64, Change>,
    pub(super) recorded: Vec<Recorded>,
    pub(super) events: Option<u64>,
    pub(super) rate: Option<f64>,
    pub(super) faults: Vec<Fault>,
}

impl Options {
    /// The plan, or what is wrong with the options and how to mend it.
    pub(super) fn plan(&self) -> Result<Plan, String> {
        for (flag, value) in [
            ("--secret-id", &self.secret_id),
            ("--secret-key", &self.secret_key),
        ] {
            if value.is_empty() {
                return Err(format!(
                    "{flag} is empty: any text will do that the bridge has too"
                ));
            }
        }
        let callbacks = self.callbacks()?;
        let recorded = match &self.samples {
            Some(directory) => Recorded::read_directory(directory)
                .map_err(|error| format!("--samples: {}", chain(&error)))?,
            None => Vec::new(),
        };
        let endless = self.events.is_none() && self.samples.is_none();
        Ok(Plan {
            listen: self.listen,
            config: self.config(),
            secret_id: self.secret_id.clone(),
            sub_app_ids: self.sub_app_ids.clone(),
            callbacks,
            recorded,
            events: self.events,
            rate: self.rate.or(Some(DEFAULT_RATE).filter(|_| endless)),
            faults: self.faults.clone(),
        })
    }

    fn config(&self) -> CloudConfig {
        let key = Secret::new(&*self.secret_key);
        let applications = self.sub_app_ids.iter().copied();
        let mut config = CloudConfig::new(&self.secret_id, key, applications);
        let token = self.token.as_deref().filter(|token| !token.is_empty());
        config.accounts[0].keys[0].token = token.map(Secret::new);
        config.time_scale = self.time_scale;
        config.limits = Limits::default()
            .with(Action::PullEvents, self.calls_per_second)
            .with(Action::ConfirmEvents, self.calls_per_second);
        config.empty = match self.empty {
            Empty::Null => EmptyAnswer::Null,
            Empty::List => EmptyAnswer::List,
            Empty::NotFound => EmptyAnswer::NotFound,
        };
        config.mixed_confirm = match self.mixed_confirm {
            Mixed::None => MixedConfirm::None,
            Mixed::Good => MixedConfirm::Good,
        };
        config.sign_place = match self.sign_in {
            Place::Body => SignPlace::Body,
            Place::Query => SignPlace::Query,
        };
        config.null_fields = !self.no_null_fields;
        config.seed = self.seed.unwrap_or_else(seed);
        config
    }

    /// How the applications whose events are posted are told of them.
    fn callbacks(&self) -> Result<BTreeMap<u64, Change>, String> {
        let mut changes = BTreeMap::new();
        let sign_key = self.sign_key.as_deref().filter(|key| !key.is_empty());
        for Callback { sub_app_id, url } in &self.callbacks {
            let concerned = match sub_app_id {
                Some(id) if self.sub_app_ids.contains(id) => vec![*id],
                Some(id) => return Err(format!("--callback {id}={url}: add --sub-app-id {id}")),
                None => self.sub_app_ids.clone(),
            };
            let change = Change {
                mode: Some(Mode::Push),
                notification_url: Some(url.clone()),
                sign_key: sign_key.map(Secret::new),
                ..Change::default()
            };
            changes.extend(concerned.into_iter().map(|id| (id, change.clone())));
        }
        let plain = |key: &str| key.len() <= 32 && key.bytes().all(|b| b.is_ascii_alphanumeric());
        if !changes.is_empty() && !sign_key.is_none_or(plain) {
            return Err("--sign-key: the cloud takes at most 32 letters and digits".to_owned());
        }
        Ok(changes)
    }
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok();
    rate.filter(|rate| (0.001..=1e6).contains(rate))
        .ok_or_else(|| "a rate is a number of events a second, from 0.001 to 1000000".to_owned())
}

fn callback(text: &str) -> Result<Callback, String> {
    let named = text.split_once('=');
    let named = named.and_then(|(id, url)| Some((id.parse().ok()?, url)));
    let (sub_app_id, url) = match named {
        Some((id, url)) => (Some(id), url),
        None => (None, text),
    };
    CallbackSender::new(url).map_err(|error| error.to_string())?;
    Ok(Callback {
        sub_app_id,
        url: url.to_owned(),
    })
}

/// Another one each time, so that the events of two runs differ.
fn seed() -> u64 {
    let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    // Few digits, to be typed again.
    now.as_millis() as u64 % 1_000_000_000
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn plan(more: &str) -> Result<Plan, String> {
        let line = format!("simulate --secret-id id --secret-key key --sub-app-id 7 {more}");
        let line = Line::try_parse_from(line.split_whitespace());
        line.map_err(|error| error.to_string())?.options.plan()
    }

    #[test]
    fn what_is_not_said_has_a_default() {
        let endless = plan("").unwrap();
        assert_eq!((endless.events, endless.rate), (None, Some(10.0)));
        let at_once = plan("--events 5").unwrap();
        assert_eq!((at_once.events, at_once.rate), (Some(5), None));
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../simulator/samples");
        let recorded = plan(&format!("--samples {directory}")).unwrap();
        assert_eq!((recorded.events, recorded.rate), (None, None));
        assert!(!recorded.recorded.is_empty() && endless.recorded.is_empty());
    }

    #[test]
    fn a_callback_is_for_one_application_or_for_all() {
        let two = plan("--sub-app-id 8 --callback http://h/a --callback 8=http://h/b").unwrap();
        let url = |id| two.callbacks[&id].notification_url.as_deref();
        assert_eq!((url(7), url(8)), (Some("http://h/a"), Some("http://h/b")));
        assert!(plan("").unwrap().callbacks.is_empty());
    }

    #[test]
    fn what_is_wrong_says_how_to_mend_it() {
        for (more, why) in [
            ("--secret-key= ", "--secret-key is empty"),
            ("--callback 9=http://h/", "add --sub-app-id 9"),
            ("--callback https://h/", "no callback URL"),
            (
                "--callback http://h/ --sign-key a-b",
                "32 letters and digits",
            ),
            ("--samples /nowhere", "/nowhere cannot be read"),
            ("--rate 0", "events a second"),
            ("--time-scale 0", "a time scale is"),
            ("--fault flood", "begins with error"),
            ("--events many", "--events"),
        ] {
            let more = more.replace("--secret-key= ", "");
            let error = match more.is_empty() {
                true => {
                    let line = "simulate --secret-id id --secret-key= --sub-app-id 7";
                    let line = Line::try_parse_from(line.split(' ')).map_err(|e| e.to_string());
                    line.and_then(|line| line.options.plan()).err()
                }
                false => plan(&more).err(),
            };
            assert!(error.as_deref().unwrap().contains(why), "{more}: {error:?}");
        }
    }
}
