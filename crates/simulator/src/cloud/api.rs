//! The calls and what they do.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use hyper::{HeaderMap, StatusCode};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::authentication;
use super::config::{CloudConfig, EmptyAnswer};
use super::control::Stats;
use super::events::BATCH;
use super::faults::{Failure, Fault, Faults};
use super::limit::Limit;
use super::parameters::{Parameters, invalid_parameter, missing};
use super::queue::{Application, Queue};
use super::reply::{ApiError, Reply};
use super::settings::{Change, Mode};
use super::{Action, Secret};

/// <https://cloud.tencent.com/document/api/266/33433>
const VERSION: &str = "2018-07-17";

/// The code of a call that was answered without an error.
const OK: &str = "ok";

/// What a caller gets.
#[derive(Debug)]
pub(super) enum Answer {
    Reply(Reply),
    /// This status and nothing else.
    Status(StatusCode),
    /// The connection is closed.
    None,
}

/// The state of the whole cloud.
#[derive(Debug)]
pub(super) struct Api {
    pub(super) config: CloudConfig,
    pub(super) applications: BTreeMap<u64, Arc<Application>>,
    /// Of each account and action.
    limits: Vec<[Limit; Action::ALL.len()]>,
    tolerance: Duration,
    faults: Faults,
    /// How often each call was answered with which code.
    answers: Mutex<BTreeMap<(Action, String), u64>>,
    /// Streams that go on as time goes by.
    pub(super) issuing: AtomicUsize,
}

impl Api {
    pub(super) fn new(config: CloudConfig) -> Self {
        let owned = config.accounts.iter().flat_map(|a| &a.applications);
        let applications = owned.enumerate().map(|(place, id)| {
            let seed = config.seed.wrapping_add(place as u64);
            (*id, Arc::new(Application::new(*id, seed, &config)))
        });
        let second = config.time_scale.real(Duration::from_secs(1));
        let limits = |_| Action::ALL.map(|_| Limit::new(second));
        Self {
            applications: applications.collect(),
            limits: config.accounts.iter().map(limits).collect(),
            tolerance: authentication::tolerance(config.time_scale),
            faults: Faults::new(config.seed),
            answers: Mutex::default(),
            issuing: AtomicUsize::new(0),
            config,
        }
    }

    /// Answers a call.
    pub(super) async fn answer(&self, headers: &HeaderMap, body: &[u8]) -> Answer {
        let action = match recognise(headers) {
            Ok(action) => action,
            Err(error) => return Answer::Reply(Err(error)),
        };
        let mishap = self.faults.strike(action);
        if mishap.drop_before {
            return Answer::None;
        }
        let answer = match (self.admit(action, headers, body), mishap.error) {
            (Err(error), _) | (Ok(_), Some(Failure::Api(error))) => Answer::Reply(Err(error)),
            (Ok(_), Some(Failure::Http(status))) => Answer::Status(status),
            (Ok(account), None) => Answer::Reply(self.perform(account, action, body).await),
        };
        if !mishap.slow.is_zero() {
            sleep(self.config.time_scale.real(mishap.slow)).await;
        }
        self.count(action, &answer);
        if mishap.drop_after {
            return Answer::None;
        }
        answer
    }

    fn count(&self, action: Action, answer: &Answer) {
        let code = match answer {
            Answer::Reply(Err(error)) => error.code.clone(),
            Answer::Status(status) => status.as_str().to_owned().into(),
            Answer::Reply(Ok(_)) | Answer::None => OK.into(),
        };
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        *answers.entry((action, code.into_owned())).or_default() += 1;
    }

    /// How often each call was answered with which code, `ok` being none.
    pub(super) fn answers(&self) -> BTreeMap<(Action, String), u64> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.clone()
    }

    /// Sets what goes wrong from now on.
    pub(super) fn set_faults(&self, faults: Vec<Fault>) {
        for application in self.applications.values() {
            application.lock().disorder.set(&faults);
        }
        self.faults.set(faults);
    }

    /// The queue of one application, or those of all.
    pub(super) fn queues(&self, sub_app_id: Option<u64>) -> Result<Vec<Queue>, String> {
        let Some(sub_app_id) = sub_app_id else {
            let all = self.applications.values();
            return Ok(all.map(|application| Queue(application.clone())).collect());
        };
        match self.applications.get(&sub_app_id) {
            Some(application) => Ok(vec![Queue(application.clone())]),
            None => Err(format!("there is no application {sub_app_id}")),
        }
    }

    /// All that has happened so far.
    pub(super) fn stats(&self) -> Stats {
        let mut calls = BTreeMap::<_, BTreeMap<_, _>>::new();
        for ((action, code), count) in self.answers() {
            calls.entry(action.name()).or_default().insert(code, count);
        }
        let applications = self.applications.iter();
        Stats {
            applications: applications.map(|(id, a)| (*id, a.stats())).collect(),
            issuing: self.issuing.load(Ordering::Relaxed) > 0,
            calls,
            faults: self.faults.get().iter().map(ToString::to_string).collect(),
            faults_happened: self.faults.happened(),
        }
    }

    /// How many of the stream's events come at a time.
    pub(super) fn burst(&self) -> u32 {
        self.faults.burst()
    }

    /// The place of the account that may make the call.
    fn admit(&self, action: Action, headers: &HeaderMap, body: &[u8]) -> Result<usize, ApiError> {
        let accounts = &self.config.accounts;
        let now = SystemTime::now();
        let account = authentication::account(accounts, headers, body, now, self.tolerance)?;
        let limit = self.faults.limit(action);
        let limit = limit.unwrap_or(self.config.limits.of(action));
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
                    ApiError::new(invalid_parameter(action), format!("{error}."))
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
        let invalid = |message: &str| ApiError::new(invalid_parameter(action), message);
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
        let code = invalid_parameter(Action::ConfirmEvents);
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
