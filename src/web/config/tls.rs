//! From the section `tls_server_config` to what rustls serves with. Nothing is taken half: either all of it holds, or
//! there are faults.

use std::error::Error;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::CertificateDer;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::{RootCertStore, ServerConfig, version};

use super::Files;
use super::certificates::{self, Certificates};
use super::fields::{At, Source, Tls};
use super::names::{ClientAuth, Version};
use super::values;
use crate::textfile::Faults;
use crate::web::client::{Authority, Clients};

/// What is served.
pub(super) struct Built {
    pub(super) config: Arc<ServerConfig>,
    /// When the certificate, or one of those beside it, expires.
    pub(super) expires: Option<i64>,
    /// In words, for `check`.
    pub(super) summary: String,
}

/// Names of the protocols behind TLS, the preferred one first.
const HTTP2: &[&[u8]] = &[b"h2", b"http/1.1"];
const HTTP1: &[&[u8]] = &[b"http/1.1"];

/// Puts it together; warnings go to the second list.
pub(super) fn build(
    tls: &Tls,
    http2: bool,
    files: &mut Files,
    faults: &mut Faults,
    warnings: &mut Faults,
) -> Option<Built> {
    let cert = required("cert", &tls.cert, tls, files, faults);
    let key = required("key", &tls.key, tls, files, faults);
    let authorities = read("client_ca", &tls.client_ca, files, faults);
    let cert = cert.and_then(|(line, name, pem)| {
        let certificates = told(certificates::chain(&pem), line, &name, faults)?;
        if let Some(why) = certificates.first().and_then(certificates::not_valid) {
            warnings.add(line, format!("{name}: {why}: clients will refuse it"));
        }
        Some(certificates)
    });
    let key = key.and_then(|(line, name, pem)| {
        Some((line, name.clone(), told(certificates::key(&pem), line, &name, faults)?))
    });
    let authorities = match authorities {
        None => Some(Vec::new()),
        Some((line, name, pem)) => told(certificates::chain(&pem), line, &name, faults),
    };
    let provider = provider(tls);
    let clients = clients(tls, authorities, &provider, faults, warnings);
    let versions = versions(tls, faults);
    let (Some(chain), Some((line, name, key)), Some(clients), Some(versions)) =
        (cert, key, clients, versions)
    else {
        return None;
    };
    let mut said: Vec<String> = versions.iter().map(|one| version_name(one).to_owned()).collect();
    said.extend(http2.then(|| "HTTP/2".to_owned()));
    said.extend(clients.as_ref().map(|clients| clients.to_string()));
    let asked = clients.is_some();
    let verifier =
        clients.map_or_else(WebPkiClientVerifier::no_client_auth, |clients| Arc::new(clients) as _);
    let expires = certificates::expiry(&chain);
    let certified = match certificates::pair(chain, key, &provider) {
        Ok(certified) => certified,
        Err(what) => {
            faults.add(line, format!("{name}: {what}"));
            return None;
        }
    };
    let built =
        ServerConfig::builder_with_provider(provider).with_protocol_versions(&versions).map(|builder| {
            let resolver = SingleCertAndKey::from(certified);
            builder.with_client_cert_verifier(verifier).with_cert_resolver(Arc::new(resolver))
        });
    match built {
        Ok(mut config) => {
            config.ignore_client_order = !tls.client_s_order;
            if asked {
                // Whoever resumes a session shows no certificate again: it would hold for longer than it is valid.
                config.session_storage = Arc::new(NoServerSessionStorage {});
                config.send_tls13_tickets = 0;
            }
            config.alpn_protocols =
                if http2 { HTTP2 } else { HTTP1 }.iter().map(|name| name.to_vec()).collect();
            Some(Built { config: Arc::new(config), expires, summary: said.join(", ") })
        }
        Err(error) => {
            faults.add(tls.line, format!("these versions and suites do not go together: {error}"));
            None
        }
    }
}

/// The line, what to call it, and the bytes.
type Text = (usize, String, Vec<u8>);

fn required(name: &str, source: &Source, tls: &Tls, files: &mut Files, faults: &mut Faults) -> Option<Text> {
    if !source.is_set() {
        faults.add(tls.line, format!("tls_server_config: missing one of {name} or {name}_file"));
    }
    read(name, source, files, faults)
}

fn read(name: &str, source: &Source, files: &mut Files, faults: &mut Faults) -> Option<Text> {
    if let Some(At { line, value }) = &source.file {
        let (path, text) = files.read(value);
        let name = format!("{name}_file {}", values::name(&path.to_string_lossy()));
        let text = told(text, *line, &name, faults)?;
        return Some((*line, name, text));
    }
    source.inline.as_ref().map(|At { line, value }| (*line, name.to_owned(), value.clone().into_bytes()))
}

