//! Credentials: where they come from, and always fresh ones.

mod file;
mod oidc;
mod role;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use thiserror::Error;
use tokio::time::Instant;
use vodbridge_core::{BoxError, Secret, chain};

use super::CredentialsConfig;
use file::{Files, Profile};
use oidc::Oidc;
use role::Role;

/// Files are looked at so often.
const REREAD: Duration = Duration::from_secs(1);
/// After a refresh that failed while the old credentials still serve.
const RETRY: Duration = Duration::from_secs(10);

/// What a call is signed with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The key's id; no secret.
    pub id: String,
    /// The key.
    pub key: Secret,
    /// The session token of a temporary key.
    pub token: Option<Secret>,
}

/// There are no credentials.
#[derive(Debug, Error)]
#[error("{what}")]
pub struct CredentialsError {
    what: String,
    remedy: &'static str,
    #[source]
    source: Option<BoxError>,
}

impl CredentialsError {
    fn new(what: impl Into<String>, remedy: &'static str) -> Self {
        Self {
            what: what.into(),
            remedy,
            source: None,
        }
    }

    /// The key holds what no header takes.
    pub(super) fn unsendable() -> Self {
        Self::new(
            "id, key or token holds a line end or another control character",
            "write them without",
        )
    }

    fn because(self, source: impl Into<BoxError>) -> Self {
        Self {
            source: Some(source.into()),
            ..self
        }
    }

    /// What the operator can do.
    pub fn remedy(&self) -> &'static str {
        self.remedy
    }
}

/// A key, and when to ask for the next.
struct Issued {
    key: Key,
    /// From then on the next one is asked for.
    refresh: Option<Duration>,
    /// From then on it is refused.
    expires: Option<Duration>,
}

impl Issued {
    /// A key that lasts, read again every so often.
    fn lasting(key: Key) -> Self {
        Self {
            key,
            refresh: Some(REREAD),
            expires: None,
        }
    }

    /// A key with so much life left, of which `ahead` is kept for getting the next. One that ends
    /// soon is not asked for with every call: whoever issues it may not have the next one yet.
    fn passing(key: Key, left: Duration, ahead: Duration) -> Result<Self, CredentialsError> {
        if left.is_zero() {
            let remedy = "set this machine's clock, for instance by NTP";
            return Err(CredentialsError::new(
                "the key that was issued has expired",
                remedy,
            ));
        }
        let refresh = left.saturating_sub(ahead).max(RETRY.min(left / 2));
        Ok(Self {
            key,
            refresh: Some(refresh),
            expires: Some(left),
        })
    }
}

enum Kind {
    Files(Files),
    Profile(Profile),
    Role(Role),
    Oidc(Oidc),
}

/// The credentials of one account, kept fresh.
pub struct Credentials {
    kind: Kind,
    held: Mutex<Option<Held>>,
    refreshing: Arc<tokio::sync::Mutex<()>>,
}

struct Held {
    key: Arc<Key>,
    refresh: Option<Instant>,
    expires: Option<Instant>,
}

