//! Certificates and keys as they stand in files (PEM), and what can be told of them.

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{Error, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Certificates in their order.
pub(super) type Certificates = Vec<CertificateDer<'static>>;

/// The certificates in a file; at least one, and each can be read.
pub(super) fn chain(pem: &[u8]) -> Result<Certificates, String> {
    let chain: Certificates =
        CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|error| explain(&error))?;
    if chain.is_empty() {
        return Err(if key(pem).is_ok() {
            "it holds a private key and no certificate; are the two files exchanged?".to_owned()
        } else {
            "it holds no certificate (-----BEGIN CERTIFICATE-----)".to_owned()
        });
    }
    for (at, certificate) in chain.iter().enumerate() {
        if let Err(error) = X509Certificate::from_der(certificate) {
            return Err(format!("certificate {} is damaged: {error}", at + 1));
        }
    }
    Ok(chain)
}

/// The private key in a file.
pub(super) fn key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
        _ if holds(pem, b"ENCRYPTED PRIVATE KEY-----") || holds(pem, b"Proc-Type: 4,ENCRYPTED") => {
            "the key is encrypted, and nobody is there to type its password; take it off: openssl pkey -in FILE -out FILE"
                .to_owned()
        }
        Error::NoItemsFound if holds(pem, b"-----BEGIN CERTIFICATE-----") => {
            "it holds a certificate and no private key; are the two files exchanged?".to_owned()
        }
        Error::NoItemsFound => "it holds no private key (-----BEGIN PRIVATE KEY-----)".to_owned(),
        other => explain(&other),
    })
}

/// A certificate with its key, if it is the certificate's.
pub(super) fn pair(
    chain: Certificates,
    key: PrivateKeyDer<'static>,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, String> {
    let key = provider.key_provider.load_private_key(key);
    let key = key.map_err(|error| format!("the private key cannot be used: {error}"))?;
    let first = chain.first().and_then(|first| X509Certificate::from_der(first).ok());
    // Not by rustls, which knows version 3 only: openssl makes certificates of version 1 if nobody asks for more, and
    // clients of other makes take them.
    let same = match (first, key.public_key()) {
        (Some((_, first)), Some(public)) => first.public_key().raw == public.as_ref(),
        _ => true,
    };
    if same {
        return Ok(CertifiedKey::new(chain, key));
    }
    Err("the private key is not the certificate's; the certificate comes first in its file, before those of its \
         authorities"
        .to_owned())
}

fn holds(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

fn explain(error: &Error) -> String {
    // It may hold what it could not read.
    match error {
        Error::MissingSectionEnd { .. } => {
            "a section has no end (-----END …); is the file cut off?".to_owned()
        }
        Error::IllegalSectionStart { .. } => "a section begins as none does (-----BEGIN …-----)".to_owned(),
        _ => "what stands between BEGIN and END is not base64".to_owned(),
    }
}

/// When the first of them expires, as Unix time.
pub(super) fn expiry(chain: &[CertificateDer<'_>]) -> Option<i64> {
    let ends = |certificate: &CertificateDer<'_>| {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        Some(certificate.validity().not_after.timestamp())
    };
    chain.iter().filter_map(ends).min()
}

/// Why a certificate would be refused now, if it would.
pub(super) fn not_valid(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let validity = certificate.validity();
    // A clock before 1970 is wrong, not the certificate.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).ok()?.as_secs();
    let now = i64::try_from(now).ok()?;
    if validity.not_after.timestamp() < now {
        Some(format!("the certificate expired on {}", validity.not_after))
    } else if validity.not_before.timestamp() > now {
        Some(format!("the certificate is not valid before {}", validity.not_before))
    } else {
        None
    }
}
