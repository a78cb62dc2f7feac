//! A queue source's application, as the cloud knows it.

use std::time::Duration;

use anyhow::Result;
use thiserror::Error;
use tokio::time::Instant;
use vodbridge_core::chain;
use vodbridge_sources::cloud::{CallError, Called, CloudClient};
use vodbridge_sources::queue::QueueConfig;
use vodbridge_vod::api::{
    Action, ErrorClass, EventConfig, EventConfigChange, api_error, describe_event_config,
    event_config, modify_event_config,
};

use crate::clouds;

/// How long a call may take, fetching credentials included.
const CALL: Duration = Duration::from_secs(20);

/// The application of a queue source, called with the source's credentials.
pub(in crate::cli) struct Application {
    source: String,
    sub_app_id: u64,
    client: CloudClient,
}

/// A call that was not done, with what to do about it.
#[derive(Debug, Error)]
#[error("sources.{source_name}: {what}; {remedy}")]
pub(in crate::cli) struct Refused {
    source_name: String,
    /// The cloud's words, or why there are none.
    pub(in crate::cli) what: String,
    /// What the operator can do.
    pub(in crate::cli) remedy: String,
}

impl Application {
    /// The application of this source.
    pub(in crate::cli) fn open(source: &str, queue: &QueueConfig) -> Result<Self> {
        Ok(Self {
            source: source.to_owned(),
            sub_app_id: queue.sub_app_id,
            client: clouds::client(source, queue)?,
        })
    }

    /// Where the credentials come from.
    pub(in crate::cli) fn credentials(&self) -> String {
        self.client.credentials().describe()
    }

    /// Its settings.
    pub(in crate::cli) async fn describe(&self) -> Result<EventConfig, Refused> {
        let action = Action::DescribeEventConfig;
        let read = |called: Called| event_config(&called.body).map_err(CallError::from);
        let called = self.call(action, describe_event_config(self.sub_app_id));
        called
            .await
            .and_then(read)
            .map_err(|error| self.refused(&error, remedy(&error, action)))
    }

    /// Changes them. An error may come although the cloud has done it: the remedy says so.
    pub(in crate::cli) async fn modify(&self, change: &EventConfigChange) -> Result<(), Refused> {
        let action = Action::ModifyEventConfig;
        let called = self.call(action, modify_event_config(self.sub_app_id, change));
        let done = called.await.and_then(|called| {
            let error = api_error(&called.body).map_err(CallError::from)?;
            error.map_or(Ok(()), |error| Err(error.into()))
        });
        done.map_err(|error| {
            let remedy = match error {
                CallError::Api(_) | CallError::Credentials(_) => remedy(&error, action),
                _ => format!(
                    "`vodbridge callback show` tells whether it was done; {}",
                    remedy(&error, action)
                ),
            };
            self.refused(&error, remedy)
        })
    }

    async fn call(&self, action: Action, body: Vec<u8>) -> Result<Called, CallError> {
        self.client.call(action, body, Instant::now() + CALL).await
    }

    fn refused(&self, error: &CallError, remedy: String) -> Refused {
        Refused {
            source_name: self.source.clone(),
            what: chain(error),
            remedy,
        }
    }
}

/// A source makes a failed call again by itself; a command does not.
fn remedy(error: &CallError, action: Action) -> String {
    match error {
        CallError::Api(api) if api.class(action) == ErrorClass::BackOff => "try again later".into(),
        _ => error.remedy(action).to_owned(),
    }
}
