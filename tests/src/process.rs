//! Child processes that can be stopped, killed and frozen, and that never outlive the tests.

use std::fs::OpenOptions;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use tokio::sync::{oneshot, watch};

/// A running child, in a process group of its own, its output in a log file. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    name: String,
    pid: Pid,
    log: PathBuf,
    ended: watch::Receiver<Option<ExitStatus>>,
    /// Starts the child and waits for it. The kernel kills the child with the thread that started
    /// it, so that thread must live as long.
    keeper: Option<JoinHandle<()>>,
}

/// A command whose process is killed by the kernel as soon as this one is gone, however it ended.
pub fn bound_to_us(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

impl Process {
    /// Starts `command`, made by [`bound_to_us`], appending its output to the file `log`.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub async fn start(name: &str, mut command: Command, log: &Path) -> Result<Self> {
        let output = OpenOptions::new().create(true).append(true).open(log)?;
        command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0);
        let (started, start) = oneshot::channel();
        let (end, ended) = watch::channel(None);
        let keeper = std::thread::spawn(move || {
            let mut child = match command.spawn() {
                Ok(child) => child,
                Err(error) => return drop(started.send(Err(error))),
            };
            drop(started.send(Ok(Pid::from_child(&child))));
            // Waiting for our own child fails only where somebody else reaped it; nobody does.
            end.send_replace(child.wait().ok());
        });
        let pid = start
            .await?
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Self {
            name: name.to_owned(),
            pid,
            log: log.to_owned(),
            ended,
            keeper: Some(keeper),
        })
    }

    /// Asks it to end (SIGTERM).
    ///
    /// # Errors
    /// Where it has ended already.
    pub fn terminate(&self) -> Result<()> {
        self.signal(Signal::TERM)
    }

    /// Ends it at once (SIGKILL).
    ///
    /// # Errors
    /// Where it has ended already.
    pub fn kill(&self) -> Result<()> {
        self.signal(Signal::KILL)
    }

    /// Freezes it (SIGSTOP) and waits until it is frozen: its sockets stay open and answer nothing.
    ///
    /// # Errors
    /// Where it has ended.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)?;
        // The signal goes to one thread; until that gets a processor, the others go on.
        waitid(WaitId::Pid(self.pid), WaitIdOptions::STOPPED)?;
        Ok(())
    }

    /// Lets a frozen process go on (SIGCONT).
    ///
    /// # Errors
    /// Where it has ended.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Sends a signal that means something to this program.
    ///
    /// # Errors
    /// Where it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        if let Some(status) = self.status() {
            return Err(anyhow!(
                "{} has ended: {status}\n{}",
                self.name,
                self.log_tail()
            ));
        }
        Ok(kill_process(self.pid, signal)?)
    }

    /// How it ended; None while it runs.
    pub fn status(&self) -> Option<ExitStatus> {
        *self.ended.borrow()
    }

    /// Resolves when it has ended.
    ///
    /// # Errors
    /// Where it still runs after `patience`.
    pub async fn wait(&self, patience: Duration) -> Result<ExitStatus> {
        let mut ended = self.ended.clone();
        let end = tokio::time::timeout(patience, ended.wait_for(Option::is_some)).await;
        let status = end.map_err(|_| {
            anyhow!(
                "{} still runs after {patience:?}\n{}",
                self.name,
                self.log_tail()
            )
        })?;
        (*status?).context("the status of the process is unknown")
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.pid.as_raw_pid().unsigned_abs()
    }

    /// All that it has written so far.
    pub fn log(&self) -> String {
        std::fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// The end of its log, for messages.
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let tail = &lines[lines.len().saturating_sub(40)..];
        format!(
            "--- the end of the log of {}\n{}\n---",
            self.name,
            tail.join("\n")
        )
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error means that it has ended already.
        self.kill().ok();
        if let Some(keeper) = self.keeper.take() {
            keeper.join().ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    async fn shell(script: &str) -> (Process, tempfile::TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let mut command = bound_to_us("sh");
        command.args(["-c", script]);
        let process = Process::start("shell", command, &directory.path().join("log")).await;
        (process.unwrap(), directory)
    }

    #[tokio::test]
    async fn tells_how_a_process_ended_and_what_it_said() {
        let (process, _directory) = shell("echo out; echo err >&2; exit 3").await;
        assert_eq!(process.wait(PATIENCE).await.unwrap().code(), Some(3));
        assert_eq!(process.log(), "out\nerr\n");
        assert!(
            process
                .terminate()
                .unwrap_err()
                .to_string()
                .contains("exit status: 3")
        );
    }

    #[tokio::test]
    async fn a_process_ends_when_it_is_dropped_even_frozen() {
        let (process, _directory) = shell("exec sleep 1000").await;
        process.pause().unwrap();
        let alive = Path::new("/proc").join(process.id().to_string());
        let status = std::fs::read_to_string(alive.join("status")).unwrap();
        assert!(status.contains("State:\tT (stopped)"), "{status}");
        drop(process);
        assert!(!alive.exists());
    }

    #[tokio::test]
    async fn waiting_has_a_deadline() {
        let (process, _directory) = shell("exec sleep 1000").await;
        assert!(process.wait(Duration::from_millis(20)).await.is_err());
    }

    #[tokio::test]
    async fn what_cannot_be_started_is_an_error() {
        let log = tempfile::NamedTempFile::new().unwrap();
        let error = Process::start("nothing", Command::new("no-such-program"), log.path()).await;
        assert!(
            error
                .unwrap_err()
                .to_string()
                .contains("cannot start nothing")
        );
    }
}
