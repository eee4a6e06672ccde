//! HTML, written so that nothing from a wire or a file can become markup.
//!
//! Markup is what stands in this program's source: it takes a `&'static str`. Everything else goes through
//! [`Html::text`] or [`Html::attribute`], which escape it; there is no third way.

use std::fmt::{self, Display, Write as _};
use std::io::{self, Write};

/// A page on its way out. What goes wrong is kept until the end; nothing is written after it.
pub(super) struct Html<'a> {
    out: &'a mut dyn Write,
    result: io::Result<()>,
    /// Where text is made before it is escaped into `escaped`.
    escaped: String,
}

impl<'a> Html<'a> {
    pub(super) fn new(out: &'a mut dyn Write) -> Self {
        Self { out, result: Ok(()), escaped: String::new() }
    }

    /// Writes markup of our own.
    pub(super) fn markup(&mut self, markup: &'static str) -> &mut Self {
        if self.result.is_ok() {
            self.result = self.out.write_all(markup.as_bytes());
        }
        self
    }

    /// Writes anything, as text.
    pub(super) fn text(&mut self, text: impl Display) -> &mut Self {
        self.escaped.clear();
        // Writing to a String cannot fail; a Display that does has written what it could.
        let _ = write!(Escaping(&mut self.escaped), "{text}");
        if self.result.is_ok() {
            self.result = self.out.write_all(self.escaped.as_bytes());
        }
        self
    }

    /// Writes an attribute, with the space before it.
    pub(super) fn attribute(&mut self, name: &'static str, value: impl Display) -> &mut Self {
        self.markup(" ").markup(name).markup("=\"").text(value).markup("\"")
    }

    /// Writes an attribute that has no value, if it applies.
    pub(super) fn flag(&mut self, name: &'static str, applies: bool) -> &mut Self {
        if applies { self.markup(" ").markup(name) } else { self }
    }

    /// Writes text between these tags.
    pub(super) fn element(
        &mut self,
        open: &'static str,
        text: impl Display,
        close: &'static str,
    ) -> &mut Self {
        self.markup(open).text(text).markup(close)
    }

    /// How it went.
    pub(super) fn finish(self) -> io::Result<()> {
        self.result
    }
}

impl fmt::Debug for Html<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Html").field("result", &self.result).finish_non_exhaustive()
    }
}

/// Takes text for content and for quoted attributes. Characters that no document may hold become U+FFFD.
struct Escaping<'a>(&'a mut String);

impl fmt::Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            match character {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                '\t' | '\n' => self.0.push(character),
                other if other.is_control() => self.0.push('\u{fffd}'),
                other => self.0.push(other),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(write: impl FnOnce(&mut Html<'_>)) -> String {
        let mut out = Vec::new();
        let mut html = Html::new(&mut out);
        write(&mut html);
        html.finish().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn text_stays_text() {
        let page = written(|html| {
            html.markup("<a").attribute("href", "./?q=\"><script>'&").markup(">");
            html.text("<b>\u{0}&amp;").markup("</a>");
        });
        assert_eq!(
            page,
            "<a href=\"./?q=&quot;&gt;&lt;script&gt;&#39;&amp;\">&lt;b&gt;\u{fffd}&amp;amp;</a>"
        );
    }

    #[test]
    fn an_error_is_kept_and_ends_it() {
        let mut room = [0; 4];
        let mut out = &mut room[..];
        let mut html = Html::new(&mut out);
        html.markup("<p>").text("more than four").markup("</p>");
        assert!(html.finish().is_err());
    }

    proptest! {
        #[test]
        fn nothing_gets_out_of_its_quotes(text in "(?s)[<>\"'&\\PC].{0,30}") {
            let page = written(|html| { html.text(&text); });
            prop_assert!(!page.contains(['<', '>', '"', '\'', '\0']));
            let back = page
                .replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&#39;", "'")
                .replace("&amp;", "&");
            let harmless: String = text
                .chars()
                .map(|c| if c.is_control() && !matches!(c, '\t' | '\n') { '\u{fffd}' } else { c })
                .collect();
            prop_assert_eq!(back, harmless);
        }
    }
}
