//! Requests that the page of another site made a browser send.
//!
//! A browser sends them with whatever right the person in front of it has: the network that it is in, and the password
//! that it remembers. Only what changes something needs to care.

use hyper::header::{HOST, HeaderMap, ORIGIN};

/// Set by browsers, where the connection can be trusted, and by nobody's script.
const FETCH_SITE: &str = "sec-fetch-site";

/// Whether another site asks. What says nothing of where it comes from is no browser. The authority is that of the
/// request's address; HTTP/1 has it in the header `Host`.
pub(super) fn is_foreign(headers: &HeaderMap, authority: Option<&str>) -> bool {
    if let Some(site) = headers.get(FETCH_SITE) {
        return !["same-origin", "none"].iter().any(|own| site == own);
    }
    let Some(origin) = headers.get(ORIGIN) else { return false };
    let host = authority.or_else(|| headers.get(HOST)?.to_str().ok());
    // It may be "null", which is nobody's.
    let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    match (origin, host) {
        (Some((_, origin)), Some(host)) => !origin.eq_ignore_ascii_case(host),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn who_asks_is_told_by_what_browsers_say() {
        for (headers, authority, foreign) in [
            // curl, kubectl, a script.
            ("host: gw:10148", None, false),
            ("", Some("gw:10148"), false),
            ("host: gw:10148|sec-fetch-site: same-origin", None, false),
            ("host: gw:10148|sec-fetch-site: none", None, false),
            ("host: gw:10148|sec-fetch-site: same-site", None, true),
            ("host: gw:10148|sec-fetch-site: cross-site|origin: http://gw:10148", None, true),
            // A proxy may ask by another name.
            ("host: inner:10148|sec-fetch-site: same-origin|origin: https://outer", None, false),
            ("host: gw:10148|origin: http://gw:10148", None, false),
            ("host: GW:10148|origin: http://gw:10148", None, false),
            ("origin: https://gw:10148", Some("gw:10148"), false),
            ("host: gw:10148|origin: http://evil.example", None, true),
            ("host: gw:10148|origin: http://gw:80", None, true),
            ("host: gw:10148|origin: null", None, true),
            ("host: gw:10148|origin: ", None, true),
            ("origin: http://gw", None, true),
        ] {
            let pairs = headers.split('|').filter_map(|one| one.split_once(": "));
            let map: HeaderMap = pairs
                .map(|(name, value)| {
                    (name.parse::<HeaderName>().unwrap(), value.parse::<HeaderValue>().unwrap())
                })
                .collect();
            assert_eq!(is_foreign(&map, authority), foreign, "{headers}");
        }
    }
}
