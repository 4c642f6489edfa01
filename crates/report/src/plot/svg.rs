//! Writing SVG.

use std::fmt::Write;

use crate::escape::escaped;

/// A picture being drawn.
#[derive(Debug)]
pub(crate) struct Svg {
    id: String,
    width: f64,
    height: f64,
    title: String,
    description: String,
    body: String,
}

/// Where a text stands relative to its point.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

/// A symbol. Series differ in shape, not in colour alone.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mark {
    Dot,
    Circle,
    Square,
    Diamond,
    /// Pointing up.
    Up,
    /// Pointing down, and hollow by its class.
    Down,
    Band,
    Line,
    Bar,
}

impl Svg {
    /// An empty picture. `id` must be unique within the page; title and description are for those who cannot see it.
    pub(crate) fn new(
        id: impl Into<String>,
        width: f64,
        height: f64,
        title: &str,
        description: &str,
    ) -> Self {
        Self {
            id: id.into(),
            width,
            height,
            title: escaped(title),
            description: escaped(description),
            body: String::new(),
        }
    }

    pub(crate) fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        let ((x1, y1), (x2, y2)) = (from, to);
        let (x1, y1, x2, y2) = (px(x1), px(y1), px(x2), px(y2));
        self.put(format_args!(r#"<line class="{class}" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>"#));
    }

    pub(crate) fn rect(&mut self, class: &str, corner: (f64, f64), size: (f64, f64), hint: Option<&str>) {
        let (x, y, width, height) = (px(corner.0), px(corner.1), px(size.0.max(0.0)), px(size.1.max(0.0)));
        let start = format!(r#"<rect class="{class}" x="{x}" y="{y}" width="{width}" height="{height}""#);
        self.hinted(&start, "rect", hint);
    }

    pub(crate) fn text(&mut self, class: &str, at: (f64, f64), anchor: Anchor, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let (x, y, text) = (px(at.0), px(at.1), escaped(text));
        self.put(format_args!(
            r#"<text class="{class}" x="{x}" y="{y}" text-anchor="{anchor}">{text}</text>"#
        ));
    }

    /// A text that reads upwards, centred on its point.
    pub(crate) fn upward_text(&mut self, class: &str, at: (f64, f64), text: &str) {
        let (x, y, text) = (px(at.0), px(at.1), escaped(text));
        self.put(format_args!(
            r#"<text class="{class}" transform="translate({x} {y}) rotate(-90)" text-anchor="middle">{text}</text>"#
        ));
    }

    /// Straight lines through points.
    pub(crate) fn polyline(&mut self, class: &str, points: &[(f64, f64)]) {
        self.put(format_args!(r#"<polyline class="{class}" points="{}"/>"#, coordinates(points)));
    }

    /// The area within points.
    pub(crate) fn polygon(&mut self, class: &str, points: &[(f64, f64)]) {
        self.put(format_args!(r#"<polygon class="{class}" points="{}"/>"#, coordinates(points)));
    }

    /// Many dots as one path: segments of no length, which round line ends turn into dots.
    pub(crate) fn dots(&mut self, class: &str, points: impl Iterator<Item = (f64, f64)>) {
        let mut path = String::new();
        for (x, y) in points {
            let _ = write!(path, "M{} {}h0", px(x), px(y));
        }
        self.put(format_args!(r#"<path class="{class}" d="{path}"/>"#));
    }

    /// A symbol, with a text that appears when the pointer rests on it.
    pub(crate) fn mark(&mut self, class: &str, mark: Mark, at: (f64, f64), hint: Option<&str>) {
        let (x, y) = at;
        match mark {
            Mark::Dot => self.dots(class, std::iter::once(at)),
            Mark::Circle => {
                let start = format!(r#"<circle class="{class}" cx="{}" cy="{}" r="4.5""#, px(x), px(y));
                self.hinted(&start, "circle", hint);
            }
            Mark::Square => self.rect(class, (x - 4.0, y - 4.0), (8.0, 8.0), hint),
            Mark::Diamond => {
                self.shape(class, &[(x, y - 7.0), (x + 6.0, y), (x, y + 7.0), (x - 6.0, y)], hint)
            }
            Mark::Up => self.shape(class, &[(x - 5.0, y + 4.0), (x + 5.0, y + 4.0), (x, y - 5.0)], hint),
            Mark::Down => self.shape(class, &[(x - 5.0, y - 4.0), (x + 5.0, y - 4.0), (x, y + 5.0)], hint),
            Mark::Band => self.rect(class, (x - 9.0, y - 6.0), (18.0, 12.0), hint),
            Mark::Line => self.line(class, (x - 9.0, y), (x + 9.0, y)),
            Mark::Bar => self.rect(class, (x - 5.0, y - 5.0), (10.0, 10.0), hint),
        }
    }

    fn shape(&mut self, class: &str, points: &[(f64, f64)], hint: Option<&str>) {
        let start = format!(r#"<polygon class="{class}" points="{}""#, coordinates(points));
        self.hinted(&start, "polygon", hint);
    }

    fn hinted(&mut self, start: &str, element: &str, hint: Option<&str>) {
        match hint {
            Some(hint) => self.put(format_args!("{start}><title>{}</title></{element}>", escaped(hint))),
            None => self.put(format_args!("{start}/>")),
        }
    }

    fn put(&mut self, element: std::fmt::Arguments<'_>) {
        // Writing into a string cannot fail.
        let _ = writeln!(self.body, "{element}");
    }

    /// The finished element.
    pub(crate) fn finish(self) -> String {
        let Self { id, width, height, title, description, body } = self;
        let (width, height) = (px(width), px(height));
        format!(
            "<svg class=\"plot\" role=\"img\" aria-labelledby=\"{id}-title {id}-desc\" \
             viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\">\n\
             <title id=\"{id}-title\">{title}</title>\n<desc id=\"{id}-desc\">{description}</desc>\n{body}</svg>"
        )
    }
}

fn coordinates(points: &[(f64, f64)]) -> String {
    points.iter().map(|(x, y)| format!("{},{}", px(*x), px(*y))).collect::<Vec<_>>().join(" ")
}

/// A coordinate with at most one decimal. Always a number: what is none becomes 0.
fn px(value: f64) -> String {
    let value = if value.is_finite() { value } else { 0.0 };
    let text = crate::number::fixed(value, 1);
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

/// About how wide a text of the axes is, in pixels; rather more than less.
pub(crate) fn text_width(text: &str) -> f64 {
    let width = |c: char| if "⁻⁰¹²³⁴⁵⁶⁷⁸⁹.,:| ".contains(c) { 4.5 } else { 7.5 };
    text.chars().map(width).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_everywhere() {
        let mut svg = Svg::new("x", 10.0, 10.0, "<script>", "a & b");
        svg.text("label", (1.0, 2.0), Anchor::Start, "</text><script>\"'");
        svg.mark("dot", Mark::Circle, (1.0, 1.0), Some("<b>"));
        let text = svg.finish();
        assert!(!text.contains("<script") && !text.contains("<b>"), "{text}");
        assert!(text.contains("&lt;/text&gt;&lt;script&gt;&quot;&#39;"), "{text}");
    }

    #[test]
    fn coordinates_are_short_and_always_numbers() {
        let cases = [(1.0, "1"), (1.25, "1.2"), (-0.01, "0"), (f64::NAN, "0"), (f64::INFINITY, "0")];
        for (value, text) in cases {
            assert_eq!(px(value), text);
        }
    }
}
