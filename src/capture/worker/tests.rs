//! What others hear of a thread.

use std::sync::mpsc::TryRecvError;

use futures_util::FutureExt as _;
use tokio::sync::Notify;

use super::*;
use crate::capture::{Direction, Hearing};

/// Books that take their time to be closed.
struct Slow {
    closing: Sender<()>,
    may_close: Receiver<()>,
}

impl Sink for Slow {
    fn frame(&mut self, _: &[u8], _: Wire, _: Moment) {}

    fn upkeep(&mut self, _: Moment) -> Option<Duration> {
        None
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        self.closing.send(()).unwrap();
        self.may_close.recv().unwrap();
    }
}

/// Whoever is woken by it may look at once: there may be no other word of it.
#[tokio::test]
async fn the_end_of_all_is_the_last_that_is_rung_for() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: opens a packet socket, which takes root");
        return;
    }
    let changed = Arc::<Notify>::default();
    let socket = Arc::new(PacketSocket::open(Hearing::All(Direction::Both), 4096).unwrap());
    let status = Arc::new(Status::new("eth0", Arc::clone(&socket), Arc::clone(&changed)));
    let ((closing, is_closing), (close, may_close)) = (mpsc::channel(), mpsc::channel());
    let mut worker = Worker::start(socket, status, Slow { closing, may_close }, false).unwrap();
    let Released(released) = worker.end().unwrap();
    is_closing.recv().unwrap();
    // It captures no longer, and has not ended.
    assert_eq!(changed.notified().now_or_never(), Some(()));
    assert_eq!(released.try_recv(), Err(TryRecvError::Empty));
    close.send(()).unwrap();
    let rung = tokio::time::timeout(Duration::from_secs(60), changed.notified()).await;
    rung.expect("a word of the end");
    assert_eq!(released.try_recv(), Err(TryRecvError::Disconnected));
}
