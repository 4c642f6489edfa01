//! Cells of CSV files.

use std::fmt::Display;

/// A value, or an empty cell.
pub(crate) fn or_empty(value: Option<impl Display>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}
