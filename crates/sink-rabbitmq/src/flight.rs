//! The publishes that a channel holds open, and how their confirms are taken from it.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, Stream, StreamExt};
use lapin::options::BasicPublishOptions;
use lapin::types::{AMQPValue, ShortString};
use lapin::{Channel, Confirmation, PublisherConfirm};

use crate::confirms::{Answer, Resolved, Returned, Ticket};
use crate::error::Failure;
use crate::message::{MARK_HEADER, Message};

const MANDATORY: BasicPublishOptions = BasicPublishOptions {
    mandatory: true,
    immediate: false,
};

/// The open publishes of one channel, in two stages: not yet written to the socket, in order,
/// and written. Only one task may publish on the channel: the library takes a publish's delivery
/// tag and queues its frames in two steps that another task could come between.
#[derive(Default)]
pub(crate) struct Flight {
    writing: VecDeque<Writing>,
    confirming: FuturesUnordered<Confirming>,
}

struct Writing {
    ticket: Ticket,
    publish: BoxFuture<'static, lapin::Result<PublisherConfirm>>,
}

struct Confirming {
    /// Until it resolves.
    ticket: Option<Ticket>,
    confirm: PublisherConfirm,
}

impl Flight {
    pub(crate) fn len(&self) -> usize {
        self.writing.len() + self.confirming.len()
    }

    /// Hands a message to the library, which does so on the first poll. What becomes of it is
    /// seen by the next poll of the stream.
    pub(crate) fn publish(
        &mut self,
        channel: &Arc<Channel>,
        exchange: &ShortString,
        message: Message,
        ticket: Ticket,
    ) {
        let (channel, exchange) = (channel.clone(), exchange.clone());
        let mut publish = async move {
            let Message {
                routing_key,
                properties,
                body,
                ..
            } = message;
            channel
                .basic_publish(exchange, routing_key, MANDATORY, &body, properties)
                .await
        }
        .boxed();
        let done = publish.poll_unpin(&mut Context::from_waker(Waker::noop()));
        let publish = match done {
            Poll::Pending => publish,
            Poll::Ready(result) => std::future::ready(result).boxed(),
        };
        self.writing.push_back(Writing { ticket, publish });
    }

    /// Takes what is complete at this moment, so that whatever was complete before any member
    /// of `round` is in it too.
    pub(crate) fn drain(&mut self, round: &mut Vec<Resolved>) {
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        let mut context = Context::from_waker(&waker);
        loop {
            woken.0.store(false, Ordering::SeqCst);
            match self.poll_next_unpin(&mut context) {
                Poll::Ready(Some(resolved)) => round.push(resolved),
                Poll::Ready(None) => return,
                Poll::Pending if woken.0.load(Ordering::SeqCst) => {}
                Poll::Pending => return,
            }
        }
    }
}

impl Stream for Flight {
    type Item = Resolved;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Resolved>> {
        // Written in order, so that while the first is not, none is.
        while let Some(first) = self.writing.front_mut() {
            let Poll::Ready(written) = first.publish.poll_unpin(cx) else {
                break;
            };
            let Some(Writing { ticket, .. }) = self.writing.pop_front() else {
                break;
            };
            match written {
                Ok(confirm) => self.confirming.push(Confirming {
                    ticket: Some(ticket),
                    confirm,
                }),
                Err(error) => return Poll::Ready(Some(failed(ticket, error))),
            }
        }
        match self.confirming.poll_next_unpin(cx) {
            Poll::Ready(None) if !self.writing.is_empty() => Poll::Pending,
            other => other,
        }
    }
}

impl Future for Confirming {
    type Output = Resolved;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Resolved> {
        let Poll::Ready(result) = self.confirm.poll_unpin(cx) else {
            return Poll::Pending;
        };
        let ticket = self
            .ticket
            .take()
            .expect("a future is not polled after it resolved");
        Poll::Ready(match result {
            Ok(Confirmation::Ack(attached)) => Resolved {
                ticket,
                answer: Answer::Ack,
                attached: attached.map(returned),
            },
            Ok(Confirmation::Nack(attached)) => Resolved {
                ticket,
                answer: Answer::Nack,
                attached: attached.map(returned),
            },
            // The channel is in confirm mode, so this is no ack.
            Ok(Confirmation::NotRequested) => Resolved {
                ticket,
                answer: Answer::Nack,
                attached: None,
            },
            Err(error) => failed(ticket, error),
        })
    }
}

fn failed(ticket: Ticket, error: lapin::Error) -> Resolved {
    Resolved {
        ticket,
        answer: Answer::Failed(error),
        attached: None,
    }
}

fn returned(message: lapin::message::BasicReturnMessage) -> Returned {
    let headers = message.delivery.properties.headers().as_ref();
    let mark = match headers.and_then(|headers| headers.inner().get(MARK_HEADER)) {
        Some(AMQPValue::LongLongInt(mark)) => Some(*mark),
        _ => None,
    };
    let reason = Failure::Returned {
        code: message.reply_code,
        text: message.reply_text.to_string(),
        routing_key: message.delivery.routing_key.to_string(),
    };
    Returned { mark, reason }
}

/// Remembers that it was woken.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}
