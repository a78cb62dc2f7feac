//! What becomes of a confirm.
//!
//! The broker sends the return of an unroutable message before the message's own confirm. The
//! client library keeps the returns of a channel in a queue and attaches the first of it to
//! *whichever* confirm it completes next. So a message may be acked with nothing attached
//! although it came back, or with the return of another one attached. Three facts hold: its one
//! I/O thread completes confirms one after the other; a confirm with nothing attached found the
//! queue empty; and [`crate::flight`] hands over whole rounds, each with all that was complete
//! when its last member was seen. So, by the end of its round,
//!
//! - an ack with nothing attached stands: had the message come back, an earlier confirm has its
//!   return, and we have that confirm;
//! - an ack with another message's return attached proves nothing yet, since its own may wait
//!   behind. It is held until a confirm of a later round has nothing attached, or until nothing
//!   is open any more (there are never more returns in the queue than returned messages without
//!   their confirm).

use std::collections::HashMap;

use tokio::sync::oneshot;
use vodbridge_core::PublishError;

use crate::error::{Failure, Sent, classify};

/// Where the verdict on a publish goes. Dropped without one, the publish is lost.
#[derive(Debug)]
pub(crate) struct Ticket {
    pub(crate) mark: i64,
    pub(crate) bytes: usize,
    pub(crate) reply: oneshot::Sender<Result<(), PublishError>>,
}

impl Ticket {
    fn ack(self) {
        // Whoever gave up waiting needs no verdict.
        self.reply.send(Ok(())).ok();
    }

    pub(crate) fn fail(self, failure: Failure, alone: bool) {
        let sent = Sent {
            bytes: self.bytes,
            alone,
        };
        self.reply.send(Err(classify(failure, sent))).ok();
    }
}

/// A publish whose confirm is complete.
#[derive(Debug)]
pub(crate) struct Resolved {
    pub(crate) ticket: Ticket,
    pub(crate) answer: Answer,
    /// The return that the library attached: of this message or of any other.
    pub(crate) attached: Option<Returned>,
}

#[derive(Debug)]
pub(crate) enum Answer {
    Ack,
    Nack,
    /// The channel failed with the publish open.
    Failed(lapin::Error),
}

/// A message that came back.
#[derive(Debug)]
pub(crate) struct Returned {
    /// Its mark; None: the broker lost it.
    pub(crate) mark: Option<i64>,
    pub(crate) reason: Failure,
}

/// The confirms of one channel.
#[derive(Debug, Default)]
pub(crate) struct Confirms {
    /// Messages that came back and have no verdict yet.
    returned: HashMap<i64, Failure>,
    /// Acked messages that may still have come back.
    held: Vec<Ticket>,
}

impl Confirms {
    /// Gives every verdict that `round` allows; `open` publishes have no confirm yet. An error
    /// says why the channel is of no more use.
    pub(crate) fn settle(&mut self, round: &mut Vec<Resolved>, open: usize) -> Result<(), String> {
        let (mut failed, mut unmarked, mut queue_was_empty) = (None, false, false);
        for Resolved {
            answer, attached, ..
        } in round.iter()
        {
            match (answer, attached) {
                (Answer::Failed(error), _) => failed = Some(error.to_string()),
                (_, None) => queue_was_empty = true,
                (_, Some(Returned { mark: None, .. })) => unmarked = true,
                (
                    _,
                    Some(Returned {
                        mark: Some(mark),
                        reason,
                    }),
                ) => {
                    self.returned.insert(*mark, reason.clone());
                }
            }
        }
        let usable = failed.is_none() && !unmarked;
        let nothing_open = open == 0 && failed.is_none();
        for ticket in std::mem::take(&mut self.held) {
            let certain = !unmarked && (queue_was_empty || nothing_open);
            self.acked(ticket, certain, usable);
        }
        let alone = round.len() == 1 && open == 0;
        for Resolved {
            ticket,
            answer,
            attached,
        } in round.drain(..)
        {
            match answer {
                Answer::Ack => {
                    let certain = !unmarked && (attached.is_none() || nothing_open);
                    self.acked(ticket, certain, usable);
                }
                Answer::Nack => self.refused(ticket, Failure::Nacked, alone),
                Answer::Failed(error) => self.refused(ticket, Failure::Client(error), alone),
            }
        }
        match failed {
            Some(error) => Err(error),
            None if unmarked => Err("the broker returned a message without its mark".into()),
            None => Ok(()),
        }
    }

    fn acked(&mut self, ticket: Ticket, certain: bool, usable: bool) {
        match self.returned.remove(&ticket.mark) {
            Some(reason) => ticket.fail(reason, false),
            None if certain => ticket.ack(),
            None if usable => self.held.push(ticket),
            None => ticket.fail(Failure::Unproven, false),
        }
    }

