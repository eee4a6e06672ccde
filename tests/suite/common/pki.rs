//! Certificates of our own, made with openssl.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::text;

/// A folder with an authority (`ca`), a server's certificate (`server`) and clients' (`client`, and `stranger`, for whom
/// nobody vouches), each as `NAME.pem` and `NAME.key`.
pub(crate) struct Pki(tempfile::TempDir);

impl Pki {
    pub(crate) fn new() -> Self {
        let pki = Self(tempfile::tempdir().unwrap());
        pki.own("ca", "-addext basicConstraints=critical,CA:TRUE");
        pki.issue("server", "DNS:localhost,IP:127.0.0.1");
        pki.issue(
            "client",
            "DNS:scraper.example,email:ops@example.org,IP:192.0.2.7,URI:spiffe://example/scraper",
        );
        pki.own("stranger", "-addext subjectAltName=DNS:stranger.example");
        pki
    }

    /// A certificate that vouches for itself.
    pub(crate) fn own(&self, name: &str, more: &str) {
        self.openssl(&format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN={name} \
             -keyout {name}.key -out {name}.pem {more}"
        ));
    }

    /// A certificate that the authority vouches for, with these names; replaces one that is there.
    pub(crate) fn issue(&self, name: &str, names: &str) {
        fs::write(self.path("extensions"), format!("subjectAltName={names}\n")).unwrap();
        self.openssl(&format!(
            "req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={name} -keyout {name}.key.new \
             -out {name}.csr"
        ));
        self.openssl(&format!(
            "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile extensions \
             -out {name}.pem.new"
        ));
        for file in [format!("{name}.key"), format!("{name}.pem")] {
            fs::rename(self.path(&format!("{file}.new")), self.path(&file)).unwrap();
        }
    }

    #[track_caller]
    pub(crate) fn openssl(&self, arguments: &str) -> String {
        let mut command = Command::new("openssl");
        command.current_dir(self.folder()).args(arguments.split_whitespace());
        let output = command.output().unwrap();
        let said = text(&output);
        assert!(output.status.success(), "openssl {arguments}: {said}");
        said
    }

    pub(crate) fn folder(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Replaces a file at once, as whoever renews certificates does.
    pub(crate) fn put(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.path("beside"), text).unwrap();
        fs::rename(self.path("beside"), self.path(name)).unwrap();
    }
}
