//! The answers of a webhook that has a spool: 200 for what is durable, on a broker or on the disk.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use vodbridge_core::{DEAD_LETTER_TYPE, Ended, Envelope, Patience, chain};

use super::endpoint::{Endpoint, LAST_KEEP, Received, Verdict, accepted};
use crate::spool::{Keep, Kept, Spool};

/// From a request's head until its event is durable; 0.2 s later an answer may come too late.
const KEEP_WITHIN: Duration = Duration::from_millis(4300);

/// Why an event is kept before any sink was waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    /// An older one of its partition key is in the spool.
    Follows,
    /// Some of its sinks do not answer.
    SomeAway,
    /// None of them answers.
    AllAway,
}

/// A delivery under way, and the event or dead letter that it is of.
struct Delivery {
    envelope: Envelope,
    ended: BoxFuture<'static, Ended>,
}

impl Endpoint {
    /// Delivers an event or a dead letter, or has it kept where no sink settles it in time.
    pub(super) async fn deliver_or_keep(
        self: &Arc<Self>,
        spool: &Arc<Spool>,
        envelope: Envelope,
        received: &Arc<Received>,
    ) -> (Verdict, Option<Ended>) {
        if spool.holds(envelope.id()) {
            return (accepted(&envelope), None);
        }
        if let Some(why) = self.keeps_at_once(spool, &envelope)
            && self.keep_at_once(spool, &envelope, received, why).await
        {
            return (accepted(&envelope), None);
        }
        let mut delivery = self.begin(envelope, received, |patience| patience);
        let answer_by = received.since + self.config.answer_within;
        if let Ok(ended) = timeout_at(answer_by, &mut delivery.ended).await {
            return self.ended(spool, &delivery.envelope, received, ended).await;
        }
        // A task, since what it appends has to be taken out again if the delivery is faster.
        let keep = tokio::spawn({
            let (spool, envelope, received) =
                (spool.clone(), delivery.envelope.clone(), received.clone());
            async move {
                let until = received.since + KEEP_WITHIN;
                spool.keep(&envelope, received.at, until).await
            }
        });
        match self.settle(delivery, keep, received).await {
            Ok(verdict) => (verdict, None),
            Err(delivery) => {
                let ended = delivery.ended.await;
                self.ended(spool, &delivery.envelope, received, ended).await
            }
        }
    }

    /// Whether there is no point in waiting for a sink: one that it needs does not answer, or an
    /// older event that it must not overtake is in the spool. A copy joins the delivery under way.
    fn keeps_at_once(&self, spool: &Spool, envelope: &Envelope) -> Option<Reason> {
        let why = match (spool.must_follow(envelope), self.intake.away(envelope, &[])) {
            (true, _) => Reason::Follows,
            (false, away) if away.is_empty() => return None,
            (false, away) if away.leaves_others() => Reason::SomeAway,
            (false, _) => Reason::AllAway,
        };
        (!self.intake.is_under_way(envelope.id())).then_some(why)
    }

    /// Keeps it, and delivers it to those sinks that answer. False: it is not kept.
    async fn keep_at_once(
        self: &Arc<Self>,
        spool: &Arc<Spool>,
        envelope: &Envelope,
        received: &Arc<Received>,
        why: Reason,
    ) -> bool {
        let until = received.since + KEEP_WITHIN;
        let keep = spool.keep(envelope, received.at, until).await;
        match keep {
            Keep::Kept(kept) if why == Reason::SomeAway => {
                let delivery = self.begin(envelope.clone(), received, Patience::passing_by);
                self.finish(delivery, Some(kept), received);
                return true;
            }
            Keep::Kept(_) | Keep::Already => {}
            Keep::Refused => return false,
        }
        if envelope.ty() != DEAD_LETTER_TYPE {
            self.intake.metrics().received(envelope);
        }
        true
    }

    fn begin(
        self: &Arc<Self>,
        envelope: Envelope,
        received: &Received,
        how: fn(Patience) -> Patience,
    ) -> Delivery {
        let patience = Patience::until(received.since + self.config.patience);
        let patience = how(patience.without_cut_attempts());
        let (endpoint, of) = (self.clone(), envelope.clone());
        let ended = async move { endpoint.intake.deliver_any(&of, &[], patience).await };
        Delivery {
            envelope,
            ended: ended.boxed(),
        }
    }

