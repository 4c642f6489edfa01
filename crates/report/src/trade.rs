//! Error against what it costs, energy or extra bits: curves, and the front of the points that no other beats.

use serde::Serialize;

use crate::accuracy::draw_whisker;
use crate::error::ReportError;
use crate::figure::Figure;
use crate::number::percent;
use crate::page::render;
use crate::plot::{Frame, NumberAxis, PercentAxis, Svg};
use crate::series::{LEGEND_ROW, MOST_CURVES, Style, draw_legend, legend_rows};

const WIDTH: f64 = 960.0;
/// Height of the axes.
const PLOT_HEIGHT: f64 = 420.0;
const LEFT: f64 = 78.0;

/// What the page is made from. All texts are plain.
#[derive(Clone, Debug, PartialEq)]
pub struct TradeInput<'a> {
    /// The bitquake that makes it.
    pub bitquake: &'a str,
    /// What stands above the title, such as `bitquake energy`.
    pub over: &'a str,
    /// The title.
    pub title: &'a str,
    /// What the picture shows.
    pub verdict: &'a str,
    /// What errors are traded for, in a word or two: `energy`.
    pub price: &'a str,
    /// What must be known to read it: the curve of the memory, what an access is.
    pub notes: Vec<String>,
    /// The label of the axis, with the unit: `energy of an inference, ...`.
    pub axis: String,
    /// Whether the axis has a scale of square roots, for costs of very different size.
    pub has_root_axis: bool,
    /// The curves, in order.
    pub curves: Vec<TradeCurve>,
    /// Tables below the picture.
    pub tables: Vec<TradeTable>,
}

/// A network, or a way to protect one.
#[derive(Clone, Debug, PartialEq)]
pub struct TradeCurve {
    /// Its name.
    pub name: String,
    /// Its points, by cost upwards.
    pub points: Vec<TradePoint>,
}

/// The error at a cost.
#[derive(Clone, Debug, PartialEq)]
pub struct TradePoint {
    /// The cost, in the unit of the axis.
    pub cost: f64,
    /// The mean error, a share.
    pub error: f64,
    /// The ends of its interval, if it has one.
    pub ends: Option<[f64; 2]>,
    /// Whether no other point beats it.
    pub is_on_front: bool,
    /// What it is, such as `rate 1e-3`.
    pub what: String,
}

/// A table of texts, its first column the heads of rows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TradeTable {
    /// The heading above it.
    pub title: String,
    /// What stands above the rows.
    pub caption: String,
    /// Heads of columns.
    pub head: Vec<String>,
    /// Rows, each as long as the head.
    pub rows: Vec<Vec<String>>,
}

#[derive(Serialize)]
struct Page<'a> {
    bitquake: &'a str,
    over: &'a str,
    title: &'a str,
    verdict: &'a str,
    notes: &'a [String],
    figure: Figure,
    tables: &'a [TradeTable],
}

/// The whole page, self-contained like [`html`](crate::html()).
///
/// # Errors
/// [`ReportError::NoCampaigns`] without curves, [`ReportError::TooManyCurves`] for more than 12.
pub fn trade_html(input: &TradeInput<'_>) -> Result<String, ReportError> {
    let curves = input.curves.len();
    if curves == 0 {
        return Err(ReportError::NoCampaigns);
    }
    if curves > MOST_CURVES {
        return Err(ReportError::TooManyCurves { panel: input.title.to_owned(), curves, most: MOST_CURVES });
    }
    let figure = Figure { svg: plot(input), note: String::new() };
    let TradeInput { bitquake, over, title, verdict, notes, tables, .. } = input;
    render("trade.html", &Page { bitquake, over, title, verdict, notes, figure, tables })
}

fn plot(input: &TradeInput<'_>) -> String {
    let legend = legend_rows(input.curves.iter().map(|curve| curve.name.as_str()), WIDTH - LEFT - 40.0);
    let top = 12.0 + LEGEND_ROW * legend.len() as f64;
    let frame = Frame { left: LEFT, right: WIDTH - 16.0, top, bottom: top + PLOT_HEIGHT - 70.0 };
    let points = || input.curves.iter().flat_map(|curve| &curve.points);
    let shares =
        points().flat_map(|point| point.ends.unwrap_or([point.error; 2]).into_iter().chain([point.error]));
    let y = PercentAxis::covering(shares, frame);
    let axis = if input.has_root_axis { NumberAxis::of_roots } else { NumberAxis::covering };
    let x = axis(&mut points().map(|point| point.cost), frame);
    let mut svg = Svg::new(
        "trade".to_owned(),
        WIDTH,
        top + PLOT_HEIGHT,
        &format!("Test error against {}", input.price),
        &description(input),
    );
    y.draw(&mut svg, frame, "test error");
    x.draw(&mut svg, frame, &input.axis);
    for (row, entries) in legend.iter().enumerate() {
        draw_legend(&mut svg, frame.left, 14.0 + LEGEND_ROW * row as f64, entries);
    }
    draw_front(&mut svg, input, (&x, &y));
    for (place, curve) in input.curves.iter().enumerate() {
        draw_curve(&mut svg, curve, &Style::of(place), (&x, &y));
    }
    svg.finish()
}

