//! A plot with what is said below it.

use serde::Serialize;

/// A plot for the page.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    /// The SVG element.
    pub(crate) svg: String,
    /// What must be known to read it, beyond the standing text; plain text.
    pub(crate) note: String,
}
