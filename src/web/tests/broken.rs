//! A page that cannot be unpacked for its reader.

use hyper::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use http_body_util::Full;

use super::*;
use crate::web::body::Body;
use crate::web::packed::{Packed, Unpacking};
use crate::web::scrapers::{Delivery, Receipt, Scrapers};

#[test]
fn its_reader_learns_that_it_is_not_whole() {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let scrapers = Arc::<Scrapers>::default();
    let noted = Arc::clone(&scrapers);
    let serve = move |_: hyper::Request<Incoming>| {
        let mut packer = Packer::new();
        packer.write_all(&LONG_TEXT[..1 << 20]).unwrap();
        let Packed { gzip, plain_bytes } = packer.finish().unwrap();
        let cut = Packed { gzip: gzip.slice(..gzip.len() / 2), plain_bytes };
        let receipt = Receipt { scrapers: Arc::clone(&noted), scraper: address.into(), mark: 1 };
        let body = Body::Text(Box::new(Unpacking::new(cut)));
        let answer = Response::new(Full::new(Delivery::new(body, Some(receipt))));
        std::future::ready(Ok::<_, io::Error>(answer))
    };
    let server = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (stream, _) = listener.accept().unwrap();
            stream.set_nonblocking(true).unwrap();
            let stream = TokioIo::new(tokio::net::TcpStream::from_std(stream).unwrap());
            http1::Builder::new().serve_connection(stream, service_fn(serve)).await.is_err()
        })
    });
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    ask(&mut client, "/metrics");
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    let head = String::from_utf8_lossy(&answer[..1000]).to_ascii_lowercase();
    assert!(head.contains("content-length: 1048576"), "{head}");
    assert!((400_000..1 << 20).contains(&answer.len()), "{} bytes", answer.len());
    assert!(server.join().unwrap());
    assert_eq!(scrapers.received(address.into(), Instant::now()), None);
}