/// The value, or its fault in the list.
fn told<T>(value: Result<T, String>, line: usize, name: &str, faults: &mut Faults) -> Option<T> {
    value.map_err(|what| faults.add(line, format!("{name}: {what}"))).ok()
}

/// What rustls may use. As in Go, the list of suites is about TLS 1.2; those of 1.3 are always there.
fn provider(tls: &Tls) -> Arc<CryptoProvider> {
    let mut provider = ring::default_provider();
    if !tls.suites.is_empty() {
        let modern = |suite: &&_| rustls::SupportedCipherSuite::tls13(suite).is_some();
        let older = tls.suites.iter().filter(|suite| !modern(suite));
        provider.cipher_suites =
            ring::ALL_CIPHER_SUITES.iter().filter(modern).chain(older).copied().collect();
    }
    if !tls.groups.is_empty() {
        provider.kx_groups.clone_from(&tls.groups);
    }
    Arc::new(provider)
}

fn versions(tls: &Tls, faults: &mut Faults) -> Option<Vec<Version>> {
    let number =
        |version: &Option<At<Version>>, or| version.as_ref().map_or(or, |at| u16::from(at.value.version));
    let (min, max) = (number(&tls.min, 0), number(&tls.max, u16::MAX));
    let all: [Version; 2] = [&version::TLS12, &version::TLS13];
    let chosen: Vec<Version> =
        all.into_iter().filter(|one| (min..=max).contains(&u16::from(one.version))).collect();
    if chosen.is_empty() {
        let line = tls.max.as_ref().map_or(tls.line, |at| at.line);
        faults.add(line, "max_version is below min_version".to_owned());
        return None;
    }
    Some(chosen)
}

fn version_name(version: &Version) -> &'static str {
    if version.version == version::TLS12.version { "TLS 1.2" } else { "TLS 1.3" }
}

/// Who looks at clients' certificates; nobody if none is asked for. `authorities` are missing if they have a fault.
fn clients(
    tls: &Tls,
    authorities: Option<Certificates>,
    provider: &Arc<CryptoProvider>,
    faults: &mut Faults,
    warnings: &mut Faults,
) -> Option<Option<Clients>> {
    let (line, auth) = tls.client_auth.as_ref().map_or((tls.line, ClientAuth::No), |at| (at.line, at.value));
    if tls.client_ca.is_set() && auth == ClientAuth::No {
        faults.add(
            line,
            "client CA's have been configured without a Client Auth Policy: set client_auth_type".to_owned(),
        );
    }
    if let Some(At { line, value }) = &tls.allowed_sans {
        if !auth.is_required() {
            let what = "client_allowed_sans requires client_auth_type to be one of RequireAnyClientCert or \
                        RequireAndVerifyClientCert";
            faults.add(*line, what.to_owned());
        } else if value.is_empty() {
            faults.add(*line, "client_allowed_sans: it is empty, so that nobody would be let in".to_owned());
        }
    }
    if auth == ClientAuth::No {
        return Some(None);
    }
    let sans = tls.allowed_sans.as_ref().map(|at| at.value.clone());
    let authorities = authorities?;
    if !auth.is_verified() {
        return Some(Some(Clients::unverified(auth, sans, provider)));
    }
    if !tls.client_ca.is_set() {
        let what = "it needs client_ca_file or client_ca: the authorities that the system trusts vouch for servers \
                    of the whole Internet, and are not taken for clients";
        faults.add(line, format!("client_auth_type: {what}"));
        return None;
    }
    let line = tls.client_ca.file.as_ref().or(tls.client_ca.inline.as_ref()).map_or(line, |at| at.line);
    let mut vouching = Vec::new();
    for (at, certificate) in authorities.into_iter().enumerate() {
        if let Some(why) = certificates::not_valid(&certificate) {
            warnings.add(line, format!("client_ca: certificate {}: {why}: it vouches for nobody", at + 1));
        }
        match authority(certificate, provider) {
            Ok(authority) => vouching.push(authority),
            Err(error) => {
                faults.add(line, format!("client_ca: certificate {} cannot be used: {error}", at + 1));
                return None;
            }
        }
    }
    Some(Some(Clients::verified(auth, sans, provider, vouching)))
}

fn authority(
    certificate: CertificateDer<'static>,
    provider: &Arc<CryptoProvider>,
) -> Result<Authority, Box<dyn Error>> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone())?;
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).build()?;
    Ok(Authority { certificate, verifier })
}
