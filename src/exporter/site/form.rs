//! The coding of names and values behind the `?` of an address (application/x-www-form-urlencoded).

/// The pairs of a query, decoded: in order, and whatever was sent. What is not UTF-8 becomes U+FFFD.
pub(super) fn pairs(query: &str) -> impl Iterator<Item = (String, String)> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(name), decode(value))
    })
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        bytes.push(match (first, tail) {
            (b'+', _) => b' ',
            (b'%', [high, low, tail @ ..]) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => {
                    rest = tail;
                    high << 4 | low
                }
                _ => b'%',
            },
            (byte, _) => *byte,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// Appends a pair to a query.
pub(super) fn push_pair(query: &mut String, name: &str, value: &str) {
    if !query.is_empty() {
        query.push('&');
    }
    encode(query, name);
    query.push('=');
    encode(query, value);
}

fn encode(query: &mut String, text: &str) {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    for byte in text.bytes() {
        match byte {
            // A colon may stand there, and addresses stay readable.
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b':' => {
                query.push(byte.into());
            }
            _ => query.extend(['%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_browsers_send_is_understood() {
        for (query, expected) in [
            ("", &[][..]),
            ("&&", &[]),
            ("q=a+b%20c", &[("q", "a b c")]),
            ("q=%c3%BC&q", &[("q", "ü"), ("q", "")]),
            ("a=b=c", &[("a", "b=c")]),
            ("100%=%4&%zz=%", &[("100%", "%4"), ("%zz", "%")]),
            ("q=%ff", &[("q", "\u{fffd}")]),
        ] {
            let found: Vec<_> = pairs(query).collect();
            let found: Vec<_> = found.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            assert_eq!(found, expected, "{query}");
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded_again(sent in proptest::collection::vec(("\\PC{1,8}", "(?s).{0,20}"), 0..5)) {
            let mut query = String::new();
            for (name, value) in &sent {
                push_pair(&mut query, name, value);
            }
            prop_assert!(query.is_ascii() && !query.contains(['"', '<', ' ', '#', '\'']));
            prop_assert_eq!(pairs(&query).collect::<Vec<_>>(), sent);
        }

        #[test]
        fn nothing_is_too_odd(query in "[%&=+0-9a-z\\PC]{0,60}") {
            pairs(&query).for_each(drop);
        }
    }
}
