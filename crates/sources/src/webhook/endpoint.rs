//! One application's callbacks: from a body to its delivery, detached from the connection.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt;
use hyper::HeaderMap;
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::task::TaskTracker;
use vodbridge_core::{
    DeadLetter, Ended, Envelope, Intake, LogLimit, Patience, Reason, Sink, chain,
};
use vodbridge_vod::signature::callback::{CallbackKeys, SignatureError, Tolerance};
use vodbridge_vod::{Catalogue, Normalizer, Notification, TraceContext, Via};

use super::WebhookConfig;
use super::body::{ByteBudget, HeldBody};
use super::caller::Caller;
use super::occurrence::Occurrences;
use super::quota::Quota;
use crate::poison::{self, Kept};
use crate::spool::Spool;

/// What the undelivered file is called: the topic of its records.
pub const UNDELIVERED: &str = "undelivered";
/// A body over this many bytes is large.
const LARGE: usize = 256 * 1024;
/// What a dead letter takes beside what it keeps.
const RECORD: usize = 1024;
/// The undelivered file is best effort: this long, and no longer.
const UNDELIVERED_TIMEOUT: Duration = Duration::from_secs(5);
/// As long may the spool take at the end of a patience, when nobody waits for an answer.
pub(super) const LAST_KEEP: Duration = Duration::from_secs(1);
/// Between two lines of a kind.
const LOG_PAUSE: Duration = Duration::from_secs(1);
/// An event is unroutable this long before `answer_within`, which leaves time for its dead
/// letter.
const UNROUTABLE_RESERVE: Duration = Duration::from_secs(2);

/// One application's callbacks.
pub struct Endpoint {
    pub(super) config: WebhookConfig,
    pub(super) budget: ByteBudget,
    pub(super) intake: Intake,
    normalizer: Normalizer,
    keys: Option<CallbackKeys>,
    occurrences: Occurrences,
    quota: Quota,
    undelivered: Arc<dyn Sink>,
    pub(super) spool: Option<Arc<Spool>>,
    pub(super) logs: Logs,
    /// Large bodies are recognised one at a time, off the runtime's workers: it takes many times
    /// their memory, and seconds.
    large: Semaphore,
    pub(super) tasks: TaskTracker,
}

/// A request whose body is whole.
pub(super) struct Received {
    pub(super) body: HeldBody,
    pub(super) headers: HeaderMap,
    pub(super) query: Option<String>,
    pub(super) caller: Arc<Caller>,
    /// When its head came.
    pub(super) since: Instant,
    pub(super) at: SystemTime,
}

/// What the caller may be told.
pub(super) enum Verdict {
    /// Durable.
    Accepted { id: String },
    /// Not the cloud.
    Unverified(SignatureError),
    /// Nothing, for as long as the cloud listens: it must send again.
    Withheld,
}

/// The end of a detached delivery. Bytes and permit are held until its caller has been answered.
pub(super) struct Ending {
    pub(super) verdict: Verdict,
    /// Dropped once the caller has been answered.
    pub(super) held: (Option<Ended>, Arc<Received>),
}

/// What a body turned out to be.
enum Recognised {
    Event(Envelope),
    Unverified(SignatureError),
    Poison(Poison),
    /// Nothing: there was no time for it.
    Late,
}

/// What cannot become an event.
struct Poison {
    reason: Reason,
    error: String,
    kept: Kept,
}

impl Poison {
    fn new(reason: Reason, error: String, received: &Received) -> Self {
        let kept = poison::kept(&received.body.bytes, &received.headers, None);
        Self {
            reason,
            error,
            kept,
        }
    }
}

/// A line in a while for each thing that can happen often.
pub(super) struct Logs {
    pub(super) too_large: LogLimit,
    pub(super) not_whole: LogLimit,
    undelivered: LogLimit,
}

impl Default for Logs {
    fn default() -> Self {
        let limit = || LogLimit::new(LOG_PAUSE);
        Self {
            too_large: limit(),
            not_whole: limit(),
            undelivered: limit(),
        }
    }
}

