//! How connections end when the server stops: each after its last answer.
//!
//! Who has just connected has not been heard yet: its request may be on its way, or lie unread in the socket. It gets an
//! answer too, so that a restart behind systemd's socket refuses nobody.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::server::graceful::GracefulConnection;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};

/// A connection's view of the end.
#[derive(Clone, Debug)]
pub(super) struct Ending {
    stopping: watch::Receiver<bool>,
    /// Until then the first request is waited for.
    until: Instant,
    asked: Arc<Notify>,
}

impl Ending {
    /// Of a connection that opens now, and whose first request is worth waiting for this long.
    pub(super) fn new(stopping: watch::Receiver<bool>, first: Duration) -> Self {
        Self { stopping, until: Instant::now() + first, asked: Arc::default() }
    }

    /// A request has come: a stop need not wait for one.
    pub(super) fn asked(&self) {
        self.asked.notify_one();
    }

    /// Completes when the server stops and this connection has asked, or had the time to. Says whether it has.
    pub(super) async fn due(mut self) -> bool {
        // Where there is nobody left to say so, it is the end as well.
        drop(self.stopping.wait_for(|stopping| *stopping).await);
        timeout_at(self.until, self.asked.notified()).await.is_ok()
    }

    /// Serves a connection to its end.
    pub(super) async fn serve<C: GracefulConnection>(self, connection: C) -> Result<(), C::Error> {
        let mut connection = pin!(connection);
        let asked = tokio::select! {
            biased;
            ended = connection.as_mut() => return ended,
            asked = self.due() => asked,
        };
        if !asked {
            // HTTP/2 would wait for more words of a client that has said nothing.
            return Ok(());
        }
        connection.as_mut().graceful_shutdown();
        connection.await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_secs(600);

    /// Whether the end is due before patience runs out.
    fn is_due(stopped: bool, asked: bool, first: Duration, patience: Duration) -> bool {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let stopping = watch::Sender::new(stopped);
            let ending = Ending::new(stopping.subscribe(), first);
            if asked {
                ending.asked();
            }
            tokio::time::timeout(patience, ending.due()).await.is_ok()
        })
    }

    #[test]
    fn who_asked_or_had_the_time_to_is_waited_for_no_more() {
        for (stopped, asked, first, due) in [
            (true, true, LONG, true),
            (true, false, SHORT, true),
            (true, false, LONG, false),
            (false, true, SHORT, false),
        ] {
            // What comes is waited for as long as it takes.
            let patience = if due { LONG / 2 } else { SHORT * 2 };
            assert_eq!(is_due(stopped, asked, first, patience), due, "{stopped} {asked} {first:?}");
        }
    }
}
