//! What a value of the file means, as Go reads it.

use std::time::Duration;

use super::yaml::{Node, Value};

/// Text; what is not quoted may look like a number.
pub(super) fn text(node: &Node) -> Result<String, String> {
    match &node.value {
        // Nothing is the empty text.
        _ if node.is_null() => Ok(String::new()),
        Value::Scalar { text, .. } => Ok(text.clone()),
        _ => Err(format!("it is {}, where text belongs", node.kind())),
    }
}

/// A truth value, as YAML 1.1 has it; none if nothing is said.
pub(super) fn truth(node: &Node) -> Result<Option<bool>, String> {
    let refuse = |shown: &str| Err(format!("{shown} is neither true nor false"));
    match &node.value {
        _ if node.is_null() => Ok(None),
        Value::Scalar { text, quoted: false } => match text.as_str() {
            "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
                Ok(Some(true))
            }
            "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
                Ok(Some(false))
            }
            other => refuse(&shown(other)),
        },
        Value::Scalar { text, quoted: true } => refuse(&format!("the text {}", shown(text))),
        _ => refuse(node.kind()),
    }
}

/// Most texts in a list, and most bytes of each: aliases make many out of few, and all of them are copied.
const MOST_TEXTS: usize = 1000;
const MOST_TEXT_BYTES: usize = 4096;

/// A list of texts; none if nothing is said.
pub(super) fn texts(node: &Node) -> Result<Option<Vec<(usize, String)>>, String> {
    let short = |item: &Node| match &item.value {
        Value::Scalar { text, .. } if text.len() > MOST_TEXT_BYTES => {
            Err(format!("{} is longer than {MOST_TEXT_BYTES} bytes", shown(text)))
        }
        _ => text(item),
    };
    match &node.value {
        _ if node.is_null() => Ok(None),
        Value::List(items) if items.len() > MOST_TEXTS => {
            Err(format!("it has {} values, and may have {MOST_TEXTS}", items.len()))
        }
        Value::List(items) => items
            .iter()
            .map(|item| short(item).map(|text| (item.line, text)))
            .collect::<Result<_, _>>()
            .map(Some),
        _ => Err(format!("it is {}, where a list belongs: [one, another]", node.kind())),
    }
}

/// A whole number that is not negative, as YAML 1.1 writes them: one that begins with 0 is octal.
pub(super) fn count(node: &Node) -> Result<u32, String> {
    let text = text(node)?;
    let plain = text.replace('_', "");
    let plain = plain.strip_prefix('+').unwrap_or(&plain);
    let (radix, digits) = match plain.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &plain[2..]),
        [b'0', b'o' | b'O', ..] => (8, &plain[2..]),
        [b'0', b'b' | b'B', ..] => (2, &plain[2..]),
        [b'0', _, ..] => (8, &plain[1..]),
        _ => (10, plain),
    };
    // A second sign would be taken too.
    let number = u32::from_str_radix(digits, radix).ok().filter(|_| !digits.starts_with('+'));
    number.ok_or_else(|| format!("{} is not a whole number up to {}", shown(&text), u32::MAX))
}

/// A duration as Go writes it: 1s, 100ms, 1h30m.
pub(super) fn duration(node: &Node) -> Result<Duration, String> {
    let text = text(node)?;
    let refuse = |why: &str| format!("{} {why}; write it like 1s, 100ms or 1m30s", shown(&text));
    if text.parse() == Ok(0) {
        return Ok(Duration::ZERO);
    }
    if text.parse::<f64>().is_ok() {
        return Err(refuse("has no unit"));
    }
    if text.starts_with('-') {
        return Err(refuse("is negative"));
    }
    let mut rest = text.strip_prefix('+').unwrap_or(&text);
    let mut seconds = 0.0;
    loop {
        let unit = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let next =
            rest[unit..].find(|c: char| c.is_ascii_digit() || c == '.').map_or(rest.len(), |n| unit + n);
        let number: f64 = rest[..unit].parse().map_err(|_| refuse("is not a duration"))?;
        let factor = match &rest[unit..next] {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(refuse("is not a duration")),
        };
        seconds += number * factor;
        rest = &rest[next..];
        if rest.is_empty() {
            break;
        }
    }
    // As long as Go's.
    let longest = Duration::from_nanos(i64::MAX.unsigned_abs());
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|one| *one <= longest)
        .ok_or_else(|| refuse("is too long"))
}