impl Endpoint {
    /// The endpoint of one webhook source. `undelivered` keeps, as well as it can, what no sink
    /// took within the patience and no spool keeps.
    pub fn new(
        config: WebhookConfig,
        intake: Intake,
        catalogue: Arc<Catalogue>,
        undelivered: Arc<dyn Sink>,
        spool: Option<Arc<Spool>>,
    ) -> Self {
        let tolerance = Tolerance {
            past: config.sign_tolerance.past,
            ahead: config.sign_tolerance.ahead,
        };
        let keys = (!config.sign_keys.is_empty())
            .then(|| CallbackKeys::new(config.sign_keys.clone(), tolerance));
        Self {
            normalizer: Normalizer::new(
                config.sub_app_id,
                intake.source(),
                Via::Webhook,
                catalogue,
            ),
            budget: ByteBudget::new(config.max_bytes, config.max_body_bytes),
            keys,
            occurrences: Occurrences::new(),
            quota: Quota::new(),
            undelivered,
            spool,
            logs: Logs::default(),
            large: Semaphore::new(1),
            tasks: TaskTracker::new(),
            intake,
            config,
        }
    }

    /// Starts the delivery of a request, which goes on if its caller hangs up.
    pub(super) fn start(self: &Arc<Self>, received: Received) -> JoinHandle<Ending> {
        let (endpoint, received) = (self.clone(), Arc::new(received));
        self.tasks.spawn(async move {
            let delivery = AssertUnwindSafe(endpoint.handle(&received)).catch_unwind();
            let (verdict, ended) = match delivery.await {
                Ok(done) => done,
                Err(_) => {
                    let error = "the bridge failed on it".to_owned();
                    let poison = Poison::new(Reason::Panic, error, &received);
                    Box::pin(endpoint.dead_letter(&received, poison)).await
                }
            };
            Ending {
                verdict,
                held: (ended, received),
            }
        })
    }