impl Credentials {
    /// The credentials that `config` names, or those of the default chain: variables,
    /// profile file, TKE where its variables are set, role of the machine. `variable` looks a
    /// variable of the environment up.
    ///
    /// # Errors
    ///
    /// A way was named, and lacks a part.
    pub fn new(
        config: &CredentialsConfig,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Arc<Self>, CredentialsError> {
        let kind = if let (Some(id), Some(key)) = (&config.secret_id, &config.secret_key) {
            Kind::Files(Files::new(id.clone(), key.clone(), config.token.clone()))
        } else if let Some(profile) = &config.profile {
            Kind::Profile(Profile::new(profile, &variable))
        } else if let Some(role) = &config.cvm_role {
            Kind::Role(Role::new(role))
        } else if let Some(oidc) = &config.tke_oidc {
            Kind::Oidc(Oidc::new(oidc, &variable)?)
        } else if config.secret_id.is_some() || config.secret_key.is_some() {
            let what = "secret_id or secret_key is missing";
            return Err(CredentialsError::new(what, "write both"));
        } else {
            default_chain(&variable)?
        };
        Ok(Arc::new(Self {
            kind,
            held: Mutex::new(None),
            refreshing: Arc::default(),
        }))
    }

    /// Where they come from, without a secret.
    pub fn describe(&self) -> String {
        match &self.kind {
            Kind::Files(files) => files.describe(),
            Kind::Profile(profile) => profile.describe(),
            Kind::Role(role) => role.describe(),
            Kind::Oidc(oidc) => oidc.describe(),
        }
    }

    /// The key of this moment. One that is about to expire serves on while the next is fetched.
    pub async fn current(self: &Arc<Self>) -> Result<Arc<Key>, CredentialsError> {
        let now = Instant::now();
        let usable = self.held().as_ref().and_then(|held| {
            let expired = held.expires.is_some_and(|expires| now >= expires);
            let due = held.refresh.is_some_and(|refresh| now >= refresh);
            (!expired).then(|| (held.key.clone(), due))
        });
        match usable {
            Some((key, false)) => Ok(key),
            Some((key, true)) => {
                if let Ok(guard) = self.refreshing.clone().try_lock_owned() {
                    let credentials = self.clone();
                    tokio::spawn(async move {
                        if let Err(error) = credentials.fetch().await {
                            tracing::warn!(
                                error = chain(&error),
                                remedy = error.remedy(),
                                "credentials could not be refreshed; the old ones serve on"
                            );
                            credentials.postpone();
                        }
                        drop(guard);
                    });
                }
                Ok(key)
            }
            None => {
                let _guard = self.refreshing.lock().await;
                let now = Instant::now();
                let fetched = self.held().as_ref().and_then(|held| {
                    let expired = held.expires.is_some_and(|expires| now >= expires);
                    (!expired).then(|| held.key.clone())
                });
                match fetched {
                    Some(key) => Ok(key),
                    None => self.fetch().await,
                }
            }
        }
    }

    /// The cloud refused this key: the next call reads the credentials again.
    pub fn invalidate(&self, refused: &Arc<Key>) {
        let mut held = self.held();
        if held.as_ref().is_some_and(|held| held.key == *refused) {
            *held = None;
        }
    }

    async fn fetch(&self) -> Result<Arc<Key>, CredentialsError> {
        let issued = match &self.kind {
            Kind::Files(files) => files.read().await?,
            Kind::Profile(profile) => profile.read().await?,
            Kind::Role(role) => role.ask().await?,
            Kind::Oidc(oidc) => oidc.ask().await?,
        };
        let now = Instant::now();
        let key = Arc::new(issued.key);
        *self.held() = Some(Held {
            key: key.clone(),
            refresh: issued.refresh.map(|after| now + after),
            expires: issued.expires.map(|after| now + after),
        });
        Ok(key)
    }

    fn postpone(&self) {
        if let Some(held) = self.held().as_mut() {
            held.refresh = Some(Instant::now() + RETRY);
        }
    }

    fn held(&self) -> MutexGuard<'_, Option<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("from", &self.describe())
            .finish_non_exhaustive()
    }
}

/// The default chain of the vendor's SDK (`credential.py`), with TKE before the machine.
fn default_chain(variable: &impl Fn(&str) -> Option<String>) -> Result<Kind, CredentialsError> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    if let (Some(id), Some(key)) = (
        set("TENCENTCLOUD_SECRET_ID"),
        set("TENCENTCLOUD_SECRET_KEY"),
    ) {
        return Ok(Kind::Files(Files::of_variables(
            id,
            key,
            set("TENCENTCLOUD_TOKEN"),
        )));
    }
    let profile = Profile::new(&super::ProfileConfig::default(), variable);
    if profile.exists() {
        return Ok(Kind::Profile(profile));
    }
    if set("TKE_ROLE_ARN").is_some() {
        return Oidc::new(&super::TkeOidcConfig::default(), variable).map(Kind::Oidc);
    }
    Ok(Kind::Role(Role::new(&super::CvmRoleConfig::default())))
}

#[cfg(test)]
mod tests;
