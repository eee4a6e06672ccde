//! The other side of `/-/healthy`: asks a server on this machine whether it serves.
//!
//! It speaks plain HTTP and has neither certificates nor passwords, so that it works where they are: whoever refuses a
//! request for the lack of them is there, and that is what is asked.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::handshake::ONLY_TLS;
use super::routes::HEALTHY;

/// Longest answer that is read: what is not over by then is not ours.
const MOST_BYTES: u64 = 4096;

/// Asks the server at this address.
///
/// # Errors
///
/// Why it does not serve: that of connect(2), or what it said instead.
pub fn ask(address: SocketAddr, patience: Duration) -> io::Result<()> {
    let end = Instant::now() + patience;
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_write_timeout(Some(patience))?;
    // In one piece: who wants TLS may answer, and close, after the first byte.
    let request = format!("GET {HEALTHY} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    let mut piece = [0; 1024];
    while (answer.len() as u64) < MOST_BYTES {
        // Zero would mean no end.
        let left = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => answer.extend_from_slice(piece.get(..read).unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                return Err(io::Error::new(ErrorKind::TimedOut, format!("no answer within {patience:?}")));
            }
            // It said all that it had to say before.
            Err(error) if error.kind() == ErrorKind::ConnectionReset && !answer.is_empty() => break,
            Err(error) => return Err(error),
        }
    }
    verdict(&answer)
}

/// What an answer says of the server.
fn verdict(answer: &[u8]) -> io::Result<()> {
    let text = String::from_utf8_lossy(answer);
    let line = text.lines().next().unwrap_or_default();
    let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1));
    match status {
        // It asks for a password, or for less haste.
        Some("200" | "401" | "429") => Ok(()),
        Some("400") if text.contains(ONLY_TLS) => Ok(()),
        Some(_) => Err(io::Error::other(format!("it said \"{}\"", line.escape_debug()))),
        None if answer.is_empty() => Err(io::Error::new(ErrorKind::UnexpectedEof, "it said nothing")),
        None => Err(io::Error::new(ErrorKind::InvalidData, "what answers there does not speak HTTP")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_says_nothing_is_not_waited_for() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let error = ask(address, Duration::from_millis(50)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
        drop(listener);
        assert_eq!(ask(address, Duration::from_secs(5)).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    }

    #[test]
    fn who_refuses_is_there() {
        for answer in [
            "HTTP/1.1 200 OK\r\n\r\nmacwatch is healthy.\n",
            "HTTP/1.1 401 Unauthorized\r\n\r\n",
            "HTTP/1.1 429 Too Many Requests\r\n\r\n",
            &format!("HTTP/1.0 400 Bad Request\r\n\r\n{ONLY_TLS}.\n"),
        ] {
            assert!(verdict(answer.as_bytes()).is_ok(), "{answer}");
        }
        for (answer, why) in [
            ("HTTP/1.1 503 Service Unavailable\r\n\r\n", "503"),
            ("HTTP/1.1 400 Bad Request\r\n\r\n", "400"),
            ("HTTP/1.1 404 Not Found\r\n\r\n", "404"),
            ("HTTP/1.1\r\n\r\n", "does not speak"),
            ("SSH-2.0-OpenSSH_9.2\r\n", "does not speak"),
            ("HTTP/1.1 500 \u{1b}[2J\r\n", "\\u{1b}"),
            ("", "nothing"),
        ] {
            let said = verdict(answer.as_bytes()).unwrap_err().to_string();
            assert!(said.contains(why), "{answer}: {said}");
        }
    }
}
