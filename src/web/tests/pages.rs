//! Pages are kept for those who wait for them, and for nobody else.

use super::*;

const PAGE: Wanted = Wanted { offer: 0, received: None };
const OTHER: Wanted = Wanted { offer: 1, received: None };

/// A server without a network. Its first page can be made when the test says so; of the other kind there is none.
fn server() -> (mpsc::Sender<()>, Arc<Server>) {
    let (release, page) = held();
    let metrics = move |wanted: Wanted, out: &mut dyn Write| match wanted {
        PAGE => out.write_all(&page()).map(|()| 0),
        _ => Err(io::Error::other("there is none")),
    };
    let site = Site { metrics: Box::new(metrics), ..site(0, Vec::new) };
    (release, Arc::new(Server::new(site, Arc::default())))
}

/// Has its turn, or waits for it.
async fn begin(asking: &mut (impl Future + Unpin)) {
    let pending = std::future::poll_fn(|context| Poll::Ready(std::pin::Pin::new(&mut *asking).poll(context)));
    assert!(pending.await.is_pending());
}

#[test]
fn who_goes_away_when_its_turn_has_come_leaves_no_page_behind() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let (release, server) = server();
        let ask = || Box::pin(Renderer::metrics(Arc::clone(&server), PAGE, None));
        let (mut first, mut second) = (ask(), ask());
        begin(&mut first).await;
        begin(&mut second).await;
        release.send(()).unwrap();
        assert!(first.await.is_some());
        assert!(!server.renderer.is_idle());
        drop(second);
        assert!(server.renderer.is_idle());
    });
}

#[test]
fn who_gets_none_leaves_none_of_another_behind() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let (release, server) = server();
        let ask = |wanted| Box::pin(Renderer::metrics(Arc::clone(&server), wanted, None));
        let (mut first, mut second, mut third) = (ask(PAGE), ask(OTHER), ask(PAGE));
        begin(&mut first).await;
        begin(&mut second).await;
        begin(&mut third).await;
        release.send(()).unwrap();
        assert!(first.await.is_some());
        // For this one it was kept.
        drop(third);
        assert!(second.await.is_none());
        assert!(server.renderer.is_idle());
    });
}
