//! The calls and what they do.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use hyper::HeaderMap;
use serde_json::json;
use tokio::time::Instant;

use super::authentication;
use super::config::{CloudConfig, EmptyAnswer};
use super::events::BATCH;
use super::limit::Limit;
use super::parameters::{Parameters, missing};
use super::queue::Application;
use super::reply::{ApiError, Reply};
use super::settings::{Change, Mode};
use super::{Action, Secret};

/// <https://cloud.tencent.com/document/api/266/33433>
const VERSION: &str = "2018-07-17";

/// The state of the whole cloud.
#[derive(Debug)]
pub(super) struct Api {
    pub(super) config: CloudConfig,
    pub(super) applications: BTreeMap<u64, Arc<Application>>,
    /// Of each account and action.
    limits: Vec<[Limit; Action::ALL.len()]>,
    tolerance: Duration,
    /// How often each call was answered how, an empty code being success.
    answers: Mutex<BTreeMap<(Action, String), u64>>,
}

impl Api {
    pub(super) fn new(config: CloudConfig) -> Self {
        let owned = config.accounts.iter().flat_map(|a| &a.applications);
        let applications = owned.zip(config.seed..).map(|(id, seed)| {
            let application = Application::new(*id, seed, &config);
            (*id, Arc::new(application))
        });
        let second = config.time_scale.real(Duration::from_secs(1));
        let limits = |_| Action::ALL.map(|_| Limit::new(second));
        Self {
            applications: applications.collect(),
            limits: config.accounts.iter().map(limits).collect(),
            tolerance: authentication::tolerance(config.time_scale),
            answers: Mutex::default(),
            config,
        }
    }

    /// Answers a call.
    pub(super) async fn answer(&self, headers: &HeaderMap, body: &[u8]) -> Reply {
        let action = recognise(headers)?;
        let reply = match self.admit(action, headers, body) {
            Ok(account) => self.perform(account, action, body).await,
            Err(error) => Err(error),
        };
        let code = reply.as_ref().err().map_or("", |error| &*error.code);
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        *answers.entry((action, code.to_owned())).or_default() += 1;
        drop(answers);
        reply
    }

