//! Clients' certificates: whether one is asked for, who has to vouch for it, and whose it may be.
//!
//! rustls knows clients that it verifies, and clients that show nothing. The toolkit's file knows two more: those that
//! may or have to show any certificate. They prove that they have its key, and nothing else.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::config::ClientAuth;

/// See the module's docs.
#[derive(Debug)]
pub(super) struct Clients {
    auth: ClientAuth,
    /// One of these names has to be in the certificate.
    sans: Option<Vec<String>>,
    provider: Arc<CryptoProvider>,
    /// Those who vouch; none if nobody has to.
    authorities: Option<Vec<Authority>>,
    /// What they are called.
    hints: Vec<DistinguishedName>,
}

/// One who vouches for clients' certificates. For rustls a trusted certificate never ends; here, as in Go, it does.
#[derive(Debug)]
pub(super) struct Authority {
    /// As in Go, a client that shows this itself needs nobody to vouch for it.
    pub(super) certificate: CertificateDer<'static>,
    /// Looks for a way from a client's certificate to this one.
    pub(super) verifier: Arc<dyn ClientCertVerifier>,
}

impl Clients {
    /// Any certificate.
    pub(super) fn unverified(
        auth: ClientAuth,
        sans: Option<Vec<String>>,
        provider: &Arc<CryptoProvider>,
    ) -> Self {
        Self { auth, sans, provider: Arc::clone(provider), authorities: None, hints: Vec::new() }
    }

    /// Those that an authority vouches for.
    pub(super) fn verified(
        auth: ClientAuth,
        sans: Option<Vec<String>>,
        provider: &Arc<CryptoProvider>,
        authorities: Vec<Authority>,
    ) -> Self {
        let hints = authorities.iter().flat_map(|one| one.verifier.root_hint_subjects()).cloned().collect();
        Self { auth, sans, provider: Arc::clone(provider), authorities: Some(authorities), hints }
    }

    fn check_name(&self, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        let Some(allowed) = &self.sans else { return Ok(()) };
        if names(certificate).iter().any(|name| allowed.contains(name)) {
            return Ok(());
        }
        Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
    }

    /// Whether one of the authorities, that is valid itself, vouches for it.
    fn check_authority(
        authorities: &[Authority],
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        if authorities.iter().any(|one| one.certificate == *end_entity) {
            return Self::check_own(end_entity, now);
        }
        let mut why = Error::InvalidCertificate(CertificateError::UnknownIssuer);
        for authority in authorities {
            let vouched = authority.verifier.verify_client_cert(end_entity, intermediates, now);
            match vouched.and_then(|_| Self::check_dates(&parsed(&authority.certificate)?, now)) {
                Ok(()) => return Ok(()),
                // That it is not this one's says less than what is wrong with one that is.
                Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {}
                Err(error) => why = error,
            }
        }
        Err(why)
    }

    /// What is asked of a certificate that is trusted as it is.
    fn check_own(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
        let parsed = parsed(certificate)?;
        Self::check_dates(&parsed, now)?;
        match parsed.extended_key_usage() {
            Ok(Some(usage)) if !usage.value.any && !usage.value.client_auth => {
                Err(Error::InvalidCertificate(CertificateError::InvalidPurpose))
            }
            _ => Ok(()),
        }
    }

    fn check_dates(certificate: &X509Certificate<'_>, now: UnixTime) -> Result<(), Error> {
        let bad = |why| Err(Error::InvalidCertificate(why));
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let validity = certificate.validity();
        if now < validity.not_before.timestamp() {
            return bad(CertificateError::NotValidYet);
        }
        if now > validity.not_after.timestamp() {
            return bad(CertificateError::Expired);
        }
        Ok(())
    }
}

impl fmt::Display for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.auth {
            ClientAuth::No => "no client certificates",
            ClientAuth::Request => "client certificates asked for",
            ClientAuth::RequireAny => "any client certificate required",
            ClientAuth::VerifyIfGiven => "client certificates verified if given",
            ClientAuth::RequireAndVerify => "verified client certificates required",
        })?;
        match &self.sans {
            Some(sans) if sans.len() == 1 => f.write_str(" (for one name)"),
            Some(sans) => write!(f, " (for one of {} names)", sans.len()),
            None => Ok(()),
        }
    }
}

impl ClientCertVerifier for Clients {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        self.auth.is_required()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if let Some(authorities) = &self.authorities {
            Self::check_authority(authorities, end_entity, intermediates, now)?;
        }
        self.check_name(end_entity)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn parsed<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, Error> {
    let parsed = X509Certificate::from_der(certificate).map(|(_, parsed)| parsed);
    parsed.map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))
}

/// The alternative names of a certificate that the toolkit looks at, in its notation.
fn names(certificate: &[u8]) -> Vec<String> {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return Vec::new() };
    let Ok(Some(extension)) = certificate.subject_alternative_name() else { return Vec::new() };
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(text) | GeneralName::RFC822Name(text) | GeneralName::URI(text) => {
            Some((*text).to_owned())
        }
        GeneralName::IPAddress(bytes) => address(bytes).map(|address| address.to_canonical().to_string()),
        _ => None,
    };
    extension.value.general_names.iter().filter_map(name).collect()
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}
