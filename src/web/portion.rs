//! A connection's stream that is written to in portions: after each, others have their turn.
//!
//! A client that reads as fast as it can would otherwise be unpacked and sent megabytes in one go.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Most bytes in a turn. It takes a quarter of a millisecond or so, encrypted.
const PORTION: usize = 256 << 10;

/// See the module's docs.
#[derive(Debug)]
pub(super) struct Portioned<S> {
    stream: S,
    /// Since others had their turn.
    written: usize,
}

impl<S> Portioned<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, written: 0 }
    }

    pub(super) fn inner(&self) -> &S {
        &self.stream
    }

    /// Pending, and to be asked again at once, if this turn is over.
    fn turn(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.written < PORTION {
            return Poll::Ready(());
        }
        self.written = 0;
        context.waker().wake_by_ref();
        Poll::Pending
    }

    fn note(&mut self, wrote: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &wrote {
            Poll::Ready(Ok(bytes)) => self.written += bytes,
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.written = 0,
        }
        wrote
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Portioned<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Portioned<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        std::task::ready!(self.turn(context));
        let wrote = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.note(wrote)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        std::task::ready!(self.turn(context));
        let wrote = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.note(wrote)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn a_turn_ends_after_a_portion_and_nothing_is_lost() {
        let (bytes, mut portions) = (vec![b'x'; PORTION / 2], 0);
        let mut stream = Portioned::new(tokio::io::sink());
        let mut context = Context::from_waker(Waker::noop());
        let written: usize = (0..6)
            .map(|_| match Pin::new(&mut stream).poll_write(&mut context, &bytes) {
                Poll::Ready(wrote) => wrote.unwrap(),
                Poll::Pending => {
                    portions += 1;
                    0
                }
            })
            .sum();
        assert_eq!((written, portions), (2 * PORTION, 2));
    }
}
