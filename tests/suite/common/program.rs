//! A program that runs beside a test, and what it says.

use std::io::Write as _;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::NamedTempFile;

use super::{wait_for, wait_until};

/// A running program; killed when dropped.
#[derive(Debug)]
pub(crate) struct Program {
    child: Child,
    stdout: NamedTempFile,
    stderr: NamedTempFile,
}

impl Program {
    /// Starts a command. Its input is a pipe, what it says is kept.
    #[track_caller]
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let stdout = NamedTempFile::new().unwrap();
        let into = stdout.reopen().unwrap().into();
        Self::start(command, stdout, into)
    }

    /// Starts a command whose stdout is a pipe: see [`Self::take_stdout`].
    #[track_caller]
    pub(crate) fn piped(command: &mut Command) -> Self {
        Self::start(command, NamedTempFile::new().unwrap(), Stdio::piped())
    }

    fn start(command: &mut Command, stdout: NamedTempFile, into: Stdio) -> Self {
        let stderr = NamedTempFile::new().unwrap();
        let child =
            command.stdin(Stdio::piped()).stdout(into).stderr(stderr.reopen().unwrap()).spawn().unwrap();
        Self { child, stdout, stderr }
    }

    /// The other end of the pipe that it writes to.
    pub(crate) fn take_stdout(&mut self) -> ChildStdout {
        self.child.stdout.take().unwrap()
    }

    /// Whether, and how, it has ended.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote to stdout so far.
    pub(crate) fn stdout(&self) -> String {
        std::fs::read_to_string(self.stdout.path()).unwrap()
    }

    /// What it wrote to stderr so far.
    pub(crate) fn stderr(&self) -> String {
        std::fs::read_to_string(self.stderr.path()).unwrap()
    }

    /// Waits until it has written this, to stdout or stderr.
    #[track_caller]
    pub(crate) fn wait_said(&self, part: &str) {
        wait_until(part, || self.stderr().contains(part) || self.stdout().contains(part));
    }

    /// Writes a line to its stdin.
    pub(crate) fn tell(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        wait_for("a program to end", || self.ended())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            eprintln!("stdout:\n{}stderr:\n{}", self.stdout(), self.stderr());
        }
    }
}
