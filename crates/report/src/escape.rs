//! Text from records, which may come from anyone, made safe for a page.

use minijinja::value::Value;
use minijinja::{AutoEscape, Error, Output, State, escape_formatter};

/// Text that cannot be taken for markup, neither between tags nor within a quoted attribute.
pub(crate) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

/// Writes a value into a template, escaped unless the template says otherwise. Unlike the library's own way it leaves slashes
/// as they are, so that paths and commands can be read, and found, in the page's source too.
pub(crate) fn write_escaped(
    out: &mut Output<'_>,
    state: &mut State<'_, '_>,
    value: &Value,
) -> Result<(), Error> {
    match value.as_str() {
        Some(text) if !value.is_safe() && matches!(state.auto_escape(), AutoEscape::Html) => {
            Ok(out.write_str(&escaped(text))?)
        }
        _ => escape_formatter(out, state, value),
    }
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn markup_becomes_text() {
        let cases =
            [("plain/text", "plain/text"), ("<b>&\"'", "&lt;b&gt;&amp;&quot;&#39;"), ("&amp;", "&amp;amp;")];
        for (text, safe) in cases {
            assert_eq!(escaped(text), safe);
        }
    }
}
