//! The thread that has the file.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use vodbridge_core::HealthCell;

use crate::file::{PAUSE, StoreFile};
use crate::later::{self, Later};
use crate::level::{Claim, Held, Holder, Level};
use crate::lock::Lock;
use crate::record::{Record, Row};
use crate::{AccessError, StoreConfig, StoreError};

/// How many commands are taken at a time at most.
const GROUP: usize = 1024;
/// Bytes of the records that share an fsync at most, but for a single larger one.
const GROUP_BYTES: usize = 4 * 1024 * 1024;
/// How long removals wait for a record to share its fsync.
const LINGER: Duration = Duration::from_millis(50);

/// One record, and who waits for it to be durable.
#[derive(Debug)]
pub(crate) struct Append {
    pub(crate) row: Row,
    pub(crate) content: Vec<u8>,
    pub(crate) claim: Claim,
    pub(crate) answer: oneshot::Sender<Result<Held, AccessError>>,
}

/// Records after `after`; where `until` is given, for as long as they came before it.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) after: i64,
    pub(crate) limit: usize,
    pub(crate) until: Option<i64>,
    /// Whether they are held from now on.
    pub(crate) picks: Option<Order>,
    pub(crate) answer: oneshot::Sender<Result<Vec<Taken>, AccessError>>,
}

/// A record, held where it was picked.
pub(crate) type Taken = (Record, Option<Held>);

/// Which records may be picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Not one that is newer than another of the same partition key that its appender holds.
    ByKey,
    /// Any.
    None,
}

#[derive(Debug)]
pub(crate) enum Command {
    Append(Append),
    /// What to write, and the hold on its record until that is known here.
    Later(Later, Option<Held>),
    Read(Read),
    Flush(oneshot::Sender<Result<(), AccessError>>),
    Close(oneshot::Sender<()>),
}

pub(crate) struct Writer {
    file: StoreFile,
    later: Later,
    failing: bool,
    level: Arc<Level>,
    health: Arc<HealthCell>,
    _lock: Lock,
}

impl Writer {
    pub(crate) fn open(
        config: Arc<StoreConfig>,
        level: Arc<Level>,
        health: Arc<HealthCell>,
        lock: Lock,
        damaged_log: Option<PathBuf>,
    ) -> Result<Self, StoreError> {
        let file = StoreFile::open(config, level.clone(), health.clone(), damaged_log)?;
        Ok(Self {
            file,
            later: Later::default(),
            failing: false,
            level,
            health,
            _lock: lock,
        })
    }

    /// Serves until it is told to close or every sender is gone.
    pub(crate) fn run(mut self, mut waiting: mpsc::Receiver<Command>) {
        // Here, since a runtime must not be dropped where another one runs.
        let runtime = runtime::Builder::new_current_thread().enable_time().build();
        let Ok(clock) = runtime else {
            tracing::error!(
                "the thread of the store cannot start: look at the limits of this process"
            );
            return;
        };
        let mut group = Vec::with_capacity(GROUP);
        loop {
            let more = self.wait(&clock, &mut waiting, &mut group);
            let close = self.serve(group.drain(..));
            if close.is_some() || !more {
                // What fails is said in the log; the next owner delivers it again.
                drop(self.settle(0));
                self.file.close();
                drop(waiting);
                drop(self);
                if let Some(done) = close {
                    // Whoever asked may have stopped waiting.
                    done.send(()).unwrap_or(());
                }
                return;
            }
        }
    }

    /// Waits for commands, or until removals have waited for long enough. False: there will be no
    /// more.
    fn wait(
        &self,
        clock: &runtime::Runtime,
        waiting: &mut mpsc::Receiver<Command>,
        group: &mut Vec<Command>,
    ) -> bool {
        if self.later.is_empty() {
            return waiting.blocking_recv_many(group, GROUP) > 0;
        }
        let patience = if self.failing { PAUSE } else { LINGER };
        let received =
            clock.block_on(async { timeout(patience, waiting.recv_many(group, GROUP)).await });
        received.is_err() || received.is_ok_and(|count| count > 0)
    }

    /// Writes what has to be written, then reads. Returns who asked to close, if anyone did.
    fn serve(&mut self, group: impl Iterator<Item = Command>) -> Option<oneshot::Sender<()>> {
        let (mut close, mut reads, mut flushes) = (None, Vec::new(), Vec::new());
        let (mut appends, mut bytes) = (Vec::new(), 0);
        let mut idle = true;
        for command in group {
            idle = false;
            match command {
                // Nobody waits for it any more: written now, it could only be a copy.
                Command::Append(append) if append.answer.is_closed() => {}
                Command::Append(append) => {
                    if bytes + append.content.len() > GROUP_BYTES && !appends.is_empty() {
                        // Each of them has its answer.
                        drop(self.write(std::mem::take(&mut appends)));
                        bytes = 0;
                    }
                    bytes += append.content.len();
                    appends.push(append);
                }
                Command::Later(later, held) => {
                    self.later.add(later);
                    drop(held);
                }
                Command::Read(read) => reads.push(read),
                Command::Flush(done) => flushes.push(done),
                Command::Close(done) => close = Some(done),
            }
        }
        if !appends.is_empty() {
            drop(self.write(appends));
        }
        let due = idle || !flushes.is_empty();
        let settled = self.settle(if due { 0 } else { later::AT_ONCE });
        for done in flushes {
            // Here and below: whoever asked may have stopped waiting.
            done.send(settled.clone()).unwrap_or(());
        }
        for read in reads {
            let records = self.file.read(&read, &self.later);
            read.answer.send(records).unwrap_or(());
        }
        close
    }

    /// Writes what was put off until no more than `rest` of it is left.
    fn settle(&mut self, rest: usize) -> Result<(), AccessError> {
        while self.later.len() > rest {
            self.write(Vec::new())?;
        }
        Ok(())
    }

    /// Writes these records and some of what was put off, with one fsync, and answers.
    fn write(&mut self, mut appends: Vec<Append>) -> Result<(), AccessError> {
        if !appends.is_empty()
            && let Err(error) = self.file.make_room()
        {
            refuse(appends.drain(..), &error);
        }
        let later = self.later.take();
        if appends.is_empty() && later.is_empty() {
            return Ok(());
        }
        let written = self.file.write(&appends, &later);
        self.failing = written.is_err();
        match written {
            Ok(first) => {
                for (seq, append) in (first..).zip(appends) {
                    // Counted by now: there is no moment in which nobody knows of its key.
                    drop(append.claim);
                    // Held by nobody where whoever asked has gone: dropped, and so readable.
                    drop(
                        append
                            .answer
                            .send(Ok(self.level.hold(seq, Holder::Appender))),
                    );
                }
                Ok(())
            }
            Err(error) => {
                self.later.add(later);
                refuse(appends, &error);
                Err(error)
            }
        }
    }
}

fn refuse(appends: impl IntoIterator<Item = Append>, error: &AccessError) {
    for Append { claim, answer, .. } in appends {
        drop(claim);
        // Whoever asked may have stopped waiting.
        drop(answer.send(Err(error.clone())));
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Seen only if it panicked: nobody asks after the close.
        self.health.down("the store has ended", "restart vodbridge");
    }
}
