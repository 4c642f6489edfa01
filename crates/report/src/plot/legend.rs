//! What the symbols mean, in one row.

use super::{Anchor, Mark, Svg, text_width};

/// Draws symbols with their meaning from `x` to the right, centred on the height `y`.
pub(crate) fn legend(svg: &mut Svg, x: f64, y: f64, entries: &[(Mark, &str, &str)]) {
    let mut x = x;
    for (mark, class, text) in entries {
        svg.mark(class, *mark, (x + 9.0, y), None);
        svg.text("legend", (x + 24.0, y + 4.0), Anchor::Start, text);
        x += 24.0 + text_width(text) + 16.0;
    }
}
