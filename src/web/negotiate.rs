//! Choosing what a client likes best: a media type (RFC 9110, 12.5.1) and a content coding (12.5.3).

use hyper::HeaderMap;
use hyper::header::{ACCEPT, ACCEPT_ENCODING};

/// A form in which the metrics page can be had.
#[derive(Clone, Copy, Debug)]
pub struct Offer {
    /// Type and subtype.
    pub media: &'static str,
    /// Its parameter `version`.
    pub version: &'static str,
    /// All of it, as `Content-Type` tells it.
    pub content_type: &'static str,
}

/// How well a clause of `Accept` fits an offer; the best one speaks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    Anything,
    Type,
    Media,
    Version,
}

/// Which of the offers to make: the one that the client likes best among those that it names; the first when that
/// is liked as well, also by a wildcard, and when nothing makes sense. Nobody is refused.
///
/// Clauses that name a version fit that version alone. Other parameters, such as Prometheus' `escaping`, say nothing
/// that would make a difference to names like ours.
pub(super) fn offer(headers: &HeaderMap, offers: &[Offer]) -> usize {
    let clauses =
        || headers.get_all(ACCEPT).iter().flat_map(|value| value.to_str().unwrap_or_default().split(','));
    let (mut chosen, mut best) = (0, 0);
    for (n, offer) in offers.iter().enumerate() {
        let least = if n == 0 { Fit::Anything } else { Fit::Media };
        let fitting = clauses().filter_map(|clause| fit(clause, offer)).filter(|(fit, _)| *fit >= least);
        let quality = fitting.max().map_or(0, |(_, quality)| quality);
        if quality > best {
            (chosen, best) = (n, quality);
        }
    }
    chosen
}

/// How well a clause fits, and how much it likes what fits; none if it does not.
fn fit(clause: &str, offer: &Offer) -> Option<(Fit, u16)> {
    let mut parts = clause.split(';').map(str::trim);
    let media = parts.next()?.to_ascii_lowercase();
    let version = parts.clone().find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.eq_ignore_ascii_case("version").then_some(value.trim_matches('"'))
    });
    let fit = match (media.as_str(), version) {
        ("*/*", None) => Fit::Anything,
        (media, None) if media == offer.media => Fit::Media,
        (media, Some(version)) if media == offer.media && version == offer.version => Fit::Version,
        (media, None) if media.strip_suffix('*').is_some_and(|kind| offer.media.starts_with(kind)) => {
            Fit::Type
        }
        _ => return None,
    };
    Some((fit, quality(parts)))
}

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

    const OFFERS: [Offer; 2] = [
        Offer { media: "text/plain", version: "0.0.4", content_type: "" },
        Offer { media: "application/openmetrics-text", version: "1.0.0", content_type: "" },
    ];

    fn chosen(accept: &[&str]) -> usize {
        let mut headers = HeaderMap::new();
        for value in accept {
            headers.append(ACCEPT, HeaderValue::from_str(value).unwrap());
        }
        offer(&headers, &OFFERS)
    }

    /// What these send by default.
    const PROMETHEUS: [(&str, &str, usize); 8] = [
        (
            "1.8",
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.7,text/plain;version=0.0.4;q=0.3,*/*;q=0.1",
            0,
        ),
        ("2.0", "text/plain;version=0.0.4;q=1,*/*;q=0.1", 0),
        ("2.5", "application/openmetrics-text; version=0.0.1,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", 0),
        (
            "2.42",
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            1,
        ),
        (
            "2.53, native histograms",
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.5,application/openmetrics-text;version=1.0.0;q=0.4,application/openmetrics-text;version=0.0.1;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
            1,
        ),
        (
            "3",
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            1,
        ),
        (
            "3, underscores",
            "application/openmetrics-text;version=1.0.0;escaping=underscores;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=underscores;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
            1,
        ),
        (
            "3, text first",
            "text/plain;version=0.0.4;q=0.6,application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,*/*;q=0.2",
            0,
        ),
    ];

    #[test]
    fn prometheus_gets_what_it_likes_best() {
        for (version, accept, expected) in PROMETHEUS {
            assert_eq!(chosen(&[accept]), expected, "{version}");
        }
    }

    #[test]
    fn what_is_named_and_liked_better_wins_and_the_first_otherwise() {
        for (accept, expected) in [
            (&[][..], 0),
            (&[""], 0),
            (&["*/*"], 0),
            (&["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"], 0),
            (&["application/json"], 0),
            (&["application/*"], 0),
            (&["application/openmetrics-text"], 1),
            (&["application/openmetrics-text, text/plain"], 0),
            (&["application/openmetrics-text;q=0.9, */*;q=0.9"], 0),
            (&["application/openmetrics-text;q=0.9, text/*;q=0.8, */*"], 1),
            (&["Application/OpenMetrics-Text; Version=\"1.0.0\"; Q=0.2"], 1),
            (&["text/plain;q=0.1", "application/openmetrics-text;q=0.2"], 1),
            (&["application/openmetrics-text;version=2.0.0"], 0),
            (&["application/openmetrics-text;version=0.0.1"], 0),
            (&["application/openmetrics-text;q=0"], 0),
            (&["application/openmetrics-text;version=1.0.0;q=0, application/openmetrics-text"], 0),
            (&["text/plain;version=1.0.0, application/openmetrics-text;q=0.1"], 1),
            (&["text/plain;q=0, application/openmetrics-text;q=0.1, */*"], 1),
            (&["text/*;q=0.1, application/openmetrics-text;q=0.2"], 1),
        ] {
            assert_eq!(chosen(accept), expected, "{accept:?}");
        }
    }

    proptest! {
        #[test]
        fn no_header_is_too_odd(accept in "[ -~]{0,60}") {
            choose(&[&accept]);
            prop_assert!(chosen(&[&accept]) < OFFERS.len());
        }
    }
}