fn draw_curve(svg: &mut Svg, curve: &TradeCurve, style: &Style, (x, y): (&NumberAxis, &PercentAxis)) {
    let line: Vec<(f64, f64)> =
        curve.points.iter().map(|point| (x.x(point.cost), y.y(point.error))).collect();
    if line.len() > 1 {
        svg.polyline(&style.line, &line);
    }
    for (point, &at) in curve.points.iter().zip(&line) {
        if let Some([lo, hi]) = point.ends {
            draw_whisker(svg, &style.line, at.0, (y.y(lo), y.y(hi)));
        }
        let hint = format!("{}, {}: {} %", curve.name, point.what, percent(point.error, 2));
        svg.mark(&style.mark_class, style.mark, at, Some(&hint));
    }
}

/// The front as steps, which is what it is between measured points.
fn draw_front(svg: &mut Svg, input: &TradeInput<'_>, (x, y): (&NumberAxis, &PercentAxis)) {
    let mut front: Vec<&TradePoint> =
        input.curves.iter().flat_map(|curve| &curve.points).filter(|point| point.is_on_front).collect();
    front.sort_by(|a, b| a.cost.total_cmp(&b.cost));
    let mut line: Vec<(f64, f64)> = Vec::new();
    for point in front {
        let at = (x.x(point.cost), y.y(point.error));
        line.extend(line.last().map(|last| (at.0, last.1)));
        line.push(at);
    }
    if line.len() > 1 {
        svg.polyline("front", &line);
    }
}

fn description(input: &TradeInput<'_>) -> String {
    let curve = |curve: &TradeCurve| {
        let point = |point: &TradePoint| {
            format!("{} % at {:.4} ({})", percent(point.error, 2), point.cost, point.what)
        };
        let points: Vec<String> = curve.points.iter().map(point).collect();
        format!("{}: {}", curve.name, points.join(", "))
    };
    input.curves.iter().map(curve).collect::<Vec<_>>().join("; ") + "."
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input() -> TradeInput<'static> {
        let point = |cost, error, is_on_front| TradePoint {
            cost,
            error,
            ends: Some([error - 0.01, error + 0.01]),
            is_on_front,
            what: "rate 1e-3".into(),
        };
        let curve = |name: &str, points| TradeCurve { name: name.into(), points };
        TradeInput {
            bitquake: "0",
            over: "bitquake",
            title: "A <trade>",
            verdict: "What it <shows>.",
            price: "energy",
            notes: vec!["an access".into()],
            axis: "energy".into(),
            has_root_axis: false,
            curves: vec![
                curve("8 <bits>", vec![point(0.5, 0.3, true), point(1.0, 0.1, true)]),
                curve("4 bits", vec![point(0.6, 0.4, false)]),
            ],
            tables: vec![TradeTable {
                title: "t".into(),
                caption: "c".into(),
                head: vec!["model".into(), "x".into()],
                rows: vec![vec!["8 <bits>".into(), "1".into()]],
            }],
        }
    }

    #[test]
    fn texts_are_escaped_and_the_front_has_steps() {
        let page = trade_html(&input()).unwrap();
        assert!(
            page.contains("A &lt;trade&gt;")
                && page.contains("What it &lt;shows&gt;.")
                && !page.contains("<bits>")
        );
        assert_eq!(page.matches("class=\"front\"").count(), 1);
        assert_eq!(page.matches("<script").count(), 0);
        // Two marks and a legend entry, one mark and a legend entry.
        assert_eq!(page.matches("rate 1e-3: ").count(), 3);
    }

    #[test]
    fn no_curves_and_too_many_are_errors() {
        let none = TradeInput { curves: Vec::new(), ..input() };
        assert!(matches!(trade_html(&none), Err(ReportError::NoCampaigns)));
        let curves = vec![input().curves[0].clone(); 13];
        assert!(matches!(
            trade_html(&TradeInput { curves, ..input() }),
            Err(ReportError::TooManyCurves { .. })
        ));
    }
}
