//! Choosing a content coding (RFC 9110, 12.5.3).

use hyper::HeaderMap;
use hyper::header::ACCEPT_ENCODING;

/// How a body is coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    /// As it is.
    Identity,
    /// RFC 1952.
    Gzip,
}

/// The coding that the client likes best; the plain one when it has no preference, or one that makes no
/// sense.
pub(super) fn coding(headers: &HeaderMap) -> Coding {
    // Absent: RFC 9110 allows any, and a person with curl wants to read.
    let (mut gzip, mut identity, mut any) = (None, None, None);
    for value in headers.get_all(ACCEPT_ENCODING) {
        for clause in value.to_str().unwrap_or_default().split(',') {
            let mut parts = clause.split(';').map(str::trim);
            let place = match parts.next().unwrap_or_default().to_ascii_lowercase().as_str() {
                "gzip" | "x-gzip" => &mut gzip,
                "identity" => &mut identity,
                "*" => &mut any,
                _ => continue,
            };
            *place = Some(quality(parts));
        }
    }
    let gzip = gzip.or(any).unwrap_or(0);
    // Identity is always fair unless ruled out; gzip wins a tie that the client asked for.
    let identity = identity.unwrap_or(0);
    if gzip > 0 && gzip >= identity { Coding::Gzip } else { Coding::Identity }
}

/// The `q` parameter in thousandths; 1000 without one, 0 for one that is malformed.
fn quality<'a>(mut parameters: impl Iterator<Item = &'a str>) -> u16 {
    let Some(value) = parameters.find_map(|p| p.strip_prefix("q=").or_else(|| p.strip_prefix("Q="))) else {
        return 1000;
    };
    let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
    let digits = fraction.len() <= 3 && fraction.bytes().all(|byte| byte.is_ascii_digit());
    match (whole, digits) {
        ("0", true) => format!("{fraction:0<3}").parse().unwrap_or(0),
        ("1", true) if fraction.bytes().all(|byte| byte == b'0') => 1000,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn choose(accept: &[&str]) -> Coding {
        let mut headers = HeaderMap::new();
        for value in accept {
            headers.append(ACCEPT_ENCODING, HeaderValue::from_str(value).unwrap());
        }
        coding(&headers)
    }

    #[test]
    fn gzip_when_it_is_liked() {
        for accept in [
            &["gzip"][..],
            &["deflate, gzip;q=1.0, *;q=0.5"],
            &["GZIP;Q=0.001"],
            &["*"],
            &["br", "gzip;q=0.5"],
            &["identity;q=0.3, gzip;q=0.3"],
            &["gzip ; q=0.8"],
        ] {
            assert_eq!(choose(accept), Coding::Gzip, "{accept:?}");
        }
    }

    #[test]
    fn plain_otherwise() {
        for accept in [
            &[][..],
            &[""],
            &["identity"],
            &["gzip;q=0"],
            &["gzip;q=0.000, *"],
            &["gzip;q=0.5, identity;q=0.6"],
            &["br, zstd"],
            &["gzip;q=banana"],
            &["gzip;q=1.5"],
            &["gzip;q=0.1234"],
            &["gzipped"],
        ] {
            assert_eq!(choose(accept), Coding::Identity, "{accept:?}");
        }
    }

    proptest! {
        #[test]
        fn no_header_is_too_odd(accept in "[ -~]{0,60}") {
            choose(&[&accept]);
        }
    }
}
