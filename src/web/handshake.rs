//! The beginning of an encrypted connection.

use std::io::{self, ErrorKind};
use std::net::Shutdown;
use std::sync::Arc;

use rustls::ServerConfig;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::portion::Portioned;

type Client = Portioned<TcpStream>;

/// The first byte of all that TLS says.
const HANDSHAKE: u8 = 22;

/// Most bytes that are read of such a request: far more than a head that would be answered without TLS.
const MOST_READ: usize = 256 << 10;

/// What somebody is told who speaks HTTP to a port that speaks HTTPS; the words are Go's.
pub(super) const ONLY_TLS: &str = "Client sent an HTTP request to an HTTPS server";

/// Agrees with the client on how to speak.
pub(super) async fn accept(stream: Client, config: Arc<ServerConfig>) -> io::Result<TlsStream<Client>> {
    let (mut first, tcp) = ([0], stream.inner());
    if tcp.peek(&mut first).await? == 1 && first[0] != HANDSHAKE {
        refuse(tcp).await?;
        return Err(io::Error::new(ErrorKind::InvalidData, "the client does not speak TLS"));
    }
    TlsAcceptor::from(config).accept(stream).await
}

/// Says so, and reads on until the client closes too: what came and was not read would take the answer away with it.
async fn refuse(tcp: &TcpStream) -> io::Result<()> {
    let answer = format!(
        "HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n\
         {ONLY_TLS}.\n"
    );
    // There is room for the first words on a connection.
    tcp.try_write(answer.as_bytes())?;
    SockRef::from(tcp).shutdown(Shutdown::Write)?;
    let (mut read, mut piece) = (0, [0; 4096]);
    while read < MOST_READ {
        tcp.readable().await?;
        match tcp.try_read(&mut piece) {
            Ok(0) => break,
            Ok(bytes) => read += bytes,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether the client chose HTTP/2.
pub(super) fn is_http2(stream: &TlsStream<Client>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(b"h2")
}