    /// Waits for the sinks and for the disk. Gives the delivery back where the disk failed.
    async fn settle(
        self: &Arc<Self>,
        mut delivery: Delivery,
        mut keep: JoinHandle<Keep>,
        received: &Arc<Received>,
    ) -> Result<Verdict, Delivery> {
        let verdict = accepted(&delivery.envelope);
        let kept = tokio::select! {
            biased;
            kept = &mut keep => kept,
            ended = &mut delivery.ended => match ended.result {
                Ok(_) => {
                    self.tasks.spawn(async move {
                        if let Ok(Keep::Kept(kept)) = keep.await {
                            kept.delivered().await;
                        }
                    });
                    return Ok(verdict);
                }
                Err(_) => {
                    delivery.ended = std::future::ready(ended).boxed();
                    keep.await
                }
            },
        };
        match kept {
            Ok(Keep::Kept(kept)) => {
                self.go_on(delivery, Some(kept), received);
                Ok(verdict)
            }
            Ok(Keep::Already) => {
                self.go_on(delivery, None, received);
                Ok(verdict)
            }
            Ok(Keep::Refused) | Err(_) => Err(delivery),
        }
    }

    /// The delivery goes on to its patience, with its permit and its bytes, and takes its record
    /// out if it ends well. What still waits for its permits ends here: nothing of it is on its way
    /// to a sink, and in the spool alone it keeps nobody waiting.
    fn go_on(self: &Arc<Self>, delivery: Delivery, kept: Option<Kept>, received: &Arc<Received>) {
        let is_letter = delivery.envelope.ty() == DEAD_LETTER_TYPE;
        if is_letter || self.intake.has_begun(delivery.envelope.id()) {
            self.finish(delivery, kept, received);
        }
    }

    fn finish(self: &Arc<Self>, delivery: Delivery, kept: Option<Kept>, received: &Arc<Received>) {
        let (endpoint, received) = (self.clone(), received.clone());
        self.tasks.spawn(async move {
            let ended = delivery.ended.await;
            match (&ended.result, kept) {
                (Ok(_), Some(kept)) => kept.delivered().await,
                (Err(_), Some(kept)) => kept.left(&ended.settled).await,
                (_, None) => {}
            }
            if received.caller.was_answered_in_time() {
                endpoint.intake.confirmed(delivery.envelope.id());
            }
        });
    }

    async fn ended(
        &self,
        spool: &Arc<Spool>,
        envelope: &Envelope,
        received: &Received,
        ended: Ended,
    ) -> (Verdict, Option<Ended>) {
        let verdict = match &ended.result {
            Ok(_) => accepted(envelope),
            // Whoever leads the delivery looks after its end.
            Err(_) if ended.joined && !spool.holds(envelope.id()) => Verdict::Withheld,
            Err(error) => {
                return self
                    .not_delivered(spool, envelope, received, &chain(error))
                    .await;
            }
        };
        (verdict, Some(ended))
    }

    /// A delivery with a spool behind it may end early, since the spool keeps its event. Where it
    /// does not, the event is delivered as without one.
    async fn not_delivered(
        &self,
        spool: &Arc<Spool>,
        envelope: &Envelope,
        received: &Received,
        error: &str,
    ) -> (Verdict, Option<Ended>) {
        let until = (received.since + KEEP_WITHIN).max(Instant::now() + LAST_KEEP);
        if spool.keep(envelope, received.at, until).await.is_kept() {
            return (accepted(envelope), None);
        }
        let patience = Patience::until(received.since + self.config.patience);
        let again = self.intake.deliver_any(envelope, &[], patience).await;
        let verdict = match &again.result {
            Ok(_) => accepted(envelope),
            Err(_) if again.joined => Verdict::Withheld,
            Err(_) => self.give_up(envelope, received, error).await,
        };
        (verdict, Some(again))
    }
}
