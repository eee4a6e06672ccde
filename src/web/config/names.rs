//! Go's names for what TLS is made of, and what rustls has of it.

use rustls::crypto::SupportedKxGroup;
use rustls::crypto::ring::{ALL_CIPHER_SUITES, kx_group};
use rustls::{SupportedCipherSuite, SupportedProtocolVersion, version};

use super::values::shown;

/// A version of TLS.
pub(super) type Version = &'static SupportedProtocolVersion;
/// A cipher suite.
pub(super) type Suite = SupportedCipherSuite;
/// A group to exchange keys in.
pub(super) type Group = &'static dyn SupportedKxGroup;

/// Whether clients show a certificate, and what is asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::web) enum ClientAuth {
    /// None is asked for.
    No,
    /// Any, if there is one.
    Request,
    /// Any.
    RequireAny,
    /// One of the authorities', if there is one.
    VerifyIfGiven,
    /// One of the authorities'.
    RequireAndVerify,
}

impl ClientAuth {
    pub(in crate::web) fn is_required(self) -> bool {
        matches!(self, Self::RequireAny | Self::RequireAndVerify)
    }

    pub(in crate::web) fn is_verified(self) -> bool {
        matches!(self, Self::VerifyIfGiven | Self::RequireAndVerify)
    }
}

/// What a `client_auth_type` is.
pub(super) fn client_auth(name: &str) -> Result<ClientAuth, String> {
    Ok(match name {
        "NoClientCert" => ClientAuth::No,
        "RequestClientCert" => ClientAuth::Request,
        // The toolkit's old name too.
        "RequireAnyClientCert" | "RequireClientCert" => ClientAuth::RequireAny,
        "VerifyClientCertIfGiven" => ClientAuth::VerifyIfGiven,
        "RequireAndVerifyClientCert" => ClientAuth::RequireAndVerify,
        _ => {
            return Err(format!(
                "invalid ClientAuth: {}; one of NoClientCert, RequestClientCert, RequireAnyClientCert, \
                 VerifyClientCertIfGiven, RequireAndVerifyClientCert",
                shown(name)
            ));
        }
    })
}

/// What a version is.
pub(super) fn version(name: &str) -> Result<Version, String> {
    match name {
        "TLS12" => Ok(&version::TLS12),
        "TLS13" => Ok(&version::TLS13),
        "TLS10" | "TLS11" => Err(format!("{name} is broken, and not served; take TLS12 or TLS13")),
        _ => Err(format!("unknown TLS version: {}; one of TLS12, TLS13", shown(name))),
    }
}

/// What a cipher suite is.
pub(super) fn suite(name: &str) -> Result<Suite, String> {
    let found = ALL_CIPHER_SUITES.iter().find(|suite| go_name(suite) == name);
    found.copied().ok_or_else(|| {
        let known: Vec<String> = ALL_CIPHER_SUITES.iter().map(go_name).collect();
        let known = known.join(", ");
        let lacking =
            name.starts_with("TLS_") && ["_CBC_", "_RC4_", "TLS_RSA_"].iter().any(|one| name.contains(one));
        if lacking {
            format!("{} is outdated, and not served; there are {known}", shown(name))
        } else {
            format!("unknown cipher: {}; there are {known}", shown(name))
        }
    })
}

/// Go calls those of TLS 1.3 what the standard calls them.
fn go_name(suite: &Suite) -> String {
    let name = suite.suite().as_str().unwrap_or_default();
    name.replacen("TLS13_", "TLS_", 1)
}

/// What a curve is.
pub(super) fn group(name: &str) -> Result<Group, String> {
    match name {
        "X25519" => Ok(kx_group::X25519),
        "CurveP256" => Ok(kx_group::SECP256R1),
        "CurveP384" => Ok(kx_group::SECP384R1),
        "CurveP521" => Err(format!("{name} is not served; take X25519, CurveP256 or CurveP384")),
        _ => Err(format!("unknown curve: {}; there are X25519, CurveP256, CurveP384", shown(name))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_go_s() {
        for name in [
            "TLS_AES_128_GCM_SHA256",
            "TLS_AES_256_GCM_SHA384",
            "TLS_CHACHA20_POLY1305_SHA256",
            "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
            "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
            "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
            "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
            "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        ] {
            assert!(suite(name).is_ok(), "{name}");
        }
        assert_eq!(ALL_CIPHER_SUITES.len(), 9);
    }
}