    /// Resolves once every delivery has ended.
    pub(super) async fn finished(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    async fn handle(self: &Arc<Self>, received: &Arc<Received>) -> (Verdict, Option<Ended>) {
        let recognised = match received.body.bytes.len() {
            ..=LARGE => self.recognise(received),
            // What is rare is boxed, so that what is not stays small to move about.
            _ => Box::pin(self.recognise_large(received)).await,
        };
        match recognised {
            Recognised::Event(envelope) => match &self.spool {
                Some(spool) => self.deliver_or_keep(spool, envelope, received).await,
                None => self.deliver(&envelope, received).await,
            },
            Recognised::Unverified(error) => (Verdict::Unverified(error), None),
            Recognised::Late => {
                let error = "too many large bodies at once".to_owned();
                let poison = Poison::new(Reason::Unread, error.clone(), received);
                let letter = self.letter(received, poison).encode();
                (
                    Box::pin(self.give_up(&letter, received, &error)).await,
                    None,
                )
            }
            Recognised::Poison(poison) => Box::pin(self.take_poison(received, poison)).await,
        }
    }

    async fn recognise_large(self: &Arc<Self>, received: &Arc<Received>) -> Recognised {
        let deadline = received.since + self.config.patience;
        let Ok(one) = timeout_at(deadline, self.large.acquire()).await else {
            return Recognised::Late;
        };
        let (endpoint, received) = (self.clone(), received.clone());
        let recognised = spawn_blocking(move || endpoint.recognise(&received)).await;
        drop(one);
        // A panic goes on here, where it becomes a dead letter.
        recognised.unwrap_or_else(|error| resume_unwind(error.into_panic()))
    }

    fn recognise(&self, received: &Received) -> Recognised {
        let notification = Notification::parse(&received.body.bytes);
        if let Some(keys) = &self.keys {
            let in_body = notification.as_ref().ok().map(|n| n.sign_fields());
            if let Err(error) = keys.verify(in_body, received.query.as_deref(), received.at) {
                return Recognised::Unverified(error);
            }
        }
        let notification = match notification {
            Ok(notification) => notification,
            Err(error) => {
                let poison = Poison::new(Reason::Unparsable, chain(&error), received);
                return Recognised::Poison(poison);
            }
        };
        let normalized = match self.normalizer.normalize(&notification, received.at) {
            Ok(normalized) => normalized,
            Err(error) => {
                let poison = Poison::new(Reason::Unrecognised, chain(&error), received);
                return Recognised::Poison(poison);
            }
        };
        let occurrence = normalized.is_repeatable().then(|| {
            self.occurrences
                .enter(normalized.fingerprint(), &received.caller)
        });
        let normalized = normalized.with_trace(trace(&received.headers));
        Recognised::Event(normalized.into_envelope(occurrence.as_deref()))
    }

    async fn deliver(&self, envelope: &Envelope, received: &Received) -> (Verdict, Option<Ended>) {
        let wait = self.config.answer_within.saturating_sub(UNROUTABLE_RESERVE);
        let patience = Patience {
            unroutable_until: Some(received.since + wait),
            ..Patience::until(received.since + self.config.patience)
        };
        let ended = self.intake.deliver(envelope, patience).await;
        let verdict = match &ended.result {
            Ok(_) => accepted(envelope),
            Err(_) if ended.joined => Verdict::Withheld,
            Err(error) => Box::pin(self.give_up(envelope, received, &chain(error))).await,
        };
        (verdict, Some(ended))
    }

    /// The caller of this event was answered 200 in time, so that no copy of it will come.
    pub(super) fn confirmed(&self, id: &str) {
        self.intake.confirmed(id);
        if let Some(spool) = &self.spool {
            spool.confirmed(id);
        }
    }

    /// A caller that nobody vouches for can put only so much into the dead letter.
    async fn take_poison(
        self: &Arc<Self>,
        received: &Arc<Received>,
        poison: Poison,
    ) -> (Verdict, Option<Ended>) {
        if self.keys.is_none() && !self.quota.take(poison.kept.size + RECORD) {
            self.intake.metrics().refused("poison_over_quota");
            return (Verdict::Withheld, None);
        }
        self.dead_letter(received, poison).await
    }

    fn letter(&self, received: &Received, poison: Poison) -> DeadLetter {
        DeadLetter {
            id: poison.kept.id,
            reason: poison.reason,
            source: self.intake.source().clone(),
            sink: None,
            error: Some(poison.error),
            attempts: 0,
            first: received.at,
            last: SystemTime::now(),
            content: poison.kept.content,
        }
    }

    async fn dead_letter(
        self: &Arc<Self>,
        received: &Arc<Received>,
        poison: Poison,
    ) -> (Verdict, Option<Ended>) {
        let letter = self.letter(received, poison).encode();
        if let Some(spool) = &self.spool {
            return self.deliver_or_keep(spool, letter, received).await;
        }
        let deadline = received.since + self.config.patience;
        let ended = self.intake.dead_letter_encoded(&letter, deadline).await;
        let verdict = match &ended.result {
            Ok(_) => accepted(&letter),
            Err(error) => self.give_up(&letter, received, &chain(error)).await,
        };
        (verdict, Some(ended))
    }

    /// No sink took it within the patience: the spool keeps it, or else the undelivered file.
    pub(super) async fn give_up(
        &self,
        envelope: &Envelope,
        received: &Received,
        error: &str,
    ) -> Verdict {
        if let Some(spool) = &self.spool {
            let until = Instant::now() + LAST_KEEP;
            if spool.keep(envelope, received.at, until).await.is_kept() {
                return accepted(envelope);
            }
        }
        self.keep_undelivered(envelope, error).await;
        Verdict::Withheld
    }

    /// Appends to the undelivered file. Not a confirm: the cloud may have given up by now.
    async fn keep_undelivered(&self, envelope: &Envelope, error: &str) {
        let record = envelope.with_topic(UNDELIVERED.into());
        let kept = matches!(
            timeout(UNDELIVERED_TIMEOUT, self.undelivered.publish(&record)).await,
            Ok(Ok(()))
        );
        self.intake.metrics().undelivered(kept);
        let Some(held_back) = self.logs.undelivered.allows() else {
            return;
        };
        tracing::error!(
            source = &**self.intake.source(),
            id = envelope.id(),
            ty = envelope.ty(),
            error,
            kept,
            held_back,
            "no sink took the event within its patience; if kept, it is in the undelivered file of the state directory"
        );
    }
}

/// It is durable.
pub(super) fn accepted(envelope: &Envelope) -> Verdict {
    Verdict::Accepted {
        id: envelope.id().to_owned(),
    }
}

/// The trace that a proxy in front may have begun.
fn trace(headers: &HeaderMap) -> Option<TraceContext> {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    TraceContext::new(header("traceparent")?, header("tracestate"))
}