    fn refused(&mut self, ticket: Ticket, failure: Failure, alone: bool) {
        let failure = self.returned.remove(&ticket.mark).unwrap_or(failure);
        ticket.fail(failure, alone);
    }
}

#[cfg(test)]
mod tests {
    use lapin::ErrorKind;
    use tokio::sync::oneshot::Receiver;
    use tokio::sync::oneshot::error::TryRecvError;

    use super::*;

    type Verdict = Receiver<Result<(), PublishError>>;

    /// A resolved publish; `attached` is the mark of the message whose return it carries.
    fn resolved(mark: i64, answer: Answer, attached: Option<Option<i64>>) -> (Resolved, Verdict) {
        let (reply, verdict) = oneshot::channel();
        let ticket = Ticket {
            mark,
            bytes: 10,
            reply,
        };
        let attached = attached.map(|mark| Returned {
            mark,
            reason: Failure::Returned {
                code: 312,
                text: "NO_ROUTE".into(),
                routing_key: "vod.x".into(),
            },
        });
        (
            Resolved {
                ticket,
                answer,
                attached,
            },
            verdict,
        )
    }

    fn ack(mark: i64, attached: Option<i64>) -> (Resolved, Verdict) {
        resolved(mark, Answer::Ack, attached.map(Some))
    }

    fn word(verdict: &mut Verdict) -> &'static str {
        match verdict.try_recv() {
            Ok(Ok(())) => "acked",
            Ok(Err(error)) => error.kind(),
            Err(TryRecvError::Empty) => "held",
            Err(TryRecvError::Closed) => "dropped",
        }
    }

    #[test]
    fn a_return_belongs_to_its_mark_and_not_to_the_confirm_it_came_with() {
        let mut confirms = Confirms::default();
        let ((good, mut good_verdict), (bad, mut bad_verdict)) = (ack(1, Some(2)), ack(2, None));
        assert_eq!(Ok(()), confirms.settle(&mut vec![bad, good], 0));
        assert_eq!(
            (word(&mut good_verdict), word(&mut bad_verdict)),
            ("acked", "unroutable")
        );
    }

    #[test]
    fn an_ack_with_another_return_attached_waits_for_a_later_empty_confirm() {
        let mut confirms = Confirms::default();
        let (first, mut verdict) = ack(1, Some(2));
        assert_eq!(Ok(()), confirms.settle(&mut vec![first], 2));
        assert_eq!(word(&mut verdict), "held");
        let (bad, mut bad_verdict) = ack(2, None);
        assert_eq!(Ok(()), confirms.settle(&mut vec![bad], 1));
        assert_eq!(
            (word(&mut verdict), word(&mut bad_verdict)),
            ("acked", "unroutable")
        );
    }

    #[test]
    fn a_held_ack_whose_own_return_comes_later_is_no_ack() {
        let mut confirms = Confirms::default();
        let (first, mut verdict) = ack(1, Some(2));
        assert_eq!(Ok(()), confirms.settle(&mut vec![first], 1));
        let (second, mut second_verdict) = ack(2, Some(1));
        assert_eq!(Ok(()), confirms.settle(&mut vec![second], 0));
        assert_eq!(
            (word(&mut verdict), word(&mut second_verdict)),
            ("unroutable", "unroutable")
        );
    }

    #[test]
    fn a_held_ack_is_given_up_with_its_channel() {
        let mut confirms = Confirms::default();
        let (first, mut verdict) = ack(1, Some(2));
        assert_eq!(Ok(()), confirms.settle(&mut vec![first], 1));
        let lost = Answer::Failed(ErrorKind::MissingHeartbeatError.into());
        let (second, mut second_verdict) = resolved(3, lost, None);
        assert!(confirms.settle(&mut vec![second], 0).is_err());
        assert_eq!(
            (word(&mut verdict), word(&mut second_verdict)),
            ("transient", "transient")
        );
    }

    #[test]
    fn a_return_without_its_mark_lets_no_ack_stand() {
        let mut confirms = Confirms::default();
        let ((first, mut verdict), (second, mut second_verdict)) =
            (ack(1, None), resolved(2, Answer::Ack, Some(None)));
        assert!(confirms.settle(&mut vec![first, second], 0).is_err());
        assert_eq!(
            (word(&mut verdict), word(&mut second_verdict)),
            ("transient", "transient")
        );
    }

    #[test]
    fn a_nack_is_transient_and_a_returned_nack_unroutable() {
        let mut confirms = Confirms::default();
        let ((full, mut full_verdict), (bad, mut bad_verdict)) = (
            resolved(1, Answer::Nack, Some(Some(2))),
            resolved(2, Answer::Nack, None),
        );
        assert_eq!(Ok(()), confirms.settle(&mut vec![full, bad], 5));
        assert_eq!(
            (word(&mut full_verdict), word(&mut bad_verdict)),
            ("transient", "unroutable")
        );
    }
}