    /// How often each call was answered how, an empty code being success.
    pub(super) fn answers(&self) -> BTreeMap<(Action, String), u64> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.clone()
    }

    /// The place of the account that may make the call.
    fn admit(&self, action: Action, headers: &HeaderMap, body: &[u8]) -> Result<usize, ApiError> {
        let accounts = &self.config.accounts;
        let now = SystemTime::now();
        let account = authentication::account(accounts, headers, body, now, self.tolerance)?;
        let limit = self.config.limits.of(action);
        if self.limits[account][action as usize].admits(limit, Instant::now()) {
            return Ok(account);
        }
        let message = format!(
            "Your current request times exceeds the limit of {limit} times in a second for this API."
        );
        Err(ApiError::new("RequestLimitExceeded", message))
    }

    async fn perform(&self, account: usize, action: Action, body: &[u8]) -> Reply {
        let mut parameters = Parameters::read(action, body)?;
        let application = self.application(account, action, parameters.take("SubAppId")?)?;
        match action {
            Action::PullEvents => {
                parameters.take::<&str>("ExtInfo")?;
                parameters.finish()?;
                self.pull(application).await
            }
            Action::ConfirmEvents => {
                let handles: Vec<String> = parameters.need("EventHandles")?;
                parameters.take::<&str>("ExtInfo")?;
                parameters.finish()?;
                confirm(application, &handles)
            }
            Action::DescribeEventsState => {
                parameters.finish()?;
                let waiting = application.stats().waiting;
                Ok(format!(r#""CountOfEventsToPull":{waiting},"#))
            }
            Action::DescribeEventConfig => {
                parameters.finish()?;
                Ok(describe(application))
            }
            Action::ModifyEventConfig => {
                let change = Change {
                    mode: parameters.take("Mode")?,
                    notification_url: parameters.take("NotificationUrl")?,
                    upload: parameters.take("UploadMediaCompleteEventSwitch")?,
                    delete: parameters.take("DeleteMediaCompleteEventSwitch")?,
                    persistence: parameters.take("PersistenceCompleteEventSwitch")?,
                    sign_key: parameters
                        .take("SignKey")?
                        .map(|key: String| Secret::new(key)),
                };
                parameters.finish()?;
                let changed = application.change(change);
                changed.map_err(|error| {
                    ApiError::new(action.invalid_parameter(), format!("{error}."))
                })?;
                Ok(String::new())
            }
        }
    }

    /// The application that the call is about, which has to be the account's.
    fn application(
        &self,
        account: usize,
        action: Action,
        sub_app_id: Option<u64>,
    ) -> Result<&Application, ApiError> {
        let account = &self.config.accounts[account];
        let invalid = |message: &str| ApiError::new(action.invalid_parameter(), message);
        let sub_app_id = sub_app_id
            .or(account.default_application)
            .ok_or_else(|| invalid("SubAppId is required for this account."))?;
        let owned = account.applications.contains(&sub_app_id);
        let application = self.applications.get(&sub_app_id).filter(|_| owned);
        let application = application.ok_or_else(|| invalid("SubAppId is not one of yours."))?;
        Ok(application)
    }

    async fn pull(&self, application: &Application) -> Reply {
        let events = application.pull().await;
        if events.is_empty() {
            return match self.config.empty {
                EmptyAnswer::NotFound => Err(ApiError::new(
                    "ResourceNotFound",
                    "There is no event to pull.",
                )),
                EmptyAnswer::Null => Ok(r#""EventSet":null,"#.to_owned()),
                EmptyAnswer::List => Ok(r#""EventSet":[],"#.to_owned()),
            };
        }
        let mut members = String::with_capacity(events.len() * 4096);
        members.push_str(r#""EventSet":["#);
        application.write(&events, &mut members);
        members.push_str("],");
        Ok(members)
    }
}

/// What is called, by the headers that every call needs.
fn recognise(headers: &HeaderMap) -> Result<Action, ApiError> {
    let header = |name: &str| headers.get(name)?.to_str().ok();
    let action = header("x-tc-action").ok_or_else(|| missing("Action"))?;
    let version = header("x-tc-version").ok_or_else(|| missing("Version"))?;
    if version != VERSION {
        let message = format!("The version `{version}` of the API does not exist.");
        return Err(ApiError::new("NoSuchVersion", message));
    }
    Action::named(action).ok_or_else(|| {
        let message = format!("The request action=`{action}` is invalid or not found.");
        ApiError::new("InvalidAction", message)
    })
}

fn confirm(application: &Application, handles: &[String]) -> Reply {
    let invalid = |message: &str| {
        let code = Action::ConfirmEvents.invalid_parameter();
        Err(ApiError::new(code, message))
    };
    if handles.is_empty() || handles.len() > BATCH {
        return invalid("EventHandles must have 1 to 16 elements.");
    }
    match application.confirm(handles.iter().map(String::as_str)) {
        Ok(()) => Ok(String::new()),
        Err(_stale) => invalid("EventHandles has a handle that is unknown or has expired."),
    }
}

fn describe(application: &Application) -> String {
    let settings = &application.lock().settings;
    let mode = match settings.mode {
        Mode::Push => "PUSH",
        Mode::Pull => "PULL",
    };
    let members = json!({
        "Mode": mode,
        "NotificationUrl": settings.notification_url,
        "UploadMediaCompleteEventSwitch": settings.upload,
        "DeleteMediaCompleteEventSwitch": settings.delete,
        "PersistenceCompleteEventSwitch": settings.persistence,
    })
    .to_string();
    format!("{},", &members[1..members.len() - 1])
}
