//! A small HTTP client that shows what was really said.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use flate2::read::GzDecoder;
use socket2::{Domain, Socket, Type};

use super::Namespace;

/// Asks for OpenMetrics, as Debian's Prometheus does.
pub(crate) const OPEN: &str = "Accept: application/openmetrics-text;version=1.0.0,\
    application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1\r\n";

/// A response, read to its end.
#[derive(Debug)]
pub(crate) struct Response {
    /// Status code.
    pub(crate) status: u16,
    /// Status line and headers, as sent.
    pub(crate) head: String,
    /// Body, as sent.
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// The value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    /// The length that the head announces.
    #[track_caller]
    pub(crate) fn length(&self) -> usize {
        self.header("content-length").unwrap_or_else(|| panic!("{}", self.head)).parse().unwrap()
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }
}

/// The text of an answer, be it compressed or not.
#[track_caller]
pub(crate) fn inflated(answer: &Response) -> String {
    match answer.header("content-encoding") {
        None => answer.text(),
        Some(coding) => {
            assert_eq!(coding, "gzip");
            let mut text = String::new();
            GzDecoder::new(&answer.body[..]).read_to_string(&mut text).unwrap();
            text
        }
    }
}

/// A connection to a port on the loopback of a namespace.
pub(crate) fn connect(namespace: &Namespace, port: u16) -> std::io::Result<TcpStream> {
    let stream = namespace.inside(|| TcpStream::connect(("127.0.0.1", port)))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.set_write_timeout(Some(Duration::from_secs(20)))?;
    Ok(stream)
}

/// The same from an address of the loopback (127.0.0.0/8), as another host would.
pub(crate) fn connect_from(namespace: &Namespace, source: Ipv4Addr, port: u16) -> std::io::Result<TcpStream> {
    let stream = namespace.inside(|| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((source, 0)).into())?;
        socket.connect(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
        Ok::<TcpStream, std::io::Error>(socket.into())
    })?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    Ok(stream)
}

/// Sends one request and reads until the server closes. `headers` are lines with `\r\n`.
pub(crate) fn request(
    namespace: &Namespace,
    port: u16,
    method: &str,
    path: &str,
    headers: &str,
) -> std::io::Result<Response> {
    let mut stream = connect(namespace, port)?;
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{headers}\r\n")?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    parse(&bytes).ok_or_else(|| std::io::Error::other("not an HTTP response"))
}

/// Sends these bytes and reads until the server closes, whatever it says. A server that has heard enough
/// closes while there is more to read, which resets the connection.
pub(crate) fn exchange(namespace: &Namespace, port: u16, bytes: &[u8]) -> Vec<u8> {
    let mut stream = connect(namespace, port).unwrap();
    drop(stream.write_all(bytes));
    read_rest(&mut stream)
}

/// Reads until the server closes or resets.
pub(crate) fn read_rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => {
            panic!("the server did not close: {error}")
        }
        _ => answer,
    }
}

/// Asks for a path on a connection that stays open.
pub(crate) fn ask(mut stream: &TcpStream, method: &str, path: &str) {
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
}

/// Reads one response on a connection that stays open; only a HEAD has none of the announced body.
#[track_caller]
pub(crate) fn read_one(mut stream: &TcpStream, method: &str) -> Response {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        bytes.extend(byte);
    }
    let mut response = parse(&bytes).unwrap();
    if method != "HEAD" {
        response.body = vec![0; response.length()];
        stream.read_exact(&mut response.body).unwrap();
    }
    response
}

/// Takes a response apart.
pub(crate) fn parse(bytes: &[u8]) -> Option<Response> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8(bytes[..end].to_vec()).ok()?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Response { status, head, body: bytes[end + 4..].to_vec() })
}

/// Waits until an answer has begun, and leaves it where it is. A stopped process may interrupt a look.
#[track_caller]
pub(crate) fn wait_begun(stream: &TcpStream) {
    super::wait_until("an answer to begin", || stream.peek(&mut [0; 1]).is_ok_and(|read| read == 1));
}
