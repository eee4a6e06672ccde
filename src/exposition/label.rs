//! Text within a line: labels, and what must be escaped.

/// Appends `name="value"`, the value escaped.
pub fn write_label(labels: &mut String, name: &str, value: &str) {
    labels.push_str(name);
    labels.push_str("=\"");
    escape(labels, value, true);
    labels.push('"');
}

/// The text of several labels, ready for [`super::Series::add`].
pub fn labels(pairs: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, value) in pairs {
        if !text.is_empty() {
            text.push(',');
        }
        write_label(&mut text, name, value);
    }
    text
}

/// Backslash and line feed are escaped everywhere; the quote in label values, and by OpenMetrics in help texts too.
pub(super) fn escape(into: &mut String, text: &str, quoted: bool) {
    let mut rest = text;
    while let Some(at) = rest.find(|character| matches!(character, '\\' | '\n') || quoted && character == '"')
    {
        let (plain, special) = rest.split_at(at);
        into.push_str(plain);
        into.push_str(match special.as_bytes().first() {
            Some(b'\\') => "\\\\",
            Some(b'\n') => "\\n",
            _ => "\\\"",
        });
        rest = special.get(1..).unwrap_or_default();
    }
    into.push_str(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_end_a_value_or_a_line_is_escaped() {
        assert_eq!(labels(&[]), "");
        assert_eq!(labels(&[("a", "")]), "a=\"\"");
        assert_eq!(labels(&[("a", "\"ü\\\n"), ("b", "x\"y")]), "a=\"\\\"ü\\\\\\n\",b=\"x\\\"y\"");
        let mut help = String::new();
        escape(&mut help, "a \"quote\"\n\\", false);
        assert_eq!(help, "a \"quote\"\\n\\\\");
    }
}
