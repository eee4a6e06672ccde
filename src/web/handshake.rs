//! The beginning of an encrypted connection.

use std::io;
use std::sync::Arc;

use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::portion::Portioned;

type Client = Portioned<TcpStream>;

/// The first byte of all that TLS says.
const HANDSHAKE: u8 = 22;

/// What somebody is told who speaks HTTP to a port that speaks HTTPS; the words are Go's.
pub(super) const ONLY_TLS: &str = "Client sent an HTTP request to an HTTPS server";

/// Agrees with the client on how to speak.
pub(super) async fn accept(stream: Client, config: Arc<ServerConfig>) -> io::Result<TlsStream<Client>> {
    let (mut first, tcp) = ([0], stream.inner());
    if tcp.peek(&mut first).await? == 1 && first[0] != HANDSHAKE {
        // What is not read before the end would take the answer away with it.
        let _ = tcp.try_read(&mut [0; 4096]);
        let _ = tcp.try_write(
            format!(
                "HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n\
                 {ONLY_TLS}.\n"
            )
            .as_bytes(),
        );
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the client does not speak TLS"));
    }
    TlsAcceptor::from(config).accept(stream).await
}

/// Whether the client chose HTTP/2.
pub(super) fn is_http2(stream: &TlsStream<Client>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(b"h2")
}
