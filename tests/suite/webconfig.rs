//! The web configuration file: what is taken, what is refused, and what it does to clients.
//!
//! Longer than most: half of it is the table of what the format's documentation takes and refuses.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::common::exporter::{BINARY, PORT};
use crate::common::http::connect;
use crate::common::pki::Pki;
use crate::common::secure::{Secure, TLS};
use crate::common::{Exporter, Namespace, Prometheus, command, root, text, wait_until};

/// Of "secret", with little work.
const HASH: &str = "$2y$04$Dt2xIgds.l.elQrubp1Rreti55E7Fht9Vd47NuZQWVUonzrfSsO4W";

/// Runs `check` on a file in the folder: exit code, stdout.
fn check(pki: &Pki, web: impl AsRef<[u8]>) -> (i32, String) {
    pki.put("web.yml", web);
    check_file(pki, "web.yml")
}

fn check_file(pki: &Pki, file: &str) -> (i32, String) {
    let mut command = command(BINARY);
    command.current_dir(pki.folder()).env_clear().args(["check", "--web.config.file", file]);
    let output = command.output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

fn hash(password: &str, cost: u32) -> String {
    let mut command = command(BINARY);
    command.args(["hash-password", "--cost", &cost.to_string()]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(password.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Those of the toolkit's own tests that it takes, and more.
#[test]
fn what_the_toolkit_takes_is_taken() {
    let pki = Pki::new();
    let inline = |name: &str| std::fs::read_to_string(pki.path(name)).unwrap().replace('\n', "\n    ");
    let inlined = format!(
        "tls_server_config:\n  cert: |\n    {}\n  key: |\n    {}\n  client_ca: |\n    {}\n  \
         client_auth_type: RequireAndVerifyClientCert\n",
        inline("server.pem"),
        inline("server.key"),
        inline("ca.pem")
    );
    let users = format!("basic_auth_users:\n  alice: {HASH}\n  bob: '{}'\n", HASH.replace("2y", "2b"));
    for (web, said) in [
        ("", "no TLS, no users"),
        ("# nothing\n", "no TLS, no users"),
        ("tls_server_config:\nhttp_server_config:\nbasic_auth_users:\nrate_limit:\n", "no TLS, no users"),
        (TLS, "TLS 1.2, TLS 1.3, HTTP/2, no users"),
        (&inlined, "TLS 1.2, TLS 1.3, HTTP/2, verified client certificates required, no users"),
        (&users, "no TLS, 2 users"),
        ("tls_server_config: {cert: x, cert_file: server.pem, key: y, key_file: server.key}\n", "TLS 1.2"),
        ("http_server_config: {http2: off}\n", "no TLS, no users"),
        ("tls_server_config: {min_version: TLS13}\n", "no TLS, no users"),
        (
            "http_server_config:\n  headers:\n    Strict-Transport-Security: max-age=31536000\n    \
             X-Content-Type-Options: nosniff\n    X-Frame-Options: sameorigin\n    X-XSS-Protection: 1; mode=block\n    \
             Content-Security-Policy: frame-ancestors 'self'\n",
            "no TLS, no users",
        ),
        ("rate_limit:\n  interval: 1s\n  burst: 20\n", "no TLS, no users, a request every 1s (burst 20)"),
        ("rate_limit: {burst: 3}\n", "no TLS, no users"),
        ("x: &a {cert_file: server.pem}\n", "web.yml:1: the file: no key \"x\""),
        (
            "tls_server_config: &t\n  cert_file: &f server.pem\n  key_file: server.key\n  client_ca_file: *f\n  \
             client_auth_type: VerifyClientCertIfGiven\n",
            "TLS 1.2, TLS 1.3, HTTP/2, client certificates verified if given, no users",
        ),
        (&format!("\u{feff}--- \n{TLS}...\n"), "TLS 1.2"),
    ] {
        let (code, stdout) = check(&pki, web);
        assert_eq!(code, i32::from(said.contains("no key")), "{web}{stdout}");
        assert!(stdout.starts_with(&format!("web.yml: {said}")) || stdout.starts_with(said), "{web}{stdout}");
    }
    for (names, key) in [
        ("TLS_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", "cipher_suites"),
        ("CurveP256, CurveP384, X25519", "curve_preferences"),
    ] {
        assert_eq!(check(&pki, TLS.replace('}', &format!(", {key}: [{names}]}}"))).0, 0, "{names}");
    }
}

#[test]
fn what_makes_no_sense_is_refused_by_name_and_line() {
    let pki = Pki::new();
    pki.openssl("rsa -aes128 -passout pass:x -in ca.key -out locked.key".replace("rsa", "ec").as_str());
    pki.openssl("pkcs8 -topk8 -passout pass:x -in ca.key -out locked8.key");
    pki.put("garbage.pem", "-----BEGIN CERTIFICATE-----\nTm90IGEgY2VydA==\n-----END CERTIFICATE-----\n");
    pki.put("cut.pem", &std::fs::read(pki.path("ca.pem")).unwrap()[..200]);
    let with = |more: &str| TLS.replace('}', &format!(",\n  {more}}}"));
    let files =
        |cert: &str, key: &str| format!("tls_server_config:\n  cert_file: {cert}\n  key_file: {key}\n");
    let user = |hash: &str| format!("basic_auth_users:\n  ann: {hash}\n");
    for (web, line, part) in [
        ("a: b: c\n".to_owned(), 1, "it is not YAML"),
        ("- a\n".to_owned(), 1, "the file is a list, where a mapping belongs"),
        ("tls_server_config: 1\n".to_owned(), 1, "is a single value, where a mapping belongs"),
        ("tls_config: {}\n".to_owned(), 1, "no key \"tls_config\"; there are tls_server_config, http_server"),
        (with("cert_fil: x"), 2, "tls_server_config: no key \"cert_fil\""),
        ("rate_limit: {}\nrate_limit: {}\n".to_owned(), 2, "is there twice, first in line 1"),
        ("a: 1\n---\n".to_owned(), 2, "second document"),
        ("basic_auth_users: {? [a] : b}\n".to_owned(), 1, "a key is a list"),
        // Half of it.
        ("tls_server_config:\n  cert_file: server.pem\n".to_owned(), 1, "missing one of key or key_file"),
        ("tls_server_config:\n  key_file: server.key\n".to_owned(), 1, "missing one of cert or cert_file"),
        (
            "tls_server_config:\n  cert_file: ''\n  key_file: server.key\n".to_owned(),
            1,
            "missing one of cert",
        ),
        // Files.
        (files("absent.pem", "server.key"), 2, "cert_file absent.pem: there is no such file"),
        (files("/", "server.key"), 2, "not a regular file but a folder"),
        (files("server.key", "server.pem"), 2, "are the two files exchanged?"),
        (files("server.pem", "client.key"), 3, "the private key is not the certificate's"),
        (files("server.pem", "locked.key"), 3, "the key is encrypted"),
        (files("server.pem", "locked8.key"), 3, "the key is encrypted"),
        (files("server.pem", "web.yml"), 3, "it holds no private key"),
        (files("web.yml", "server.key"), 2, "it holds no certificate"),
        (files("garbage.pem", "server.key"), 2, "certificate 1 is damaged"),
        (files("cut.pem", "server.key"), 2, "is the file cut off?"),
        // What TLS is made of.
        (with("min_version: TLS10"), 2, "min_version: TLS10 is broken, and not served; take TLS12"),
        (with("max_version: TLS11"), 2, "max_version: TLS11 is broken"),
        (with("min_version: TLS111"), 2, "unknown TLS version: \"TLS111\""),
        (with("min_version: TLS13,\n  max_version: TLS12"), 3, "max_version is below min_version"),
        (
            with("cipher_suites: [TLS_RSA_WITH_AES_128_CBC_SHA]"),
            2,
            "\"TLS_RSA_WITH_AES_128_CBC_SHA\" is outdated",
        ),
        (with("cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA]"), 2, "is outdated, and not served"),
        (with("cipher_suites:\n  [\n  TLS_MADE_UP]"), 4, "unknown cipher: \"TLS_MADE_UP\""),
        (with("cipher_suites: TLS_AES_128_GCM_SHA256"), 2, "a single value, where a list belongs"),
        (
            with("max_version: TLS12, cipher_suites: [TLS_AES_128_GCM_SHA256]"),
            1,
            "these versions and suites do not go together",
        ),
        (with("curve_preferences: [CurveP521]"), 2, "CurveP521 is not served"),
        (with("curve_preferences: [CurveP257]"), 2, "unknown curve: \"CurveP257\""),
        // Clients.
        (with("client_auth_type: Yes please"), 2, "invalid ClientAuth: \"Yes please\""),
        (with("client_ca_file: ca.pem"), 1, "client CA's have been configured without a Client Auth Policy"),
        (with("client_auth_type: RequireAndVerifyClientCert"), 2, "it needs client_ca_file or client_ca"),
        (with("client_auth_type: VerifyClientCertIfGiven"), 2, "it needs client_ca_file"),
        (
            with("client_auth_type: VerifyClientCertIfGiven, client_ca: nothing"),
            2,
            "client_ca: it holds no certi",
        ),
        (with("client_allowed_sans: [a]"), 2, "client_allowed_sans requires client_auth_type to be one of"),
        (
            with("client_auth_type: RequestClientCert,\n  client_allowed_sans: [a]"),
            3,
            "requires client_auth_type",
        ),
        (
            with("client_auth_type: RequireAnyClientCert, client_allowed_sans: []"),
            2,
            "nobody would be let in",
        ),
        // HTTP.
        ("http_server_config: {http2: 2}\n".to_owned(), 1, "http2: \"2\" is neither true nor false"),
        (
            "http_server_config:\n  headers:\n    X-Other: x\n".to_owned(),
            3,
            "HTTP header \"X-Other\" can not be configured",
        ),
        (
            "http_server_config: {headers: {X-Frame-Options: allow}}\n".to_owned(),
            1,
            "invalid value for X-Frame-Options: expected one of deny, sameorigin, but got \"allow\"",
        ),
        (
            "http_server_config: {headers: {X-Content-Type-Options: x}}\n".to_owned(),
            1,
            "invalid value for X-Content-Type-Options",
        ),
        ("http_server_config: {headers: {X-XSS-Protection: \"a\\nb\"}}\n".to_owned(), 1, "cannot be sent"),
        // Users.
        (user("secret"), 2, "\"ann\": it is no bcrypt hash; passwords in clear text are not taken"),
        (user(&HASH[..50]), 2, "damaged, of 50 characters"),
        (user("$apr1$abc$def"), 2, "none of bcrypt"),
        (user(""), 2, "there is no password hash"),
        ("basic_auth_users: [ann]\n".to_owned(), 1, "is a list, where a mapping belongs"),
        // The rate.
        ("rate_limit: {interval: 1, burst: 1}\n".to_owned(), 1, "\"1\" has no unit"),
        ("rate_limit: {interval: -1s, burst: 1}\n".to_owned(), 1, "is negative"),
        ("rate_limit: {interval: 1s, burst: -1}\n".to_owned(), 1, "burst: \"-1\" is not a whole number"),
        ("rate_limit: {interval: 1s}\n".to_owned(), 1, "with a burst of 0 every request would get 429"),
    ] {
        let (code, stdout) = check(&pki, &web);
        let start = format!("web.yml:{line}: ");
        assert_eq!(code, 1, "{web}");
        assert!(
            stdout.lines().any(|fault| fault.starts_with(&start) && fault.contains(part)),
            "{web}{stdout}"
        );
        assert!(!stdout.contains("secret"), "{stdout}");
    }
    // All of them at once.
    let (_, stdout) = check(&pki, format!("{}basic_auth_users: {{a: b}}\nelse: 1\n", files("x", "y")));
    assert_eq!(stdout.lines().count(), 4, "{stdout}");
}

#[test]
fn strange_files_are_told_and_hang_nothing() {
    let pki = Pki::new();
    rustix::fs::mkfifoat(rustix::fs::CWD, pki.path("fifo"), rustix::fs::Mode::RWXU).unwrap();
    std::fs::File::create(pki.path("large")).unwrap().set_len(1 << 30).unwrap();
    for (file, fault) in [
        ("absent", "absent: there is no such file"),
        ("fifo", "fifo: it is not a regular file but a FIFO"),
        ("/", "/: it is not a regular file but a folder"),
        ("large", "large: it is larger than"),
    ] {
        let (code, stdout) = check_file(&pki, file);
        assert!(code == 1 && stdout.starts_with(fault), "{stdout}");
    }
    let web = "tls_server_config: {cert_file: fifo, key_file: large}\n";
    let (_, stdout) = check(&pki, web);
    assert!(stdout.contains("a FIFO") && stdout.contains("larger than 1 MiB"), "{stdout}");
    // Nested, endless, not text, and a bomb.
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..100 {
        bomb += &format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 10].join(", "));
    }
    for (web, fault) in [
        ("[".repeat(100_000).into_bytes(), "web.yml:1: it is n"),
        (b"a: 1\n\xff\n".to_vec(), "web.yml:2: this line is not UTF-8"),
        (bomb.into_bytes(), "no key \"a99\""),
        (b"? ".repeat(100_000), "web.yml:"),
        ("a: 1\n".repeat(400_000).into_bytes(), "more than 200000 values"),
    ] {
        let begun = Instant::now();
        let (code, stdout) = check(&pki, web);
        assert!(code == 1 && stdout.contains(fault), "{fault}: {}", &stdout[..stdout.len().min(300)]);
        assert!(begun.elapsed() < Duration::from_secs(20), "{fault}");
    }
    let users: String = (0..10_000).map(|n| format!("  user{n}: {HASH}\n")).collect();
    let (code, stdout) = check(&pki, format!("basic_auth_users:\n{users}"));
    assert_eq!((code, &*stdout), (0, "web.yml: no TLS, 10000 users\n"));
    // What is odd is no fault.
    pki.openssl("req -new -key server.key -subj /CN=late -out late.csr");
    pki.openssl("x509 -req -in late.csr -signkey server.key -days -1 -out late.pem");
    let (code, stdout) = check(&pki, "tls_server_config: {cert_file: late.pem, key_file: server.key}\n");
    assert!(
        code == 0 && stdout.contains("web.yml:1: warning: cert_file late.pem: the certificate expired"),
        "{stdout}"
    );
    let clients = "client_ca_file: late.pem, client_auth_type: RequireAndVerifyClientCert";
    let (code, stdout) = check(&pki, TLS.replace('}', &format!(", {clients}}}")));
    assert!(
        code == 0 && stdout.contains("web.yml:1: warning: client_ca: certificate 1: the certificate expired"),
        "{stdout}"
    );
    let costly = HASH.replace("$04$", "$17$");
    let (code, stdout) = check(&pki, format!("basic_auth_users:\n  a: {costly}\n  'a:b': {HASH}\n"));
    assert!(
        code == 0 && stdout.contains("web.yml:2: warning: basic_auth_users: \"a\": a cost of 17"),
        "{stdout}"
    );
    assert!(stdout.contains("web.yml:3: warning: basic_auth_users: \"a:b\": clients send"), "{stdout}");
}

#[test]
fn a_broken_file_is_no_start() {
    if !root() {
        return;
    }
    let (namespace, pki) = (Namespace::new(), Pki::new());
    pki.put("web.yml", "tls_server_config:\n  cert_file: absent\n  key_file: server.key\nelse: 1\n");
    let mut command = namespace.command("timeout");
    command.args(["30", BINARY, "--log.level", "error", "--web.config.file"]).arg(pki.path("web.yml"));
    let output = command.output().unwrap();
    let said = text(&output);
    let file = pki.path("web.yml");
    assert_eq!(output.status.code(), Some(1), "{said}");
    for (line, what) in [(2, "cert_file"), (4, "the file: no key \"else\"")] {
        let start = format!("macwatch: web configuration: {}:{line}: {what}", file.display());
        assert!(said.lines().any(|fault| fault.starts_with(&start)), "{said}");
    }
    // Without the right to read all files, as after the start.
    std::fs::set_permissions(pki.path("server.key"), std::os::unix::fs::PermissionsExt::from_mode(0o000))
        .unwrap();
    pki.put("web.yml", TLS);
    let output = command.output().unwrap();
    assert!(
        output.status.code() == Some(1) && text(&output).contains("it may not be read"),
        "{}",
        text(&output)
    );
}

#[test]
fn users_have_passwords() {
    if !root() {
        return;
    }
    let (namespace, pki) = (Namespace::new(), Pki::new());
    let web = format!(
        "basic_auth_users: {{ann: {HASH}}}\nhttp_server_config: {{headers: {{X-Frame-Options: deny, Content-Security-Policy: default-src}}}}\n"
    );
    let secure = Secure::start(&namespace, &pki, &web, "--web.enable-lifecycle");
    for (who, status) in [
        ("", 401),
        ("-u ann:secret", 200),
        ("-u ann:Secret", 401),
        ("-u ann:", 401),
        ("-u bob:secret", 401),
        ("-u :", 401),
        ("-u bob:fakepassword", 401),
        ("-H Authorization:Bearer", 401),
        ("-u ann:secret", 200),
    ] {
        for path in ["/metrics", "/", "/-/healthy", "/-/ready", "/nothing"] {
            let answer = secure.get(path, who).status;
            assert_eq!(
                answer,
                if status == 200 && path == "/nothing" { 404 } else { status },
                "{who} {path}"
            );
        }
        assert_eq!(secure.get("/-/reload", &format!("{who} -X POST")).status, status, "{who}");
    }
    for who in ["", "-u ann:secret"] {
        let head = secure.get("/", &format!("--include {who}")).text.to_lowercase();
        assert_eq!(head.contains("\r\nwww-authenticate: basic\r\n"), who.is_empty(), "{head}");
        assert!(head.contains("\r\nx-frame-options: deny\r\n"), "{head}");
        assert_eq!(head.matches("content-security-policy: default-src\r\n").count(), 1, "{head}");
    }
    let page = secure.scrape("-u ann:secret");
    assert!(page.value("macwatch_http_requests_total{code=\"401\"}") > 30.0);
    assert_eq!(secure.exporter.logged("whoever reaches this port"), 0);
}

#[test]
fn a_change_is_taken_up_and_a_broken_one_is_not() {
    if !root() {
        return;
    }
    let (namespace, pki) = (Namespace::new(), Pki::new());
    let ann = format!("basic_auth_users: {{ann: {HASH}}}\n");
    let secure = Secure::start(&namespace, &pki, &ann, "--web.enable-lifecycle");
    let who = "-u ann:secret";
    let reload = || secure.get("/-/reload", &format!("{who} -X POST"));
    assert_eq!((secure.status(who), secure.status("-u bob:secret")), (200, 401));
    pki.put("web.yml", ann.replace("ann:", "bob:"));
    wait_until("bob to be let in", || secure.status("-u bob:secret") == 200);
    assert_eq!(secure.status(who), 401, "who is gone is not remembered");
    pki.put("web.yml", &ann);
    wait_until("ann to be let in", || secure.status(who) == 200);
    secure.wait_read(who, true);
    let before = secure.exporter.logged("not reloaded");
    pki.put("web.yml", "basic_auth_users: {ann: clear, bob: text}\n");
    secure.wait_read(who, false);
    assert_eq!(secure.exporter.logged("not reloaded"), before + 1, "one line");
    assert!(secure.exporter.log().contains("more=1"));
    let answer = reload();
    assert!(answer.status == 500 && answer.text.contains("clear text"), "{answer:?}");
    secure.exporter.signal(Signal::HUP);
    wait_until("a word of it", || secure.exporter.logged("not reloaded") == before + 3);
    assert_eq!((secure.status(who), secure.status("")), (200, 401));
    pki.put("web.yml", &ann);
    secure.wait_read(who, true);
    assert_eq!(reload().status, 200);
    let from = |site: &str| secure.get("/-/reload", &format!("{who} -X POST -H Origin:{site}")).status;
    assert_eq!([from("http://evil.example"), from("null"), from("http://localhost:10148")], [403, 403, 200]);
    // Headers too.
    pki.put("web.yml", format!("{ann}http_server_config: {{headers: {{X-XSS-Protection: '1'}}}}\n"));
    wait_until("a header", || {
        secure.get("/", &format!("--include {who}")).text.contains("x-xss-protection: 1\r\n")
    });
    assert!(secure.exporter.log().contains("says=\"no TLS, 1 user\""), "{}", secure.exporter.log());
}

/// All have asked before the first reading begins: they share one, or a few.
#[test]
fn who_asks_for_a_reload_while_others_do_shares_it() {
    if !root() {
        return;
    }
    let (namespace, pki) = (Namespace::new(), Pki::new());
    let secure = Secure::start(&namespace, &pki, "", "--web.enable-lifecycle");
    secure.exporter.signal(Signal::STOP);
    let clients: Vec<TcpStream> = (0..12)
        .map(|_| {
            let mut client = connect(&namespace, PORT).unwrap();
            client.write_all(b"POST /-/reload HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
            client
        })
        .collect();
    secure.exporter.signal(Signal::CONT);
    for mut client in clients {
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    wait_until("a word of it", || secure.exporter.logged("web configuration reloaded") > 0);
    // One that reads for each has said so by the time of the last answer.
    assert!(secure.exporter.logged("web configuration reloaded") < 6, "{}", secure.exporter.log());
}

/// An editor or a script may have emptied it, or be in the middle of it.
#[test]
fn a_file_that_lets_more_in_is_not_taken_while_it_runs() {
    if !root() {
        return;
    }
    let (namespace, pki) = (Namespace::new(), Pki::new());
    let users = format!("basic_auth_users: {{ann: {HASH}}}\n");
    let opens = "lets everybody in without a password, which takes a restart";
    let asks_less = "asks less of clients' certificates, which takes a restart";
    let with = |more: &str| TLS.replace('}', &format!(", {more}}}"));
    let (verify, any) =
        ("client_auth_type: RequireAndVerifyClientCert", "client_auth_type: RequireAnyClientCert");
    let named = format!("client_ca_file: ca.pem, {verify}, client_allowed_sans: [scraper.example]");
    for (before, after, why, who) in [
        (users.clone(), String::new(), opens, "-u ann:secret"),
        (users.clone(), "basic_auth_users:\n".to_owned(), opens, "-u ann:secret"),
        (users.clone(), "# a comment\n".to_owned(), opens, "-u ann:secret"),
        (with(any), TLS.to_owned(), asks_less, "--cert client.pem --key client.key"),
        (with(&named), with(any), asks_less, "--cert client.pem --key client.key"),
        (
            with(&named),
            with(&format!("client_ca_file: ca.pem, {verify}")),
            asks_less,
            "--cert client.pem --key client.key",
        ),
    ] {
        let secure = Secure::start(&namespace, &pki, &before, "");
        let nobody = secure.status("");
        assert!(nobody != 200 && secure.status(who) == 200, "{before}");
        pki.put("web.yml", &after);
        secure.wait_read(who, false);
        assert_eq!((secure.status(""), secure.status(who)), (nobody, 200), "{before}{after}");
        assert!(secure.exporter.log().contains(why), "{}", secure.exporter.log());
        pki.put("web.yml", &before);
        secure.wait_read(who, true);
    }
    // A start is what somebody meant.
    assert_eq!(Secure::start(&namespace, &pki, "", "").status(""), 200);
}

/// No absolute times: a busy machine is slow with both.
#[test]
fn a_name_that_nobody_has_takes_as_long() {
    if !root() {
        return;
    }
    let (namespace, pki) = (Namespace::new(), Pki::new());
    let web = format!("basic_auth_users: {{ann: {}}}\n", hash("secret", 11));
    let secure = Secure::start(&namespace, &pki, &web, "");
    let mut shortest = [Duration::MAX; 3];
    // What else the machine does only makes an answer take longer: the shortest of many is the answer's own time.
    wait_until("times that tell nothing of names", || {
        for (who, shortest) in ["-u ann:x", "-u bob:x", ""].into_iter().zip(&mut shortest) {
            let begun = Instant::now();
            assert_eq!(secure.status(who), 401);
            *shortest = begun.elapsed().min(*shortest);
        }
        let [known, unknown, none] = shortest;
        unknown < known * 2 && known < unknown * 2 && none < known / 2
    });
}

#[test]
fn a_storm_of_passwords_does_not_keep_a_scraper_out() {
    if !root() {
        return;
    }
    let (namespace, pki) = (Namespace::new(), Pki::new());
    let web = format!("basic_auth_users: {{ann: {}}}\n", hash("secret", 11));
    let secure = Secure::start(&namespace, &pki, &web, "");
    assert_eq!(secure.status("-u ann:secret"), 200);
    let over = std::sync::atomic::AtomicBool::new(false);
    let answers = std::thread::scope(|scope| {
        let storm: Vec<_> = (0..12)
            .map(|n| {
                let (secure, over) = (&secure, &over);
                scope.spawn(move || {
                    let mut answers = Vec::new();
                    while !over.load(std::sync::atomic::Ordering::Relaxed) {
                        answers.push(secure.status(&format!("-u ann:{n}")));
                    }
                    answers
                })
            })
            .collect();
        wait_until("the storm", || secure.get("/-/healthy", "-u eve:x").status == 503);
        for _ in 0..20 {
            let page = secure.scrape("-u ann:secret");
            assert_eq!(page.value("macwatch_web_config_last_reload_successful"), 1.0);
        }
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        storm.into_iter().flat_map(|one| one.join().unwrap()).collect::<Vec<u16>>()
    });
    assert!(answers.iter().all(|status| [401, 503].contains(status)), "{answers:?}");
    assert!(answers.contains(&401) && answers.contains(&503), "{answers:?}");
}

#[test]
fn requests_are_limited_at_the_rate_of_the_file() {
    if !root() {
        return;
    }
    let (namespace, pki) = (Namespace::new(), Pki::new());
    let web = "rate_limit: {interval: 1h, burst: 3}\n";
    let secure = Secure::start(&namespace, &pki, web, "");
    let answers: Vec<u16> = (0..5).map(|_| secure.status("")).collect();
    assert_eq!(answers, [200, 200, 200, 429, 429]);
    // Another change leaves the count as it is; another rate begins anew.
    pki.put("web.yml", format!("{web}http_server_config: {{http2: false}}\n"));
    wait_until("a reload", || secure.exporter.logged("web configuration reloaded") == 1);
    assert_eq!(secure.status(""), 429);
    pki.put("web.yml", web.replace('3', "2"));
    wait_until("a reload", || secure.exporter.logged("web configuration reloaded") == 2);
    assert_eq!([secure.status(""), secure.status(""), secure.status("")], [200, 200, 429]);
    pki.put("web.yml", "");
    wait_until("no limit", || secure.status("") == 200);
    assert!(secure.scrape("").value("macwatch_http_requests_total{code=\"429\"}") >= 4.0);
}

#[test]
fn an_open_door_is_told_of_once() {
    if !root() {
        return;
    }
    let (namespace, pki) = (Namespace::new(), Pki::new());
    for (arguments, web, told) in [
        ("", None, 1),
        ("--web.listen-address 127.0.0.1:10148", None, 0),
        ("", Some(TLS), 0),
        ("", Some("rate_limit: {}\n"), 1),
    ] {
        let mut arguments = arguments.to_owned();
        if let Some(web) = web {
            pki.put("web.yml", web);
            arguments += &format!(" --web.config.file {}", pki.path("web.yml").display());
        }
        let mut command = namespace.command(BINARY);
        let exporter = Exporter::spawn(&namespace, {
            command.args(arguments.split_whitespace());
            command
        });
        // Whatever it answers, it has started.
        wait_until("an answer", || exporter.get("/-/ready").is_ok());
        assert_eq!(exporter.logged("whoever reaches this port"), told, "{arguments}");
    }
}

#[test]
fn a_password_is_hashed_as_the_toolkit_s_documents_say() {
    let pki = Pki::new();
    let run = |arguments: &str, input: &[u8]| {
        let mut command = command(BINARY);
        command.arg("hash-password").args(arguments.split_whitespace());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // Whoever refuses the name has gone without reading.
        drop(child.stdin.take().unwrap().write_all(input));
        let output = child.wait_with_output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    for input in [&b"s3cret"[..], b"s3cret\n", b"s3cret\r\n", b"s3cret\nmore\n"] {
        let (code, line, _) = run("prometheus --cost 5", input);
        assert!(code == Some(0) && line.starts_with("prometheus: $2y$05$") && line.len() == 73, "{line}");
        let (_, said) = check(&pki, format!("basic_auth_users:\n  {line}"));
        assert_eq!(said, "web.yml: no TLS, 1 user\n");
    }
    assert!(run("", b"x").1.starts_with("$2y$10$"));
    for (input, part) in [
        (&b""[..], "empty"),
        (b"\n", "empty"),
        (b"a\0b", "NUL"),
        (&[b'x'; 73], "73 bytes, and bcrypt looks at the first 72"),
    ] {
        let (code, line, error) = run("", input);
        assert!(code == Some(1) && line.is_empty() && error.contains(part), "{error}");
    }
    let (code, line, error) = run("a:b", b"x");
    assert!(code == Some(2) && line.is_empty() && error.contains("a name cannot have a colon"), "{error}");
    // On a terminal: twice, and not shown.
    let typed = |lines: &str| {
        let script = format!(
            "import pty, os, sys\npid, fd = pty.fork()\nif pid == 0: os.execv({BINARY:?}, ['macwatch', 'hash-password', '--cost', '4'])\n\
             said = b''\nfor line in {lines}:\n    while not said.endswith(b': '): said += os.read(fd, 1000)\n    \
             os.write(fd, line + b'\\n'); said += b'|'\n\
             try:\n    while True:\n        part = os.read(fd, 1000)\n        if not part: break\n        said += part\n\
             except OSError: pass\nsys.stdout.buffer.write(said)\nsys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
        );
        let output = command("python3").args(["-c", &script]).output().unwrap();
        (output.status.code(), text(&output))
    };
    let (code, said) = typed("[b's3cret', b's3cret']");
    assert!(code == Some(0) && said.contains("$2y$04$") && !said.contains("s3cret"), "{said}");
    let (code, said) = typed("[b's3cret', b'other']");
    assert!(code == Some(1) && said.contains("the two passwords differ"), "{said}");
    // Who gives up can see what is typed again.
    let script = format!(
        "import pty, os, termios\npid, fd = pty.fork()\nif pid == 0: os.execv({BINARY:?}, ['macwatch', 'hash-password'])\n\
         echo = lambda: bool(termios.tcgetattr(fd)[3] & termios.ECHO)\n\
         said = b''\nwhile not said.endswith(b': '): said += os.read(fd, 1000)\n\
         before = echo()\nos.write(fd, b'\\x03')\nstatus = os.waitpid(pid, 0)[1]\n\
         print(before, echo(), os.waitstatus_to_exitcode(status))\n"
    );
    let output = command("python3").args(["-c", &script]).output().unwrap();
    assert_eq!(text(&output), "False True 130\n");
}

#[test]
fn a_prometheus_scrapes_over_tls_with_a_certificate_and_a_password() {
    if !root() {
        return;
    }
    let (namespace, pki) = (Namespace::new(), Pki::new());
    let web = format!(
        "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n  client_ca_file: ca.pem\n  \
         client_auth_type: RequireAndVerifyClientCert\n  client_allowed_sans: [scraper.example]\n\
         basic_auth_users:\n  prometheus: {HASH}\n"
    );
    let secure = Secure::start(&namespace, &pki, &web, "");
    let job = |name: &str, certificate: &str, password: &str| {
        let folder = pki.folder().display();
        format!(
            "- job_name: {name}\n  scheme: https\n  tls_config:\n    ca_file: {folder}/ca.pem\n    \
             cert_file: {folder}/{certificate}.pem\n    key_file: {folder}/{certificate}.key\n  \
             basic_auth: {{username: prometheus, password: {password}}}\n  \
             static_configs: [{{targets: ['localhost:10148']}}]\n"
        )
    };
    let jobs = [
        job("good", "client", "secret"),
        job("stranger", "stranger", "secret"),
        job("wrong", "client", "wrong"),
    ];
    let config = format!("global: {{scrape_interval: 1s}}\nscrape_configs:\n{}", jobs.concat());
    let prometheus = Prometheus::start(&namespace, &config);
    for (name, up) in [("good", 1.0), ("stranger", 0.0), ("wrong", 0.0)] {
        prometheus.wait_value(&format!("up{{job=\"{name}\"}}"), up);
    }
    prometheus.wait_value("macwatch_web_config_last_reload_successful{job=\"good\"}", 1.0);
    let client = "--cert client.pem --key client.key -u prometheus:secret";
    let lines = "    tls_config:\n      ca_file: server.pem\n      cert_file: client.pem\n      key_file: client.key\n    basic_auth";
    assert!(secure.get("/", client).text.contains(lines), "the page shows how to scrape it");
    let serial = || secure.s_client("-cert client.pem -key client.key").unwrap();
    let certificate = |said: &str| said.split("-----").nth(2).unwrap().to_owned();
    let before = certificate(&serial());
    pki.issue("server", "DNS:localhost");
    wait_until("the new certificate", || certificate(&serial()) != before);
    let scrapes = || prometheus.query("sum_over_time(up{job=\"good\"}[10m])").unwrap();
    let before = scrapes();
    wait_until("scrapes with the new certificate", || scrapes() >= before + 2.0);
    // One that takes a second fails by Prometheus's own limit, on a busy machine.
    if prometheus.query("max_over_time(scrape_duration_seconds{job=\"good\"}[10m])") < Some(0.9) {
        assert_eq!(prometheus.query("min_over_time(up{job=\"good\"}[10m])"), Some(1.0));
    }
}
