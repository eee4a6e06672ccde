//! `macwatch healthcheck`: content with an exporter that serves, whatever it asks of others.

use rustix::process::Signal;

use crate::common::exporter::BINARY;
use crate::common::pki::Pki;
use crate::common::secure::{Secure, TLS};
use crate::common::{Exporter, Namespace, root, text};

/// Of "secret", with little work.
const USERS: &str =
    "basic_auth_users: {alice: $2y$04$Dt2xIgds.l.elQrubp1Rreti55E7Fht9Vd47NuZQWVUonzrfSsO4W}\n";

/// What it says in this namespace, and its exit code.
fn ask(namespace: &Namespace, arguments: &str) -> (i32, String) {
    let mut command = namespace.command(BINARY);
    let output = command.arg("healthcheck").args(arguments.split_whitespace()).output().unwrap();
    (output.status.code().unwrap(), text(&output))
}

#[test]
fn an_exporter_that_serves_is_healthy_and_one_that_has_ended_is_not() {
    if !root() {
        return;
    }
    let namespace = Namespace::new();
    for (listen, asked, said) in [
        ("", "", ":10148: healthy\n"),
        ("127.0.0.1:10148", "127.0.0.1:10148", "127.0.0.1:10148: healthy\n"),
        ("0.0.0.0:10148", "0.0.0.0:10148", "0.0.0.0:10148: healthy\n"),
        ("localhost:10148", "localhost:10148", "localhost:10148: healthy\n"),
        ("127.0.0.1:10148,:10149", "127.0.0.1:10148,:10149", "127.0.0.1:10148, :10149: healthy\n"),
    ] {
        let option = |value: &str| {
            if value.is_empty() { String::new() } else { format!("--web.listen-address {value}") }
        };
        let mut exporter = Exporter::start(&namespace, &option(listen));
        assert_eq!(ask(&namespace, &option(asked)), (0, said.to_owned()));
        let (code, told) = ask(&namespace, "--web.listen-address 127.0.0.1:10148,127.0.0.1:9");
        assert_eq!((code, told.lines().count()), (1, 1), "{told}");
        assert!(told.starts_with("macwatch: 127.0.0.1:9 does not answer: Connection refused"), "{told}");
        exporter.signal(Signal::TERM);
        exporter.wait();
        assert_eq!(ask(&namespace, &option(asked)).0, 1);
    }
}

#[test]
fn passwords_certificates_and_limits_are_no_illness() {
    if !root() {
        return;
    }
    let (namespace, pki) = (Namespace::new(), Pki::new());
    let clients = "tls_server_config: {cert_file: server.pem, key_file: server.key, client_ca_file: ca.pem, \
                   client_auth_type: RequireAndVerifyClientCert}\n";
    let limit = "rate_limit: {interval: 1h, burst: 1}\n";
    for web in [USERS, TLS, &format!("{TLS}{USERS}"), clients, limit] {
        let _secure = Secure::start(&namespace, &pki, web, "");
        for _ in 0..2 {
            assert_eq!(ask(&namespace, ""), (0, ":10148: healthy\n".to_owned()), "{web}");
        }
    }
}
