//! How the curves of a plot are told apart, and the legend that says so.

use crate::plot::{Anchor, Mark, Svg, text_width};

/// Height of a row of the legend.
pub(crate) const LEGEND_ROW: f64 = 22.0;
/// Symbols of the curves, in their order, again from the first after the last.
const MARKS: [Mark; 5] = [Mark::Circle, Mark::Square, Mark::Diamond, Mark::Up, Mark::Down];
/// Colours, the same way; once all are taken, lines are dashed.
const COLOURS: usize = 6;
/// Curves that look different.
pub(crate) const MOST_CURVES: usize = 2 * COLOURS;

/// The entries of a legend, in rows that fit a width: curves by their place, with their names.
pub(crate) fn legend_rows<'a>(names: impl Iterator<Item = &'a str>, most: f64) -> Vec<Vec<(usize, &'a str)>> {
    let mut rows: Vec<Vec<(usize, &str)>> = vec![Vec::new()];
    let mut width = 0.0;
    for (place, name) in names.enumerate() {
        let needed = entry_width(name);
        if width + needed > most && width > 0.0 {
            rows.push(Vec::new());
            width = 0.0;
        }
        width += needed;
        rows.last_mut().into_iter().for_each(|row| row.push((place, name)));
    }
    rows
}

/// How a curve looks.
pub(crate) struct Style {
    pub(crate) mark: Mark,
    /// CSS classes.
    pub(crate) mark_class: String,
    pub(crate) line: String,
}

impl Style {
    pub(crate) fn of(curve: usize) -> Self {
        let colour = curve % COLOURS;
        let dashed = if curve < COLOURS { "" } else { " dashed" };
        Self {
            mark: MARKS[curve % MARKS.len()],
            mark_class: format!("series{colour}"),
            line: format!("series-line{colour}{dashed}"),
        }
    }
}

fn entry_width(name: &str) -> f64 {
    30.0 + text_width(name) + 16.0
}

/// Draws a row of the legend.
pub(crate) fn draw_legend(svg: &mut Svg, from: f64, y: f64, entries: &[(usize, &str)]) {
    let mut x = from;
    for (curve, name) in entries {
        let style = Style::of(*curve);
        svg.line(&style.line, (x, y), (x + 22.0, y));
        svg.mark(&style.mark_class, style.mark, (x + 11.0, y), None);
        svg.text("legend", (x + 30.0, y + 4.0), Anchor::Start, name);
        x += entry_width(name);
    }
}