/// The name of a file in a message, escaped and cut as [`shown`] does it, without quotes.
pub(super) fn name(path: &str) -> String {
    const MOST: usize = 200;
    let name: String = path.chars().take(MOST).collect();
    name.escape_debug().to_string()
}

/// A value of the file in a message: what a terminal acts on is escaped, and what is long is cut.
pub(super) fn shown(text: &str) -> String {
    const MOST: usize = 60;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("\"{}…\"", text[..end].escape_debug()),
        None => format!("\"{}\"", text.escape_debug()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(text: &str) -> Node {
        Node { line: 1, value: Value::Scalar { text: text.to_owned(), quoted: false } }
    }

    #[test]
    fn durations_are_go_s() {
        for (text, milliseconds) in [
            ("1s", 1_000),
            ("100ms", 100),
            ("1h30m", 5_400_000),
            ("1.5s", 1_500),
            ("0", 0),
            ("+2m", 120_000),
            (".5s", 500),
        ] {
            assert_eq!(duration(&node(text)), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        assert_eq!(duration(&node("1us")), Ok(Duration::from_micros(1)));
        for (text, part) in [
            ("1", "no unit"),
            ("-1s", "negative"),
            ("soon", "not a duration"),
            ("1d", "not a duration"),
            ("", "not a duration"),
            ("1s1", "not a duration"),
            ("9999999999999999999999h", "too long"),
        ] {
            let error = duration(&node(text)).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn a_list_is_not_many_times_as_long_as_its_file() {
        let list = |items: usize, bytes: usize| {
            let one = std::rc::Rc::new(node(&"x".repeat(bytes)));
            texts(&Node { line: 1, value: Value::List(vec![one; items]) })
        };
        assert_eq!(list(MOST_TEXTS, MOST_TEXT_BYTES).unwrap().unwrap().len(), MOST_TEXTS);
        assert!(list(MOST_TEXTS + 1, 1).unwrap_err().contains("it has 1001 values"));
        let error = list(1, MOST_TEXT_BYTES + 1).unwrap_err();
        assert!(error.contains("longer than 4096 bytes") && error.len() < 200, "{error}");
    }

    #[test]
    fn counts_are_yaml_1_1_s() {
        for (text, expected) in [
            ("20", Some(20)),
            ("+1_000", Some(1000)),
            ("0", Some(0)),
            ("010", Some(8)),
            ("0x10", Some(16)),
            ("0o10", Some(8)),
            ("0b10", Some(2)),
            ("08", None),
            ("0x", None),
            ("0x+1", None),
            ("++1", None),
            ("0é", None),
            ("-1", None),
            ("", None),
            ("4294967296", None),
        ] {
            assert_eq!(count(&node(text)).ok(), expected, "{text}");
        }
    }

    #[test]
    fn truth_is_yaml_1_1_s() {
        for (text, expected) in
            [("true", Some(true)), ("off", Some(false)), ("Yes", Some(true)), ("", None), ("~", None)]
        {
            assert_eq!(truth(&node(text)), Ok(expected), "{text}");
        }
        assert!(truth(&node("1")).is_err());
    }

    #[test]
    fn what_is_shown_is_short_and_harmless() {
        assert_eq!(shown("a\x1bb"), "\"a\\u{1b}b\"");
        assert_eq!(shown(&"é".repeat(100)).chars().count(), 63);
        assert_eq!(name("/etc/a\x1b.pem"), "/etc/a\\u{1b}.pem");
        assert_eq!(name(&"é".repeat(300)).chars().count(), 200);
    }
}
