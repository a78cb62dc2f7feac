//! What cloud to be.

use std::time::Duration;

use vodbridge_core::Secret;

use super::{Action, Observer, TimeScale};
use crate::{Sample, SignPlace, samples};

/// A cloud to simulate: its accounts, and how it behaves where the vendor's documents leave a
/// choice. [`CloudConfig::new`] is one account with one key, the rest as documented.
#[derive(Debug, Clone)]
pub struct CloudConfig {
    /// The accounts. An application belongs to one of them.
    pub accounts: Vec<Account>,
    /// How fast its time runs.
    pub time_scale: TimeScale,
    /// How long a pulled event stays hidden.
    pub lease: Duration,
    /// How long a pull waits for events.
    pub long_poll: Duration,
    /// Calls a second of each action that an account may make; 0: no limit.
    pub limits: Limits,
    /// What a pull without events is answered.
    pub empty: EmptyAnswer,
    /// What becomes of the good handles of a confirm that has a stale one among them.
    pub mixed_confirm: MixedConfirm,
    /// Whether a pulled event also has every other payload field, as null, as the API page prints
    /// it. The content is the same either way.
    pub null_fields: bool,
    /// What the stream of events is made of.
    pub samples: Vec<&'static Sample>,
    /// Where Sign and T of a callback stand.
    pub sign_place: SignPlace,
    /// Decides order and ids of the stream, handles, and what goes wrong.
    pub seed: u64,
    /// Who is told of each event's end.
    pub observer: Option<Observer>,
}

/// An account: who may call, and for which applications.
#[derive(Debug, Clone)]
pub struct Account {
    /// Who may call.
    pub keys: Vec<Key>,
    /// Its applications (SubAppIds).
    pub applications: Vec<u64>,
    /// The application of a call that names none. None: such a call is refused, as for accounts
    /// that opened the service on or after 2023-12-25.
    pub default_application: Option<u64>,
}

/// A key that calls are signed with.
#[derive(Debug, Clone)]
pub struct Key {
    /// Its id.
    pub secret_id: String,
    /// The key.
    pub secret_key: Secret,
    /// The session token that a temporary key needs beside it.
    pub token: Option<Secret>,
}

/// Calls a second of each action; 0: no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits([u32; Action::ALL.len()]);

/// The three forms of "nothing to pull". The vendor's tutorial, API page and demo each know
/// another one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum EmptyAnswer {
    /// The error `ResourceNotFound`.
    NotFound,
    /// `"EventSet":null`
    #[default]
    Null,
    /// `"EventSet":[]`
    List,
}

/// What becomes of the good handles of a confirm that is refused because of a stale one. Not
/// documented.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MixedConfirm {
    /// None of the batch is confirmed.
    #[default]
    None,
    /// They are confirmed, and the call is refused all the same.
    Good,
}

impl CloudConfig {
    /// One account with one key.
    pub fn new(
        secret_id: &str,
        secret_key: Secret,
        applications: impl IntoIterator<Item = u64>,
    ) -> Self {
        Self {
            accounts: vec![Account {
                keys: vec![Key {
                    secret_id: secret_id.to_owned(),
                    secret_key,
                    token: None,
                }],
                applications: applications.into_iter().collect(),
                default_application: None,
            }],
            time_scale: TimeScale::default(),
            lease: Duration::from_secs(30),
            long_poll: Duration::from_secs(5),
            limits: Limits::default(),
            empty: EmptyAnswer::default(),
            mixed_confirm: MixedConfirm::default(),
            null_fields: true,
            samples: samples().iter().filter(|s| s.is_catalogued()).collect(),
            sign_place: SignPlace::default(),
            seed: 1,
            observer: None,
        }
    }
}

impl Limits {
    /// No limit for any call.
    pub const NONE: Self = Self([0; Action::ALL.len()]);

    /// The same, but so many calls a second of `action`.
    pub fn with(mut self, action: Action, calls: u32) -> Self {
        self.0[action as usize] = calls;
        self
    }

    /// Calls a second of `action`; 0: no limit.
    pub fn of(self, action: Action) -> u32 {
        self.0[action as usize]
    }
}

impl Default for Limits {
    /// The documented ones: 100 for pull and confirm, 20 for the others.
    fn default() -> Self {
        Self([100, 100, 20, 20, 20])
    }
}
