//! A call to which everybody who captures answers: whoever is stuck does not.

use std::convert::Infallible;

use tokio::sync::mpsc;

/// Handed from one to the next, and dropped by each that has had its turn; who has ended has dropped it too.
pub(super) type Turn = mpsc::Sender<Infallible>;

/// Calls the supervisor and all threads that capture.
#[derive(Clone, Debug)]
pub struct Roll(mpsc::Sender<Turn>);

impl Roll {
    pub(super) fn new() -> (Self, mpsc::Receiver<Turn>) {
        let (calls, inbox) = mpsc::channel(1);
        (Self(calls), inbox)
    }

    /// Waits until the supervisor has looked at the interfaces anew, and each thread has come round.
    pub async fn call(&self) {
        let (turn, mut over) = mpsc::channel(1);
        // Without a supervisor there is nobody to wait for.
        if self.0.send(turn).await.is_ok() {
            over.recv().await;
        }
    }
}
