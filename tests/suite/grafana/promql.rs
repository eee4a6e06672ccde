//! The selectors of a PromQL expression. That it is PromQL at all, a real Prometheus says: this reads what that takes,
//! and little enough that a crate for it, and the forty that it brings, would be out of proportion.

/// Which series an expression asks for, and what it does with them first.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Selector {
    pub(super) name: String,
    /// What stands in its braces.
    pub(super) matchers: String,
    /// What stands in its brackets.
    pub(super) range: Option<String>,
    /// The function or aggregation around it, empty if there is none.
    pub(super) function: String,
}

/// What is followed by a list of labels in parentheses.
const LISTS: &[&str] = &["by", "without", "on", "ignoring", "group_left", "group_right"];
const WORDS: &[&str] = &["and", "or", "unless", "bool", "offset", "inf", "nan"];

fn word(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_:$".contains(c)
}

/// The text up to what ends a group that has just begun, and the rest behind that. Quotes hide.
fn group(text: &str, open: char, close: char) -> (&str, &str) {
    let (mut depth, mut quoted, mut escaped) = (1, false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if quoted => {}
            _ if c == open => depth += 1,
            _ if c == close => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return (&text[..at], &text[at + c.len_utf8()..]);
        }
    }
    panic!("nothing ends with {close}: {text}");
}

/// What is behind a text in quotes that has just begun.
fn unquoted(text: &str) -> &str {
    let mut escaped = false;
    let end = text.find(|c| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    });
    &text[end.unwrap() + 1..]
}

/// All selectors, in their order.
pub(super) fn selectors(expression: &str) -> Vec<Selector> {
    let (mut found, mut around, mut before) = (Vec::new(), Vec::new(), String::new());
    let mut rest = expression;
    while let Some(c) = rest.chars().next() {
        let behind = &rest[c.len_utf8()..];
        rest = behind;
        match c {
            '"' => rest = unquoted(behind),
            '[' => (_, rest) = group(behind, '[', ']'),
            '(' if LISTS.contains(&before.as_str()) => {
                (_, rest) = group(behind, '(', ')');
                before.clear();
            }
            '(' => around.push(std::mem::take(&mut before)),
            ')' => drop(around.pop()),
            _ if word(c) => {
                // A variable may be part of a name.
                let text = format!("{c}{behind}");
                let mut end = 0;
                while let Some(next) = text[end..].chars().next() {
                    if text[end..].starts_with("${") {
                        end += text[end..].find('}').unwrap() + 1;
                    } else if word(next) {
                        end += next.len_utf8();
                    } else {
                        break;
                    }
                }
                let name = &text[..end];
                rest = &behind[end - c.len_utf8()..];
                name.clone_into(&mut before);
                let next = rest.trim_start();
                let called = ["(", "by (", "without ("].iter().any(|start| next.starts_with(start));
                if called || WORDS.contains(&name) || LISTS.contains(&name) || c.is_ascii_digit() || c == '$'
                {
                    continue;
                }
                let mut selector = Selector { name: name.to_owned(), ..Selector::default() };
                selector.function = around.last().cloned().unwrap_or_default();
                if let Some(behind) = rest.strip_prefix('{') {
                    let (matchers, behind) = group(behind, '{', '}');
                    (selector.matchers, rest) = (matchers.to_owned(), behind);
                }
                if let Some(behind) = rest.strip_prefix('[') {
                    let (range, behind) = group(behind, '[', ']');
                    (selector.range, rest) = (Some(range.to_owned()), behind);
                }
                found.push(selector);
                before.clear();
            }
            ' ' | '\n' => {}
            _ => before.clear(),
        }
    }
    found
}

#[test]
fn selectors_are_found_with_what_is_around_them() {
    let found = selectors(
        "label_replace(sum by (a, b) (rate(x_${by}_total{c=~\"}[\\\"${d}\"}[$__range])), \"e\", \"$1\", \"f\", \"(.+)\") \
         * on (g) group_left () (h > bool 0) unless up{i=\"j\"} == 1e3 or time() - 60 > -inf",
    );
    let selector = |name: &str, matchers: &str, range: Option<&str>, function: &str| Selector {
        name: name.to_owned(),
        matchers: matchers.to_owned(),
        range: range.map(str::to_owned),
        function: function.to_owned(),
    };
    let expected = [
        selector("x_${by}_total", "c=~\"}[\\\"${d}\"", Some("$__range"), "rate"),
        selector("h", "", None, ""),
        selector("up", "i=\"j\"", None, ""),
    ];
    assert_eq!(found, expected);
}
