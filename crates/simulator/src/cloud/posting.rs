//! Normal callbacks (普通回调): while an application is in the mode PUSH, its events are posted.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::TimeScale;
use super::events::State;
use super::queue::{Application, Posted};
use crate::{CallbackSender, Posting, Rule, SignPlace};

/// Callbacks under way at once, of one application.
const UNDER_WAY: usize = 256;

/// Posts what an application has to tell, for ever.
pub(super) async fn post(application: Arc<Application>, scale: TimeScale, place: SignPlace) {
    let rule = Rule::default();
    let rule = Rule {
        timeout: scale.real(rule.timeout).max(Duration::from_millis(1)),
        ..rule
    };
    let under_way = Arc::new(Semaphore::new(UNDER_WAY));
    let mut posts = JoinSet::new();
    let mut sender = Sender::default();
    while let Ok(permit) = under_way.clone().acquire_owned().await {
        let (event, content) = application.next_to_post().await;
        sender.follow(&application, rule, place);
        let (application, sender) = (application.clone(), sender.sender.clone());
        while posts.try_join_next().is_some() {}
        posts.spawn(async move {
            let (body, start) = (application.posted_body(&content), Instant::now());
            let posting = match sender {
                Some(sender) => Some(sender.send(body).await),
                // The simulator speaks no TLS, so nobody hears it.
                None => None,
            };
            let (attempts, state, answer) = judge(posting);
            let after = start.elapsed();
            application.posted(
                event,
                Posted {
                    attempts,
                    state,
                    after,
                    answer,
                },
            );
            drop(permit);
        });
    }
}

/// The sender to the URL that the settings name, made anew when they change.
#[derive(Default)]
struct Sender {
    version: Option<u64>,
    sender: Option<CallbackSender>,
}

impl Sender {
    fn follow(&mut self, application: &Application, rule: Rule, place: SignPlace) {
        let settings = &application.lock().settings;
        if self.version == Some(settings.version) {
            return;
        }
        self.version = Some(settings.version);
        let sender = CallbackSender::new(&settings.notification_url).ok();
        let sender = sender.map(|sender| sender.with_rule(rule));
        self.sender = match &settings.sign_key {
            Some(key) => sender.map(|sender| sender.with_sign_key(key.clone(), place)),
            None => sender,
        };
    }
}

fn judge(posting: Option<Posting>) -> (u32, State, Bytes) {
    match posting {
        Some(Posting::Answered {
            attempt,
            status,
            body,
            ..
        }) => {
            let state = match status {
                200 => State::Confirmed,
                _ => State::Refused,
            };
            (attempt, state, body)
        }
        Some(Posting::Lost { attempts, .. }) => (attempts, State::Lost, Bytes::new()),
        None => (1, State::Lost, Bytes::new()),
    }
}
