//! Rows of CSV files (RFC 4180).

use std::borrow::Cow;

/// A text as a cell: in quotes if it has what separates cells.
///
/// ```
/// use bitquake_record::csv::{cells, quoted};
/// assert_eq!(quoted("conv1.weight"), "conv1.weight");
/// let row = ["a,b", "say \"so\""].map(|cell| quoted(cell).into_owned()).join(",");
/// assert_eq!(cells(&row), ["a,b", "say \"so\""]);
/// ```
#[must_use]
pub fn quoted(text: &str) -> Cow<'_, str> {
    if text.contains([',', '"', '\n', '\r']) {
        Cow::Owned(format!("\"{}\"", text.replace('"', "\"\"")))
    } else {
        Cow::Borrowed(text)
    }
}

/// The cells of a row: [`quoted`] back.
#[must_use]
pub fn cells(row: &str) -> Vec<String> {
    let mut cells = vec![String::new()];
    let mut is_quoted = false;
    let mut rest = row.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '"' if is_quoted && rest.next_if_eq(&'"').is_some() => push(&mut cells, '"'),
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => cells.push(String::new()),
            c => push(&mut cells, c),
        }
    }
    cells
}

fn push(cells: &mut [String], c: char) {
    if let Some(cell) = cells.last_mut() {
        cell.push(c);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back() {
        for row in [&["a", "", "1.5"][..], &["with, comma", "say \"so\"", "\"\"", ","], &[""]] {
            let text: Vec<_> = row.iter().map(|cell| quoted(cell)).collect();
            assert_eq!(cells(&text.join(",")), row);
        }
    }
}
