//! A connection's stream with limits on how long its client may take.
//!
//! hyper limits the wait for a request; it does not limit how long one takes to arrive once it has begun, nor
//! how long a client takes to read the answer. Whoever connects is expected to ask at once.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// How long a client may take. A scraper never meets these.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// From the beginning of a connection to its first request, when the server stops meanwhile.
    pub(super) first: Duration,
    /// Between requests.
    pub(super) idle: Duration,
    /// From the first byte of a request's head to its last; for the first request, from the beginning of the connection.
    pub(super) head: Duration,
    /// From the first byte of an answer to its last.
    pub(super) answer: Duration,
    /// From a stop to the end of the last answer.
    pub(super) last: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            // Clients that mean to ask do it at once. Go's server waits five seconds for them.
            first: Duration::from_secs(1),
            // Longer than the usual scrape intervals, so that a scraper keeps its connection.
            idle: Duration::from_secs(90),
            head: Duration::from_secs(10),
            answer: Duration::from_secs(60),
            last: Duration::from_secs(3),
        }
    }
}

/// Whether a request is being answered on a connection, and since when it is so.
#[derive(Clone, Debug)]
pub(super) struct Busy(Arc<Mutex<(bool, Instant)>>);

impl Default for Busy {
    fn default() -> Self {
        Self(Arc::new(Mutex::new((false, Instant::now()))))
    }
}

impl Busy {
    pub(super) fn is_set(&self) -> bool {
        self.0.lock().0
    }

    /// Since when it is or is not.
    pub(super) fn since(&self) -> (bool, Instant) {
        *self.0.lock()
    }

    pub(super) fn set(&self, busy: bool) {
        let mut state = self.0.lock();
        if state.0 != busy {
            *state = (busy, Instant::now());
        }
    }
}

/// See the module's docs.
#[derive(Debug)]
pub(super) struct Guard<S> {
    stream: S,
    patience: Patience,
    busy: Busy,
    /// Runs while a request's head is arriving, or the first request is waited for.
    head: Option<Pin<Box<Sleep>>>,
    /// Runs while an answer is being taken.
    answer: Option<Pin<Box<Sleep>>>,
}

impl<S> Guard<S> {
    pub(super) fn new(stream: S, patience: Patience, busy: Busy) -> Self {
        let head = Some(Box::pin(tokio::time::sleep(patience.head)));
        Self { stream, patience, busy, head, answer: None }
    }
}

/// Fails once the timer, if it runs, has run out.
fn check(timer: &mut Option<Pin<Box<Sleep>>>, context: &mut Context<'_>) -> Poll<io::Error> {
    match timer {
        Some(timer) => timer.as_mut().poll(context).map(|()| io::ErrorKind::TimedOut.into()),
        None => Poll::Pending,
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if self.busy.is_set() {
            self.head = None;
        } else if read.is_pending() {
            return check(&mut self.head, context).map(Err);
        } else if buffer.filled().len() > before && self.head.is_none() {
            self.head = Some(Box::pin(tokio::time::sleep(self.patience.head)));
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guard<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.wait_or(wrote, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.wait_or(wrote, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper flushes when all that it has to say is written: the answer is out.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        if flushed.is_pending() {
            // TLS may still hold some of it.
            return check(&mut self.answer, context).map(Err);
        }
        if self.answer.take().is_some() {
            self.busy.set(false);
            self.head = None;
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl<S> Guard<S> {
    fn wait_or(
        &mut self,
        wrote: Poll<io::Result<usize>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let patience = self.patience.answer;
        self.answer.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        if wrote.is_pending() {
            return check(&mut self.answer, context).map(Err);
        }
        wrote
    }
}
