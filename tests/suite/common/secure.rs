//! The exporter with a web configuration, and clients that can speak to it.

use std::process::Command;

use super::exporter::{BINARY, Metrics, PORT};
use super::pki::Pki;
use super::{Exporter, Namespace, wait_until};

/// Good for the certificates of a [`Pki`].
pub(crate) const TLS: &str = "tls_server_config: {cert_file: server.pem, key_file: server.key}\n";

/// A running exporter whose web configuration is `web.yml` in the folder.
pub(crate) struct Secure<'a> {
    pub(crate) exporter: Exporter<'a>,
    pub(crate) namespace: &'a Namespace,
    pub(crate) pki: &'a Pki,
    scheme: &'static str,
}

/// What curl made of it.
#[derive(Debug)]
pub(crate) struct Answer {
    /// 0 if there was none.
    pub(crate) status: u16,
    pub(crate) http: String,
    pub(crate) text: String,
}

impl<'a> Secure<'a> {
    #[track_caller]
    pub(crate) fn start(namespace: &'a Namespace, pki: &'a Pki, web: &str, arguments: &str) -> Self {
        pki.put("web.yml", web);
        let mut command = namespace.command(BINARY);
        command.current_dir("/").arg("--web.config.file").arg(pki.path("web.yml"));
        command.args(arguments.split_whitespace());
        let scheme = if web.contains("cert") { "https" } else { "http" };
        let secure = Self { exporter: Exporter::spawn(namespace, command), namespace, pki, scheme };
        // Connections are taken from the moment it listens, and answered from the moment it serves.
        wait_until("the exporter to serve", || secure.exporter.logged("read the web configuration") > 0);
        secure
    }

    /// Asks for a path, with more options of curl.
    #[track_caller]
    pub(crate) fn get(&self, path: &str, options: &str) -> Answer {
        let mut command = self.curl(options);
        command.args(["--write-out", "\n%{http_version} %{http_code}"]);
        let output = command.arg(format!("{}://localhost:{PORT}{path}", self.scheme)).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let (text, facts) = said.rsplit_once('\n').unwrap();
        let (http, status) = facts.split_once(' ').unwrap();
        let status = if output.status.success() { status.parse().unwrap() } else { 0 };
        Answer { status, http: http.to_owned(), text: text.to_owned() }
    }

    fn curl(&self, options: &str) -> Command {
        let mut command = self.namespace.command("curl");
        command.current_dir(self.pki.folder());
        command.args(["--silent", "--max-time", "20", "--cacert", "ca.pem"]).args(options.split_whitespace());
        command
    }

    #[track_caller]
    pub(crate) fn status(&self, options: &str) -> u16 {
        self.get("/-/healthy", options).status
    }

    #[track_caller]
    pub(crate) fn scrape(&self, options: &str) -> Metrics {
        let page = self.get("/metrics", options);
        assert_eq!(page.status, 200, "{}", page.text);
        Metrics::parse(&page.text)
    }

    /// `openssl s_client`; what it says, or none if there was no handshake.
    pub(crate) fn s_client(&self, options: &str) -> Option<String> {
        let mut command = self.namespace.command("openssl");
        command.current_dir(self.pki.folder()).stdin(std::process::Stdio::null());
        command.args(["s_client", "-connect", &format!("127.0.0.1:{PORT}"), "-CAfile", "ca.pem"]);
        let output = command.args(options.split_whitespace()).output().unwrap();
        output.status.success().then(|| super::text(&output))
    }

    /// Waits until the last reading went like this.
    #[track_caller]
    pub(crate) fn wait_read(&self, options: &str, successful: bool) {
        wait_until("the web configuration to be read", || {
            let page = self.scrape(options);
            page.value("macwatch_web_config_last_reload_successful") == f64::from(u8::from(successful))
        });
    }
}
